#include "dsp/rtp/rtp_packet.h"

#include <cstddef>

namespace earmark {
namespace {

constexpr std::size_t kExtensionHeaderBytes = 4;
constexpr std::size_t kWordBytes = 4;

std::uint16_t ReadU16(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint16_t>((bytes[at] << 8) | bytes[at + 1]);
}

std::uint32_t ReadU32(std::span<const std::uint8_t> bytes, std::size_t at) {
  return (static_cast<std::uint32_t>(ReadU16(bytes, at)) << 16) | ReadU16(bytes, at + 2);
}

}  // namespace

Result<RtpPacket> ParseRtp(std::span<const std::uint8_t> bytes) noexcept {
  const auto refuse = [](const char* why) { return Fail(ErrorCode::kInvalidArgument, why); };  // at most 15 characters
  if (bytes.size() < kRtpHeaderBytes) return refuse("RTP too short");
  if (bytes[0] >> 6 != 2) return refuse("RTP version");
  const bool padded = (bytes[0] & 0x20) != 0;
  const bool extended = (bytes[0] & 0x10) != 0;
  std::size_t start = kRtpHeaderBytes + kWordBytes * (bytes[0] & 0x0FU);
  if (extended) {
    if (start + kExtensionHeaderBytes > bytes.size()) return refuse("RTP too short");
    start += kExtensionHeaderBytes + kWordBytes * ReadU16(bytes, start + 2);
  }
  if (start > bytes.size()) return refuse("RTP too short");
  std::size_t padding = 0;
  if (padded) {
    if (start == bytes.size()) return refuse("RTP padding");
    padding = bytes.back();
    if (padding == 0 || padding > bytes.size() - start) return refuse("RTP padding");
  }
  RtpPacket packet;
  packet.header = {.payload_type = static_cast<std::uint8_t>(bytes[1] & 0x7F),
                   .marker = (bytes[1] & 0x80) != 0,
                   .sequence = ReadU16(bytes, 2),
                   .timestamp = ReadU32(bytes, 4),
                   .ssrc = ReadU32(bytes, 8)};
  packet.payload = bytes.subspan(start, bytes.size() - start - padding);
  return packet;
}

void WriteRtpHeader(const RtpHeader& header, std::span<std::uint8_t, kRtpHeaderBytes> out) noexcept {
  out[0] = 0x80;
  out[1] = static_cast<std::uint8_t>((header.marker ? 0x80 : 0) | (header.payload_type & 0x7F));
  out[2] = static_cast<std::uint8_t>(header.sequence >> 8);
  out[3] = static_cast<std::uint8_t>(header.sequence);
  for (std::size_t i = 0; i < 4; ++i) {
    out[4 + i] = static_cast<std::uint8_t>(header.timestamp >> (24 - 8 * i));
    out[8 + i] = static_cast<std::uint8_t>(header.ssrc >> (24 - 8 * i));
  }
}

}  // namespace earmark
