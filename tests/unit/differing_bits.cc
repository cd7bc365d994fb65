#include "dsp/search/differing_bits.h"

#include <catch2/catch.hpp>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/vector_targets.h"

namespace earmark {
namespace {

TEST_CASE("CountDiffering: on every kind of processor as word by word", "[differing_bits]") {
  Random random(1);
  std::vector<std::uint64_t> a(70);
  std::vector<std::uint64_t> b(a.size());
  std::vector<std::uint64_t> mask(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = random.Bits(), b[i] = random.Bits(), mask[i] = random.Bits();

  CHECK(CountDifferingOneByOne(a.data(), b.data(), mask.data(), 0) == 0);
  const std::uint64_t one = 1;
  const std::uint64_t seven = 7;
  const std::uint64_t five = 5;
  CHECK(CountDifferingOneByOne(&one, &seven, &five, 1) == 1);

  WithEachTarget([&] {
    for (std::size_t from = 0; from < 5; ++from) {
      for (std::size_t n = 0; n + from <= a.size(); ++n) {
        CHECK(CountDiffering(a.data() + from, b.data() + from, mask.data() + from, n) ==
              CountDifferingOneByOne(a.data() + from, b.data() + from, mask.data() + from, n));
      }
    }
  });
}

}  // namespace
}  // namespace earmark
