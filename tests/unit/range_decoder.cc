#include "dsp/opus/range_decoder.h"

#include <array>
#include <catch2/catch.hpp>
#include <vector>

namespace earmark {
namespace {

// The whole of a SILK packet's symbols is tried by silk_frame.cc against libopus's final range; here is what is simple.
TEST_CASE("RangeDecoder: raw bits come from the end, lowest first", "[range_decoder]") {
  const std::array<std::uint8_t, 4> frame{0, 0, 0x81, 0xC5};
  RangeDecoder decoder(frame);
  CHECK(decoder.RawBits(3) == 5);
  CHECK(decoder.RawBits(5) == 0xC5 >> 3);
  CHECK(decoder.RawBits(8) == 0x81);
  CHECK(decoder.num_raw_bits() == 16);
}

TEST_CASE("RangeDecoder: beyond the frame's end there are zeros, and it is told", "[range_decoder]") {
  const std::array<std::uint8_t, 1> frame{0xFF};
  RangeDecoder decoder(frame);
  CHECK_FALSE(decoder.HasOverrun());
  for (int i = 0; i < 100; ++i) (void)decoder.Uniform(1000);
  CHECK(decoder.RawBits(20) == 0);
  CHECK(decoder.HasOverrun());
}

TEST_CASE("RangeDecoder: an empty frame has used one bit", "[range_decoder]") {
  RangeDecoder decoder({});
  CHECK(decoder.Tell() == 1);
  CHECK(decoder.TellEighths() == 8);
}

}  // namespace
}  // namespace earmark
