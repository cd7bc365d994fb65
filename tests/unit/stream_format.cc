#include "dsp/core/stream_format.h"

#include <catch2/catch.hpp>

namespace earmark {
namespace {

template <typename Value>
StreamFormat With(Value StreamFormat::*field, Value value) {
  StreamFormat format;
  format.*field = value;
  return format;
}

TEST_CASE("StreamFormat: the default and the ends of every range are valid", "[stream_format]") {
  CHECK(Validate(StreamFormat{}).value() == StreamFormat{});
  for (const int value : {2, 4, 8}) CHECK(Validate(With(&StreamFormat::num_variants, value)));
  for (const int value : {1, 10}) CHECK(Validate(With(&StreamFormat::packets_per_symbol, value)));
  for (const int value : {1, 2}) CHECK(Validate(With(&StreamFormat::num_channels, value)));
  for (const int value : {12000, 256000}) CHECK(Validate(With(&StreamFormat::bitrate_bps, value)));
  CHECK(Validate(With(&StreamFormat::kind, ReferenceKind::kHostPackets)));
  for (const int value : {1, 100}) {
    CHECK(Validate(StreamFormat{.kind = ReferenceKind::kSourcePackets, .code_version = 2, .strength = value}));
  }
}

TEST_CASE("StreamFormat: a field out of range is named with what was wanted and what came", "[stream_format]") {
  const auto check = [](const StreamFormat& format, const std::string& message) {
    const Result<StreamFormat> result = Validate(format);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::kInvalidArgument);
    CHECK(result.error().message == message);
  };
  for (const int value : {-1, 0, 1, 3, 5, 6, 7, 16}) {
    check(With(&StreamFormat::num_variants, value), "num_variants: 2, 4 or 8 wanted, got " + std::to_string(value));
  }
  check(With(&StreamFormat::packets_per_symbol, 0), "packets_per_symbol: 1 to 10 wanted, got 0");
  check(With(&StreamFormat::packets_per_symbol, 11), "packets_per_symbol: 1 to 10 wanted, got 11");
  check(With(&StreamFormat::num_channels, 0), "num_channels: 1 or 2 wanted, got 0");
  check(With(&StreamFormat::num_channels, 3), "num_channels: 1 or 2 wanted, got 3");
  check(With(&StreamFormat::bitrate_bps, 11999), "bitrate_bps: 12000 to 256000 wanted, got 11999");
  check(With(&StreamFormat::bitrate_bps, 256001), "bitrate_bps: 12000 to 256000 wanted, got 256001");
  for (const int value : {-1, 3, 7}) {
    check(With(&StreamFormat::kind, static_cast<ReferenceKind>(value)),
          "kind: 0 (variant packets), 1 (host packets) or 2 (source packets) wanted, got " + std::to_string(value));
  }
  check(With(&StreamFormat::code_version, 2), "code_version: 1 for kind 0 wanted, got 2");
  check({.kind = ReferenceKind::kHostPackets, .code_version = 2}, "code_version: 1 for kind 1 wanted, got 2");
  check({.kind = ReferenceKind::kSourcePackets}, "code_version: 2 for kind 2 wanted, got 1");
  check({.kind = ReferenceKind::kSourcePackets, .code_version = 3}, "code_version: 2 for kind 2 wanted, got 3");
  check({.kind = ReferenceKind::kSourcePackets, .code_version = 2, .strength = 0}, "strength: 1 to 100 wanted, got 0");
  check({.kind = ReferenceKind::kSourcePackets, .code_version = 2, .strength = 101}, "strength: 1 to 100 wanted, got 101");
}

}  // namespace
}  // namespace earmark
