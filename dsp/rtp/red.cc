#include "dsp/rtp/red.h"

#include <cstddef>

namespace earmark {

Result<std::span<const std::uint8_t>> RedPrimary(std::span<const std::uint8_t> payload) noexcept {
  constexpr std::uint8_t kMoreFollow = 0x80;
  constexpr std::size_t kRedundantHeaderBytes = 4;  // F, payload type, 14 bits of timestamp offset, 10 bits of length
  std::size_t header = 0;
  std::size_t redundant = 0;
  while (header < payload.size() && (payload[header] & kMoreFollow) != 0) {
    if (header + kRedundantHeaderBytes > payload.size()) return Fail(ErrorCode::kInvalidArgument, "RED: cut off");
    redundant += static_cast<std::size_t>(payload[header + 2] & 0x03) << 8 | payload[header + 3];
    header += kRedundantHeaderBytes;
  }
  const std::size_t primary = header + 1 + redundant;  // the last header is one byte
  if (primary > payload.size()) return Fail(ErrorCode::kInvalidArgument, "RED: cut off");
  return payload.subspan(primary);
}

}  // namespace earmark
