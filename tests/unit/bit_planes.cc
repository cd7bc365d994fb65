#include "dsp/search/bit_planes.h"

#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "tests/support/random.h"

namespace earmark {
namespace {

std::vector<std::uint64_t> RandomWords(std::size_t count, Random& random) {
  std::vector<std::uint64_t> words(count);
  for (auto& word : words) word = random.Bits();
  return words;
}

struct Bit {
  std::size_t word = 0;
  int bit = 0;
  bool value = false;
};

int CountNaively(const std::vector<std::uint64_t>& words, std::int64_t place, const std::vector<Bit>& bits) {
  int count = 0;
  for (const Bit& bit : bits) {
    const auto at = static_cast<std::size_t>(place) + bit.word;
    const bool there = at < words.size() && (words[at] >> bit.bit & 1) != 0;
    count += there == bit.value ? 1 : 0;
  }
  return count;
}

TEST_CASE("BitPlanes: counts are those of comparing bit by bit", "[bit_planes]") {
  Random random(1);
  for (const std::int64_t num_places : {1, 255, 256, 1000, 5000}) {
    const auto words =
        RandomWords(static_cast<std::size_t>(num_places) + BitPlanes::kReach / 2, random);  // fewer than could be asked for
    const BitPlanes planes(words, num_places);
    REQUIRE(planes.num_rows() == (num_places + 255) / 256);
    for (const int num_wanted : {0, 1, 7, 8, 9, 88, BitPlanes::kMaxWanted}) {
      std::vector<Bit> bits;
      std::vector<WantedBit> wanted;
      for (int i = 0; i < num_wanted; ++i) {
        bits.push_back({.word = random.Bits() % BitPlanes::kReach,
                        .bit = static_cast<int>(random.Bits() % 64),
                        .value = random.Bits() % 2 == 0});
        wanted.emplace_back(bits.back().word, bits.back().bit, bits.back().value);
      }
      std::set<std::int64_t> seen;
      for (std::int64_t row = 0; row < planes.num_rows(); ++row) {
        const BitPlanes::Counts counts = planes.CountAgreeing(row, wanted);
        for (int column = 0; column < BitPlanes::kColumns; ++column) {
          const std::int64_t place = planes.PlaceOf(row, column);
          seen.insert(place);
          const int expected = CountNaively(words, place, bits);
          REQUIRE(CountAt(counts, column) == expected);
          for (const int min : {0, 1, num_wanted / 2, num_wanted, num_wanted + 1}) {
            REQUIRE((AtLeast(counts, min)[static_cast<std::size_t>(column / 64)] >> (column % 64) & 1) ==
                    (expected >= min ? 1U : 0U));
          }
        }
      }
      CHECK(std::ssize(seen) == 256 * planes.num_rows());    // no place twice …
      CHECK(*seen.rbegin() == 256 * planes.num_rows() - 1);  // … and none left out
    }
  }
}

TEST_CASE("BitPlanes: numbers of places add up", "[bit_planes]") {
  Random random(2);
  const auto words = RandomWords(400, random);
  const BitPlanes planes(words, 400);
  BitPlanes::Counts all{};
  std::vector<int> expected(BitPlanes::kColumns, 0);
  for (int part = 0; part < 4; ++part) {
    std::vector<WantedBit> wanted;
    for (int i = 0; i < 80 * part + 3; ++i)
      wanted.emplace_back(static_cast<std::size_t>(i % 50), static_cast<int>(random.Bits() % 64), true);
    const BitPlanes::Counts counts = planes.CountAgreeing(1, wanted);
    for (int i = 0; i < BitPlanes::kColumns; ++i) expected[static_cast<std::size_t>(i)] += CountAt(counts, i);
    AddCounts(counts, all);
  }
  for (int i = 0; i < BitPlanes::kColumns; ++i) CHECK(CountAt(all, i) == expected[static_cast<std::size_t>(i)]);
}

}  // namespace
}  // namespace earmark
