#include "dsp/scoring/block_scores.h"

#include <algorithm>

#include "dsp/tracing/trace_code.h"

namespace earmark {
namespace {

// What one nibble's values score.
using NibbleSums = std::array<std::int32_t, BlockScores::kNibbleValues>;

// Brings the sums above their least, which is returned, and writes them into the block's tables.
std::int32_t Store(NibbleSums sums, std::size_t byte, std::size_t nibble, BlockScores& block) {
  const std::int32_t min = *std::min_element(sums.begin(), sums.end());
  const std::size_t place = BlockScores::PlaceOf(byte);
  for (std::size_t value = 0; value < sums.size(); ++value) {
    const auto above = static_cast<std::uint32_t>(sums[value] - min);
    block.tables[BlockScores::OffsetOf(nibble, 0, place) + value] = static_cast<std::uint8_t>(above);
    block.tables[BlockScores::OffsetOf(nibble, 1, place) + value] = static_cast<std::uint8_t>(above >> 8);
  }
  return min;
}

}  // namespace

CodeScores MakeCodeScores(const ScoreTable& table) {
  const int bits = BitsPerSymbol(table.num_variants);
  const int per_nibble = 4 / bits;
  constexpr std::int64_t kNibblesPerBlock = 2 * static_cast<std::int64_t>(BlockScores::kBytes);
  CodeScores scores;
  for (std::size_t s = 0; s < table.symbols.size();) {
    const std::int64_t nibble = table.symbols[s].symbol / per_nibble;
    NibbleSums sums{};
    for (; s < table.symbols.size() && table.symbols[s].symbol / per_nibble == nibble; ++s) {
      const int shift = static_cast<int>(table.symbols[s].symbol % per_nibble) * bits;
      for (std::size_t value = 0; value < sums.size(); ++value) {
        sums[value] += table.symbols[s].steps[(value >> shift) & static_cast<std::size_t>(table.num_variants - 1)];
      }
    }
    const std::int64_t block = nibble / kNibblesPerBlock;
    if (scores.blocks.empty() || scores.blocks.back().block != block) scores.blocks.push_back({.block = block});
    const auto within = static_cast<std::size_t>(nibble % kNibblesPerBlock);
    scores.min += Store(sums, within / 2, within % 2, scores.blocks.back());
  }
  return scores;
}

void AddScoresOneByOne(std::span<const BlockScores> blocks, const KeystreamTile& tile,
                       std::span<std::int32_t, kAccountsPerTile> scores) noexcept {
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const auto& tables = blocks[b].tables;
    for (std::size_t a = 0; a < kAccountsPerTile; ++a) {
      const std::uint8_t* keystream = tile.bytes + a * tile.stride + b * BlockScores::kBytes;
      std::int32_t score = 0;
      for (std::size_t byte = 0; byte < BlockScores::kBytes; ++byte) {
        const std::size_t place = BlockScores::PlaceOf(byte);
        const std::size_t low = keystream[byte] & 15U;
        const std::size_t high = keystream[byte] >> 4U;
        score += tables[BlockScores::OffsetOf(0, 0, place) + low] + tables[BlockScores::OffsetOf(1, 0, place) + high] +
                 256 * (tables[BlockScores::OffsetOf(0, 1, place) + low] + tables[BlockScores::OffsetOf(1, 1, place) + high]);
      }
      scores[a] += score;
    }
  }
}

}  // namespace earmark
