#include "dsp/scoring/block_scores.h"

#include <array>
#include <catch2/catch.hpp>
#include <vector>

#include "dsp/tracing/trace_code.h"
#include "tests/support/random.h"
#include "tests/support/vector_targets.h"

namespace earmark {
namespace {

using TileScores = std::array<std::int32_t, kAccountsPerTile>;

// `symbols`: ascending. Steps of up to `max` either way.
ScoreTable RandomTable(int num_variants, const std::vector<std::int64_t>& symbols, int max, Random& random) {
  ScoreTable table{.num_variants = num_variants, .step = 1, .symbols = {}};
  for (const std::int64_t symbol : symbols) {
    SymbolScores scores{.symbol = symbol, .steps = {}};
    for (int k = 0; k < num_variants; ++k) {
      scores.steps[static_cast<std::size_t>(k)] =
          static_cast<std::int16_t>(static_cast<int>(random.Below(static_cast<std::uint64_t>(2 * max + 1))) - max);
    }
    table.symbols.push_back(scores);
  }
  return table;
}

std::vector<std::int64_t> SymbolsOfBlocks(int num_variants, std::int64_t num_blocks) {
  std::vector<std::int64_t> symbols;
  for (std::int64_t s = 0; s < num_blocks * SymbolsPerBlock(num_variants); ++s) symbols.push_back(s);
  return symbols;
}

// Symbol by symbol, without tables.
std::int32_t NaiveScore(const ScoreTable& table, const std::uint8_t* keystream) {
  const int bits = BitsPerSymbol(table.num_variants);
  std::int32_t score = 0;
  for (const SymbolScores& symbol : table.symbols) {
    const std::int64_t bit = symbol.symbol * bits;
    score +=
        symbol
            .steps[static_cast<std::size_t>(keystream[bit / 8] >> (bit % 8)) & static_cast<std::size_t>(table.num_variants - 1)];
  }
  return score;
}

// Of a table without blocks left out, from block 0 on.
void CheckTable(const ScoreTable& table, Random& random) {
  const CodeScores codes = MakeCodeScores(table);
  const std::size_t stride = codes.blocks.size() * kKeystreamBlockBytes + 24;
  std::vector<std::uint8_t> bytes(kAccountsPerTile * stride);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.Below(256));
  // Two accounts whose nibbles are all the same, for whom all sums may be at their ends.
  std::fill_n(bytes.begin(), stride, std::uint8_t{0});
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(stride), stride, std::uint8_t{255});
  TileScores expected{};
  for (std::size_t a = 0; a < kAccountsPerTile; ++a) expected[a] = NaiveScore(table, bytes.data() + a * stride);
  const KeystreamTile tile{.bytes = bytes.data(), .stride = stride};
  TileScores scores{};
  scores.fill(codes.min);
  AddScoresOneByOne(codes.blocks, tile, scores);
  CHECK(scores == expected);
  WithEachTarget([&] {
    scores.fill(codes.min);
    AddScores(codes.blocks, tile, scores);
    CHECK(scores == expected);
  });
}

TEST_CASE("Block scores: vectors of every kind add up what symbols score one by one", "[block_scores]") {
  Random random(1);
  for (const int q : {2, 4, 8}) {
    for (const std::int64_t num_blocks : {1, 2, 3, 5, 32, 33}) {
      INFO(num_blocks << " blocks, " << q << " variants");
      CheckTable(RandomTable(q, SymbolsOfBlocks(q, num_blocks), 1000, random), random);
    }
  }
}

TEST_CASE("Block scores: holes, and symbols at the ends of nibbles, bytes and blocks", "[block_scores]") {
  Random random(2);
  for (const int q : {2, 4, 8}) {
    const std::int64_t per_block = SymbolsPerBlock(q);
    CheckTable(RandomTable(q, {0}, 1000, random), random);
    CheckTable(RandomTable(q, {per_block - 1}, 1000, random), random);
    CheckTable(RandomTable(q, {0, per_block - 1, per_block, 2 * per_block - 1, 2 * per_block + per_block / 2}, 1000, random),
               random);
    for (const std::uint64_t one_in : {2, 7, 50}) {
      std::vector<std::int64_t> symbols;
      for (const std::int64_t s : SymbolsOfBlocks(q, 4)) {
        if (s % per_block == 0 || random.Below(one_in) == 0) symbols.push_back(s);
      }
      CheckTable(RandomTable(q, symbols, 1000, random), random);
    }
  }
}

TEST_CASE("Block scores: sums of the widest scores do not run over", "[block_scores]") {
  Random random(3);
  for (const int q : {2, 4, 8}) {
    // The nibble's symbols together span 65,535 steps or a little less, and all have the same best variant.
    const int max = 65'535 / (2 * 4 / BitsPerSymbol(q));
    ScoreTable table = RandomTable(q, SymbolsOfBlocks(q, 8), 0, random);
    for (auto& symbol : table.symbols) {
      symbol.steps[0] = static_cast<std::int16_t>(-max);
      symbol.steps[static_cast<std::size_t>(q - 1)] = static_cast<std::int16_t>(max);
    }
    CheckTable(table, random);
  }
}

TEST_CASE("Block scores: blocks without symbols are left out", "[block_scores]") {
  Random random(4);
  const CodeScores codes = MakeCodeScores(RandomTable(4, {255, 256 * 5, 256 * 5 + 1, 256LL * 1'000'000}, 1000, random));
  REQUIRE(codes.blocks.size() == 3);
  CHECK(codes.blocks[0].block == 0);
  CHECK(codes.blocks[1].block == 5);
  CHECK(codes.blocks[2].block == 1'000'000);
  CHECK(MakeCodeScores({}).blocks.empty());
  CHECK(MakeCodeScores({}).min == 0);
}

}  // namespace
}  // namespace earmark
