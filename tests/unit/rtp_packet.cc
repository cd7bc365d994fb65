#include "dsp/rtp/rtp_packet.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <memory>
#include <vector>

#include "tests/support/allocation_counter.h"
#include "tests/support/marked_stream.h"
#include "tests/support/random.h"

namespace earmark {
namespace {

using Bytes = std::vector<std::uint8_t>;

// 12 bytes of header: payload type 111, sequence 0x1234, timestamp 0x56789ABC, SSRC 0xDEF01122; then `rest`.
Bytes Packet(std::uint8_t first, const Bytes& rest, std::uint8_t second = 111) {
  const std::array<std::uint8_t, kRtpHeaderBytes> header = {first, second, 0x12, 0x34, 0x56, 0x78,
                                                            0x9A,  0xBC,   0xDE, 0xF0, 0x11, 0x22};
  Bytes bytes(header.size() + rest.size());
  std::copy(rest.begin(), rest.end(), std::copy(header.begin(), header.end(), bytes.begin()));
  return bytes;
}

Bytes PayloadOf(const Bytes& bytes) {
  const RtpPacket packet = Get(ParseRtp(bytes));
  return {packet.payload.begin(), packet.payload.end()};
}

void CheckRefused(const Bytes& bytes) {
  // In memory of exactly its size, so that the address sanitizer sees a byte too many being read.
  const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
  std::copy(bytes.begin(), bytes.end(), exact.get());
  const auto parsed = ParseRtp({exact.get(), bytes.size()});
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("RtpPacket: a plain packet", "[rtp_packet]") {
  const Bytes bytes = Packet(0x80, {1, 2, 3}, 0x80 | 111);
  const RtpPacket packet = Get(ParseRtp(bytes));
  CHECK(packet.header ==
        RtpHeader{.payload_type = 111, .marker = true, .sequence = 0x1234, .timestamp = 0x56789ABC, .ssrc = 0xDEF01122});
  CHECK(PayloadOf(bytes) == Bytes{1, 2, 3});
  CHECK_FALSE(Get(ParseRtp(Packet(0x80, {}))).header.marker);
  CHECK(PayloadOf(Packet(0x80, {})).empty());
}

TEST_CASE("RtpPacket: what is written is read again", "[rtp_packet]") {
  Random random(1);
  for (int i = 0; i < 1000; ++i) {
    const RtpHeader header{.payload_type = static_cast<std::uint8_t>(random.Below(128)),
                           .marker = random.Below(2) == 1,
                           .sequence = static_cast<std::uint16_t>(random.Bits()),
                           .timestamp = static_cast<std::uint32_t>(random.Bits()),
                           .ssrc = static_cast<std::uint32_t>(random.Bits())};
    std::array<std::uint8_t, kRtpHeaderBytes> bytes{};
    WriteRtpHeader(header, bytes);
    REQUIRE(Get(ParseRtp(bytes)).header == header);
  }
}

TEST_CASE("RtpPacket: CSRCs and header extensions are skipped", "[rtp_packet]") {
  CHECK(PayloadOf(Packet(0x82, {9, 9, 9, 9, 8, 8, 8, 8, 1})) == Bytes{1});
  // One-byte extension headers, with the ids 0 (padding) and 15 (stop) among them: nobody looks.
  CHECK(PayloadOf(Packet(0x90, {0xBE, 0xDE, 0, 2, 0x10, 0xFF, 0, 0, 0xF3, 1, 2, 3, 1, 2})) == Bytes{1, 2});
  CHECK(PayloadOf(Packet(0x90, {0x10, 0x00, 0, 1, 1, 0, 0, 0, 1})) == Bytes{1});
  CHECK(PayloadOf(Packet(0x90, {0, 0, 0, 0, 1})) == Bytes{1});
  // A long one, behind CSRCs.
  Bytes rest(4 + 4 + 4 + 1024 + 1, 7);
  rest[8] = 0xBE;
  rest[9] = 0xDE;
  rest[10] = 1;
  rest[11] = 0;
  rest.back() = 42;
  CHECK(PayloadOf(Packet(0x92, rest)) == Bytes{42});
}

TEST_CASE("RtpPacket: padding is taken off", "[rtp_packet]") {
  CHECK(PayloadOf(Packet(0xA0, {1, 2, 0, 0, 3})) == Bytes{1, 2});
  CHECK(PayloadOf(Packet(0xA0, {1, 1})) == Bytes{1});
  CHECK(PayloadOf(Packet(0xA0, {0, 0, 3})).empty());  // padding alone
  CHECK(PayloadOf(Packet(0xB1, {9, 9, 9, 9, 0xBE, 0xDE, 0, 1, 0, 0, 0, 0, 1, 2, 0, 2})) == Bytes{1, 2});
}

TEST_CASE("RtpPacket: what is not RTP, or not all of it, is refused", "[rtp_packet]") {
  CheckRefused({});
  const Bytes whole = Packet(0x80, {});
  for (std::size_t length = 0; length < whole.size(); ++length)
    CheckRefused({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
  for (const std::uint8_t first : {0x00, 0x40, 0xC0}) CheckRefused(Packet(first, {1, 2, 3}));
  CheckRefused(Packet(0x81, {1, 2, 3}));                                // a CSRC is missing
  CheckRefused(Packet(0x8F, Bytes(59)));                                // one byte of 15 is missing
  CheckRefused(Packet(0x90, {0xBE, 0xDE, 0}));                          // half an extension header
  CheckRefused(Packet(0x90, {0xBE, 0xDE, 0, 2, 1, 2, 3, 4, 5, 6, 7}));  // the extension is cut off
  CheckRefused(Packet(0x90, {0xBE, 0xDE, 0xFF, 0xFF, 1}));
  CheckRefused(Packet(0xA0, {}));                              // padding of nothing
  CheckRefused(Packet(0xA0, {1, 2, 0}));                       // padding of length 0
  CheckRefused(Packet(0xA0, {1, 2, 4}));                       // more padding than there is
  CheckRefused(Packet(0xB0, {0xBE, 0xDE, 0, 1, 0, 0, 0, 5}));  // padding must not reach into the extension
}

TEST_CASE("RtpPacket: random bytes do no harm, and nothing allocates", "[rtp_packet]") {
  Random random(2);
  for (int i = 0; i < 20'000; ++i) {
    Bytes bytes(static_cast<std::size_t>(random.Below(80)));
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.Bits());
    if (!bytes.empty()) bytes[0] = static_cast<std::uint8_t>(0x80 | (bytes[0] & 0x3F));
    const auto before = NumAllocations();
    const auto parsed = ParseRtp(bytes);
    REQUIRE(NumAllocations() == before);
    if (!parsed) continue;
    const auto* begin = parsed->payload.data();
    REQUIRE(
        (parsed->payload.empty() || (begin >= bytes.data() && begin + parsed->payload.size() <= bytes.data() + bytes.size())));
  }
}

}  // namespace
}  // namespace earmark
