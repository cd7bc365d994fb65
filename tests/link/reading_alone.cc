// Searching, aligning and reading without a trace code: this program links the whole of the library and of a scan's first half, and neither earmark_tracing nor anything
// that stands on it. If any part of them needed a code, it would not link.
#include "services/common/scan/readings.h"

int main() {
  earmark::ReadingKeys keys;
  return keys.seal.EqualsInConstantTime(keys.carrier) ? 0 : 1;
}
