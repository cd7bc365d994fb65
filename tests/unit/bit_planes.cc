#include "dsp/search/bit_planes.h"

#include <catch2/catch.hpp>
#include <vector>

#include "tests/support/random.h"

namespace earmark {
namespace {

TEST_CASE("BitPlanes: counts are those of comparing bit by bit", "[bit_planes]") {
  Random random(1);
  std::vector<std::uint64_t> words(1000);
  for (auto& word : words) word = random.Bits();
  BitPlanes planes;
  planes.Append(std::span(words).first(1));
  planes.Append(std::span(words).subspan(1, 130));
  planes.Append(std::span(words).subspan(131));
  REQUIRE(planes.num_words() == 1000);
  for (const int num_wanted : {0, 1, 6, 7, 8, 100, BitPlanes::kMaxWanted}) {
    std::vector<WantedBit> wanted;
    for (int i = 0; i < num_wanted; ++i) {
      wanted.push_back({.word = static_cast<std::uint32_t>(random.Bits() % 200), .bit = static_cast<std::uint32_t>(random.Bits() % 64), .value = random.Bits() % 2 == 0});
    }
    for (const std::int64_t first : {0, 256, 512}) {
      const BitPlanes::Counts counts = planes.CountAgreeing(first, wanted);
      std::vector<int> expected;
      for (std::int64_t place = first; place < first + BitPlanes::kPlaces; ++place) {
        int count = 0;
        for (const WantedBit& bit : wanted) count += (words[static_cast<std::size_t>(place + bit.word)] >> bit.bit & 1) == (bit.value ? 1 : 0) ? 1 : 0;
        expected.push_back(count);
      }
      for (int i = 0; i < BitPlanes::kPlaces; ++i) REQUIRE(CountAt(counts, i) == expected[static_cast<std::size_t>(i)]);
      for (const int least : {0, 1, num_wanted / 2, num_wanted, num_wanted + 1}) {
        const BitPlanes::Lanes lanes = AtLeast(counts, least);
        for (std::size_t i = 0; i < BitPlanes::kPlaces; ++i) REQUIRE((lanes[i / 64] >> (i % 64) & 1) == (expected[i] >= least ? 1U : 0U));
      }
    }
  }
}

TEST_CASE("BitPlanes: numbers of places add up", "[bit_planes]") {
  Random random(2);
  std::vector<std::uint64_t> words(400);
  for (auto& word : words) word = random.Bits();
  BitPlanes planes;
  planes.Append(words);
  BitPlanes::Counts all{};
  std::vector<int> expected(BitPlanes::kPlaces, 0);
  for (int part = 0; part < 4; ++part) {
    std::vector<WantedBit> wanted;
    for (int i = 0; i < 80 * part + 3; ++i) wanted.push_back({.word = static_cast<std::uint32_t>(i % 50), .bit = static_cast<std::uint32_t>(random.Bits() % 64), .value = true});
    const BitPlanes::Counts counts = planes.CountAgreeing(64, wanted);
    for (int i = 0; i < BitPlanes::kPlaces; ++i) expected[static_cast<std::size_t>(i)] += CountAt(counts, i);
    AddCounts(counts, all);
  }
  for (int i = 0; i < BitPlanes::kPlaces; ++i) CHECK(CountAt(all, i) == expected[static_cast<std::size_t>(i)]);
}

}  // namespace
}  // namespace earmark
