// RTP packets (RFC 3550, section 5.1; header extensions 5.3.1): reading any, writing plain ones. No sockets.
#pragma once

#include <cstdint>
#include <span>

#include "dsp/core/result.h"

namespace earmark {

inline constexpr std::size_t kRtpHeaderBytes = 12;

struct RtpHeader {
  std::uint8_t payload_type = 0;  // 0 … 127
  bool marker = false;
  std::uint16_t sequence = 0;
  std::uint32_t timestamp = 0;
  std::uint32_t ssrc = 0;

  bool operator==(const RtpHeader&) const = default;
};

struct RtpPacket {
  RtpHeader header;
  // without padding; empty in a packet that is padding alone. Lies in the bytes that were parsed.
  std::span<const std::uint8_t> payload;
};

// CSRCs and header extensions, of whatever profile and with whatever ids, are skipped unread. Real-time safe, also when it fails: kInvalidArgument, with a
// message short enough not to be allocated, for another version, bytes missing, or a padding length of 0 or beyond the payload.
Result<RtpPacket> ParseRtp(std::span<const std::uint8_t> bytes) noexcept;

// Version 2, no padding, extension or CSRC.
void WriteRtpHeader(const RtpHeader& header, std::span<std::uint8_t, kRtpHeaderBytes> out) noexcept;

}  // namespace earmark
