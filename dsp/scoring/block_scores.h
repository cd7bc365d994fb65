// Scores of keystream blocks by look-ups, sixteen accounts at once.
//
// A nibble of keystream holds one, two or four symbols (q = 8, 4, 2) and so has sixteen possible scores: a table that one vector instruction looks up for as many accounts as
// the vector has bytes. A score has two bytes, which are looked up and added up apart. The sums are exact, so that it does not matter which instructions a processor has.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "dsp/core/keystream.h"
#include "dsp/scoring/score.h"

namespace earmark {

inline constexpr std::size_t kAccountsPerTile = 16;

// What the nibbles of one keystream block score, as steps above the least that each can score: 0 to 65,535. 4 kB.
struct BlockScores {
  static constexpr std::size_t kBytes = kKeystreamBlockBytes;
  static constexpr std::size_t kNibbleValues = 16;

  std::int64_t block = 0;  // of the keystream
  // [nibble: low, high][byte of the score: low, high][table of a keystream byte][value of the nibble]. Bytes of the block that stand 16 apart have their tables side by side
  // (PlaceOf), since vectors of more than 16 bytes work on those together.
  alignas(64) std::array<std::uint8_t, kBytes * 2 * 2 * kNibbleValues> tables{};

  static constexpr std::size_t PlaceOf(std::size_t byte) { return byte % 16 * (kBytes / 16) + byte / 16; }
  static constexpr std::size_t OffsetOf(std::size_t nibble, std::size_t score_byte, std::size_t place) {
    return ((nibble * 2 + score_byte) * kBytes + place) * kNibbleValues;
  }
};

struct CodeScores {
  std::int32_t min = 0;             // sum of all symbols' least steps: what a code scores for which the blocks' sums are 0
  std::vector<BlockScores> blocks;  // ascending; those with symbols
};

// 2 MB for 90 minutes of 40 ms symbols with 4 variants. The scores of a nibble's symbols must not span more than 65,535 steps; those of MakeScoreTable span 3,200.
CodeScores MakeCodeScores(const ScoreTable& table);

// Keystream of kAccountsPerTile accounts: the account's a-th from bytes[a * stride] on.
struct KeystreamTile {
  const std::uint8_t* bytes = nullptr;
  std::size_t stride = 0;  // in bytes; at least as much as the blocks take
};

// Adds to each account's score what its keystream of these blocks, which follow each other without a gap, scores above the least. Allocates nothing; thread-safe.
void AddScores(std::span<const BlockScores> blocks, const KeystreamTile& tile,
               std::span<std::int32_t, kAccountsPerTile> scores) noexcept;

// The same, one nibble after the other: for processors without such instructions, and to compare with.
void AddScoresOneByOne(std::span<const BlockScores> blocks, const KeystreamTile& tile,
                       std::span<std::int32_t, kAccountsPerTile> scores) noexcept;

}  // namespace earmark
