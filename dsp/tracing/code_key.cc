#include "dsp/tracing/code_key.h"

namespace earmark {

StreamKeys DeriveStreamKeys(const Key& master, std::string_view stream_id, const std::array<std::uint8_t, 16>& salt) {
  return {DeriveReadingKeys(master, stream_id, salt),
          CodeKey(DeriveKey(DeriveStreamKey(master, stream_id, salt), "earmark.v1.code"))};
}

}  // namespace earmark
