#include "dsp/search/bit_planes.h"

#include <algorithm>
#include <cstring>

#include "dsp/core/clones.h"

namespace earmark {
namespace {

using Vector [[gnu::vector_size(sizeof(BitPlanes::Lanes))]] = std::uint64_t;

#define EARMARK_INLINE inline __attribute__((always_inline))

// Adds two digits to a third of their weight; what is carried is a digit of the next.
EARMARK_INLINE void AddTwo(Vector& sum, const Vector& a, const Vector& b, Vector& carry) {
  const Vector half = sum ^ a;
  carry = (sum & a) | (half & b);
  sum = half ^ b;
}

// Adds a digit of weight 2^first to a number; the digit is lost.
constexpr int kSumDigits = 8;
static_assert(BitPlanes::kMaxWanted < 1 << kSumDigits);
template <int first>
EARMARK_INLINE void AddDigit(Vector& digit, Vector (&number)[kSumDigits]) {
#pragma GCC unroll 8
  for (int i = first; i < kSumDigits; ++i) {
    const Vector carry = number[i] & digit;
    number[i] ^= digit;
    digit = carry;
  }
}

// Rows become columns (Warren, Hacker's Delight, 7-3).
void Transpose(std::array<std::uint64_t, 64>& rows) {
  std::uint64_t mask = 0x00000000FFFFFFFF;
  for (std::size_t width = 32; width != 0; width >>= 1, mask ^= mask << width) {
    for (std::size_t i = 0; i < 64; i = (i + width + 1) & ~width) {
      const std::uint64_t swap = ((rows[i] >> width) ^ rows[i + width]) & mask;
      rows[i] ^= swap << width;
      rows[i + width] ^= swap;
    }
  }
}

}  // namespace

BitPlanes::BitPlanes(std::span<const std::uint64_t> words, std::int64_t num_places)
    : num_rows_((num_places + kColumns - 1) / kColumns), rows_(static_cast<std::size_t>(num_rows_ + kReach)) {
  constexpr std::size_t kRowsAtOnce = 8;  // words that lie in one cache line
  const auto column_words = static_cast<std::size_t>(num_rows_);
  std::array<std::array<std::uint64_t, 64>, kRowsAtOnce> block;
  for (std::size_t row = 0; row < rows_.size(); row += kRowsAtOnce) {
    const std::size_t count = std::min(kRowsAtOnce, rows_.size() - row);
    for (std::size_t lane = 0; lane < std::tuple_size_v<Lanes>; ++lane) {
      for (std::size_t i = 0; i < 64; ++i) {
        const std::size_t first = (64 * lane + i) * column_words + row;
        for (std::size_t r = 0; r < count; ++r) block[r][i] = first + r < words.size() ? words[first + r] : 0;
      }
      for (std::size_t r = 0; r < count; ++r) {
        Transpose(block[r]);
        for (std::size_t bit = 0; bit < 64; ++bit) rows_[row + r][bit][lane] = block[r][bit];
      }
    }
  }
}

EARMARK_CLONES("avx2", "default")
BitPlanes::Counts BitPlanes::CountAgreeing(std::int64_t row, std::span<const WantedBit> wanted) const {
  const Lanes* const planes = rows_[static_cast<std::size_t>(row)].data();
  const auto agreeing = [&](const WantedBit& bit, Vector& agrees) __attribute__((always_inline)) {
    std::memcpy(&agrees, planes + bit.at_, sizeof agrees);
    agrees ^= bit.flip_;
  };
  Vector sums[kSumDigits] = {};
  std::size_t i = 0;
  for (; i + 8 <= wanted.size(); i += 8) {
    Vector in[8];
#pragma GCC unroll 8
    for (std::size_t k = 0; k < 8; ++k) agreeing(wanted[i + k], in[k]);
    Vector twos[4];
#pragma GCC unroll 4
    for (std::size_t k = 0; k < 4; ++k) AddTwo(sums[0], in[2 * k], in[2 * k + 1], twos[k]);
    Vector fours[2];
    AddTwo(sums[1], twos[0], twos[1], fours[0]);
    AddTwo(sums[1], twos[2], twos[3], fours[1]);
    Vector eights;
    AddTwo(sums[2], fours[0], fours[1], eights);
    AddDigit<3>(eights, sums);
  }
  for (; i < wanted.size(); ++i) {
    Vector one;
    agreeing(wanted[i], one);
    AddDigit<0>(one, sums);
  }
  Counts counts{};
  std::memcpy(counts.data(), sums, sizeof sums);
  return counts;
}

EARMARK_CLONES("avx2", "default")
void AddCounts(const BitPlanes::Counts& more, BitPlanes::Counts& counts) {
  Vector carry{};
  for (std::size_t i = 0; i < counts.size(); ++i) {
    Vector sum;
    Vector digit;
    std::memcpy(&sum, &counts[i], sizeof sum);
    std::memcpy(&digit, &more[i], sizeof digit);
    Vector next;
    AddTwo(sum, digit, carry, next);
    std::memcpy(&counts[i], &sum, sizeof sum);
    carry = next;
  }
}

EARMARK_CLONES("avx2", "default")
BitPlanes::Lanes AtLeast(const BitPlanes::Counts& counts, int min) {
  BitPlanes::Lanes lanes;
  lanes.fill(min <= BitPlanes::kMaxCount ? ~std::uint64_t{0} : 0);
  if (min <= 0 || min > BitPlanes::kMaxCount) return lanes;
  Vector reached;
  std::memcpy(&reached, lanes.data(), sizeof reached);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    Vector digit;
    std::memcpy(&digit, &counts[i], sizeof digit);
    reached = (min >> i & 1) != 0 ? digit & reached : digit | reached;
  }
  std::memcpy(lanes.data(), &reached, sizeof reached);
  return lanes;
}

int CountAt(const BitPlanes::Counts& counts, int column) {
  const auto lane = static_cast<std::size_t>(column / 64);
  int count = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) count |= static_cast<int>(counts[i][lane] >> (column % 64) & 1) << i;
  return count;
}

}  // namespace earmark
