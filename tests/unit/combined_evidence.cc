#include "dsp/scoring/combined_evidence.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/support/random.h"

namespace earmark {
namespace {

TEST_CASE("Combined evidence: one stream pays for all scans and for looking further", "[combined_evidence]") {
  CHECK(CombinedLog10Bound(std::vector{-16.0}, 1) == Approx(-16 + std::log10(2)));
  CHECK(CombinedLog10Bound(std::vector{-16.0}, 500) == Approx(-13));
  CHECK(CombinedLog10Bound(std::vector{-2.0}, 500) == 0);
  CHECK(CombinedLog10Bound({}, 500) == 0);
}

TEST_CASE("Combined evidence: two streams multiply, less what Fisher takes and the choice costs", "[combined_evidence]") {
  const double p = 1e-20;
  const double chosen = 4 * 100 * 99 / 2.0;
  CHECK(CombinedLog10Bound(std::vector{-8.0, -12.0}, 100) == Approx(std::log10(chosen * p * (1 - std::log(p)))));
}

TEST_CASE("Combined evidence: another stream never weakens it, another scan never strengthens it", "[combined_evidence]") {
  Random random(5);
  std::vector<double> bounds;
  double before = 0;
  for (int i = 0; i < 300; ++i) {
    bounds.push_back(random.Uniform(-40, 0));
    const double now = CombinedLog10Bound(bounds, 1000);
    CHECK(std::isfinite(now));
    CHECK(now <= before);
    CHECK(CombinedLog10Bound(bounds, 1001) >= now);
    before = now;
  }
}

// Innocents in rooms that are scanned several times, one clip of each room twice: the chance of the strongest evidence against any of them.
struct Innocents {
  static constexpr int kNumRooms = 6;
  static constexpr int kNumAccounts = 5;
  static constexpr int kScansOfRoom = 3;  // of which two are of one clip

  // log10 of the strongest bound against each account in each room.
  std::vector<std::vector<double>> Bounds(Random& random) const {
    std::vector<std::vector<double>> strongest(kNumAccounts, std::vector<double>(kNumRooms, 0.0));
    for (auto& of_account : strongest) {
      for (double& of_room : of_account) {
        const double p = std::min(1 - random.Uniform(), 1 - random.Uniform());
        of_room = std::min(0.0, std::log10(kNumAccounts * p));
      }
    }
    return strongest;
  }
};

TEST_CASE("Combined evidence: innocents are accused no oftener than it says", "[combined_evidence]") {
  constexpr int kNumWorlds = 40'000;
  const Innocents innocents;
  Random random(11);
  std::vector<double> said;
  std::vector<double> products;  // what a bound would be that paid for nothing
  for (int world = 0; world < kNumWorlds; ++world) {
    double strongest = 0;
    double product = 0;
    for (const auto& bounds : innocents.Bounds(random)) {
      strongest = std::min(strongest, CombinedLog10Bound(bounds, Innocents::kNumRooms * Innocents::kScansOfRoom));
      product = std::min(product, std::accumulate(bounds.begin(), bounds.end(), 0.0));
    }
    said.push_back(strongest);
    products.push_back(product);
  }
  const auto share = [](const std::vector<double>& of, double log10_bound) {
    return static_cast<double>(std::count_if(of.begin(), of.end(), [&](double b) { return b <= log10_bound; })) / kNumWorlds;
  };
  for (const double bound : {0.3, 0.1, 0.01, 0.001}) {
    INFO(bound << ": " << share(said, std::log10(bound)) << ", product " << share(products, std::log10(bound)));
    CHECK(share(said, std::log10(bound)) <= bound + 3 * std::sqrt(bound / kNumWorlds));
    CHECK(share(products, std::log10(bound)) > 2 * bound);
  }
  // … and not so seldom that nothing could be said.
  CHECK(share(said, std::log10(0.1)) > 0.1 / 100);
}

}  // namespace
}  // namespace earmark
