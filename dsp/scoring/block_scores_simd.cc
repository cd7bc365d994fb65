// The look-ups in vectors, compiled once for each kind of processor; the one that runs is chosen when it runs.
#include "dsp/scoring/block_scores.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dsp/scoring/block_scores_simd.cc"
// Vectors whose size is not known to the compiler cannot stand in arrays, and NEON does on such processors.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace earmark {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

void AddScoresInVectors(const BlockScores* blocks, std::size_t num_blocks, const KeystreamTile& tile, std::int32_t* scores) {
  AddScoresOneByOne({blocks, num_blocks}, tile, std::span<std::int32_t, kAccountsPerTile>(scores, kAccountsPerTile));
}

#else

namespace hn = hwy::HWY_NAMESPACE;

// 16 bytes each of one or two stretches of keystream. Wider vectors would gain little: the keystream itself takes most of the time.
using Bytes = hn::CappedTag<std::uint8_t, 32>;
using Words = hn::Repartition<std::uint16_t, Bytes>;
using ByteVector = hn::Vec<Bytes>;
using WordVector = hn::Vec<Words>;

// Sums of bytes, without widening them first: of all words, in which the odd bytes count 256-fold (modulo 65,536), and of the odd bytes alone.
// Exact for up to 257 bytes each.
struct ByteSums {
  WordVector words;
  WordVector odd;

  HWY_INLINE void Add(ByteVector bytes) {
    const WordVector both = hn::BitCast(Words(), bytes);
    words = hn::Add(words, both);
    odd = hn::Add(odd, hn::ShiftRight<8>(both));
  }
  HWY_INLINE WordVector Even() const { return hn::Sub(words, hn::ShiftLeft<8>(odd)); }
};

struct ScoreSums {
  ByteSums low;
  ByteSums high;
};

// Not as initializers: constructors that the compiler writes are not compiled for the target.
HWY_INLINE ScoreSums NoScores() {
  const WordVector zero = hn::Zero(Words());
  return {.low = {.words = zero, .odd = zero}, .high = {.words = zero, .odd = zero}};
}

// Keystream bytes of 16 accounts, a vector each, become a vector for each byte, within every 16 bytes of the vectors. Each round turns the bits of a byte's place (four for the
// vector, four within it) left by one.
HWY_INLINE void Transpose(std::array<ByteVector, 16>& rows) {
  for (int round = 0; round < 4; ++round) {
    std::array<ByteVector, 16> next;
    for (std::size_t i = 0; i < 8; ++i) {
      next[2 * i] = hn::InterleaveLower(Bytes(), rows[i], rows[i + 8]);
      next[2 * i + 1] = hn::InterleaveUpper(Bytes(), rows[i], rows[i + 8]);
    }
    rows = next;
  }
}

HWY_INLINE void AddNibbles(ByteVector nibbles, const std::uint8_t* tables, std::size_t nibble, std::size_t place,
                           ScoreSums& sums) {
  sums.low.Add(hn::TableLookupBytes(hn::Load(Bytes(), tables + BlockScores::OffsetOf(nibble, 0, place)), nibbles));
  sums.high.Add(hn::TableLookupBytes(hn::Load(Bytes(), tables + BlockScores::OffsetOf(nibble, 1, place)), nibbles));
}

HWY_INLINE void AddBlock(const BlockScores& block, const std::uint8_t* keystream, std::size_t stride, ScoreSums& sums) {
  const ByteVector low_bits = hn::Set(Bytes(), 15);
  const std::size_t width = hn::Lanes(Bytes());
  for (std::size_t from = 0; from < BlockScores::kBytes; from += width) {
    std::array<ByteVector, 16> rows;
    for (std::size_t a = 0; a < rows.size(); ++a) rows[a] = hn::LoadU(Bytes(), keystream + a * stride + from);
    Transpose(rows);
    for (std::size_t byte = 0; byte < rows.size(); ++byte) {
      const std::size_t place = BlockScores::PlaceOf(from + byte);
      AddNibbles(hn::And(rows[byte], low_bits), block.tables.data(), 0, place, sums);
      AddNibbles(hn::And(hn::BitCast(Bytes(), hn::ShiftRight<4>(hn::BitCast(Words(), rows[byte]))), low_bits),
                 block.tables.data(), 1, place, sums);
    }
  }
}

// A vector's n-th word is of the 2n-th account, or the one after it, counted anew every 16 bytes.
HWY_INLINE void AddWords(WordVector low, WordVector high, std::int32_t* scores) {
  alignas(32) std::array<std::uint16_t, 16> low_words{};
  alignas(32) std::array<std::uint16_t, 16> high_words{};
  hn::Store(low, Words(), low_words.data());
  hn::Store(high, Words(), high_words.data());
  for (std::size_t n = 0; n < hn::Lanes(Words()); ++n) scores[2 * (n % 8)] += low_words[n] + 256 * high_words[n];
}

void AddScoresInVectors(const BlockScores* blocks, std::size_t num_blocks, const KeystreamTile& tile, std::int32_t* scores) {
  constexpr std::size_t kBlocksPerSum = 2;  // 256 bytes at most
  for (std::size_t first = 0; first < num_blocks; first += kBlocksPerSum) {
    ScoreSums sums = NoScores();
    for (std::size_t b = first; b < std::min(num_blocks, first + kBlocksPerSum); ++b) {
      AddBlock(blocks[b], tile.bytes + b * BlockScores::kBytes, tile.stride, sums);
    }
    AddWords(sums.low.Even(), sums.high.Even(), scores);
    AddWords(sums.low.odd, sums.high.odd, scores + 1);
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace earmark
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace earmark {

HWY_EXPORT(AddScoresInVectors);

void AddScores(std::span<const BlockScores> blocks, const KeystreamTile& tile,
               std::span<std::int32_t, kAccountsPerTile> scores) noexcept {
  HWY_DYNAMIC_DISPATCH(AddScoresInVectors)(blocks.data(), blocks.size(), tile, scores.data());
}

}  // namespace earmark
#endif
