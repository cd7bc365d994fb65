#include "dsp/opus/symbol_exchange.h"

#include <algorithm>

namespace earmark {
namespace {

bool IsNarrow(int symbol) { return symbol >= 1 && symbol <= 7; }

}  // namespace

std::optional<BytePatch> ExchangeSymbol(std::span<const std::uint8_t> frame, const SymbolPlace& place, int from,
                                        int to) noexcept {
  if (!IsNarrow(from) || !IsNarrow(to) || place.num_front_bytes < 1) return std::nullopt;
  // After n bytes the decoder has taken in their first 8n - 1 bits: one unit of its range is bit 1 of byte n - 1.
  std::int64_t add = (static_cast<std::int64_t>(to) - from) * 32 * (place.range / 256) * 2;
  BytePatch patch;
  int at = place.num_front_bytes - 1;
  const int last = at;
  for (; add != 0; --at) {
    if (at < 0 || last - at >= static_cast<int>(patch.bytes.size())) return std::nullopt;
    const bool exists = static_cast<std::size_t>(at) < frame.size();
    add += exists ? frame[static_cast<std::size_t>(at)] : 0;
    const auto byte = static_cast<std::uint8_t>(add & 0xFF);
    if (!exists && byte != 0) return std::nullopt;
    patch.bytes[static_cast<std::size_t>(last - at)] = byte;  // from the back for now
    add >>= 8;                                                // rounds down, so a borrow is -1
  }
  patch.first = at + 1;
  patch.count = last - at;
  std::reverse(patch.bytes.begin(), patch.bytes.begin() + patch.count);
  // Zeros beyond the end stay zeros, and bytes at the back that are as they were need not be told.
  while (patch.count > 0) {
    const auto back = static_cast<std::size_t>(patch.first + patch.count - 1);
    const std::uint8_t old = back < frame.size() ? frame[back] : 0;
    if (patch.bytes[static_cast<std::size_t>(patch.count - 1)] != old) break;
    --patch.count;
  }
  return patch;
}

}  // namespace earmark
