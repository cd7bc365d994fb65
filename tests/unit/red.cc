#include "dsp/rtp/red.h"

#include <catch2/catch.hpp>
#include <vector>

namespace earmark {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes Primary(const Bytes& payload) {
  const auto primary = RedPrimary(payload);
  REQUIRE(primary);
  return {primary->begin(), primary->end()};
}

TEST_CASE("RED: without redundancy the payload is what follows one byte", "[red]") {
  CHECK(Primary({111, 1, 2, 3}) == Bytes{1, 2, 3});
}

TEST_CASE("RED: redundant blocks are skipped", "[red]") {
  // Two redundant blocks, of 2 and 3 bytes, then the primary one.
  CHECK(Primary({0x80 | 111, 0x1E, 0x00, 2, 0x80 | 111, 0x0F, 0x00, 3, 111, 9, 9, 8, 8, 8, 1, 2}) == Bytes{1, 2});
  Bytes longest = {0x80 | 111, 0, 0x03, 0xFF, 111};
  longest.resize(5 + 1023, 9);
  longest.push_back(1);
  CHECK(Primary(longest) == Bytes{1});
}

TEST_CASE("RED: an empty primary block is empty", "[red]") { CHECK(Primary({111}).empty()); }

TEST_CASE("RED: what is cut off anywhere is refused", "[red]") {
  const Bytes whole = {0x80 | 111, 0x1E, 0x00, 2, 111, 9, 9};
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO(size);
    CHECK_FALSE(RedPrimary(std::span(whole).first(size)));
  }
  CHECK(RedPrimary(whole));
  CHECK_FALSE(RedPrimary(Bytes(1000, 0xFF)));
}

}  // namespace
}  // namespace earmark
