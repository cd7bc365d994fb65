#include "dsp/search/bit_planes.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "dsp/core/clones.h"

namespace earmark {
namespace {

using Vector [[gnu::vector_size(sizeof(BitPlanes::Lanes))]] = std::uint64_t;

#define EARMARK_INLINE inline __attribute__((always_inline))

// Of three digits of one weight, the sum: a digit of that weight and one of the next.
EARMARK_INLINE void FullAdd(const Vector& a, const Vector& b, const Vector& c, Vector& low, Vector& high) {
  const Vector half = a ^ b;
  high = (a & b) | (half & c);
  low = half ^ c;
}

// Adds a number of `digits` binary digits to the counters.
constexpr int kSumDigits = 8;
static_assert(BitPlanes::kMaxWanted < 1 << kSumDigits);
template <int digits>
EARMARK_INLINE void Add(const Vector (&number)[digits], Vector (&counts)[kSumDigits]) {
  Vector carry = counts[0] & number[0];
  counts[0] ^= number[0];
#pragma GCC unroll 8
  for (int i = 1; i < digits; ++i) {
    Vector next;
    FullAdd(counts[i], number[i], carry, counts[i], next);
    carry = next;
  }
#pragma GCC unroll 8
  for (int i = digits; i < kSumDigits; ++i) {
    const Vector next = counts[i] & carry;
    counts[i] ^= carry;
    carry = next;
  }
}

// Of two vectors in a row, the one that begins so many lanes behind the first.
EARMARK_INLINE void Between(const Vector& first, const Vector& second, std::uint32_t lanes, Vector& between) {
  switch (lanes) {
    case 0: between = first; break;
    case 1: between = __builtin_shufflevector(first, second, 1, 2, 3, 4); break;
    case 2: between = __builtin_shufflevector(first, second, 2, 3, 4, 5); break;
    case 3: between = __builtin_shufflevector(first, second, 3, 4, 5, 6); break;
    default: between = second;
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

void BitPlanes::Append(std::span<const std::uint64_t> words) {
  const auto end = static_cast<std::size_t>(num_words_) + words.size();
  tiles_.resize((end + kPlaces - 1) / kPlaces + kPadding);
  std::size_t at = static_cast<std::size_t>(num_words_);
  while (at < end) {
    std::array<std::uint64_t, 64> rows{};
    const std::size_t lane = at / 64;
    for (; at < end && at / 64 == lane; ++at) rows[at % 64] = words[at - static_cast<std::size_t>(num_words_)];
    AddWords(lane, rows);
  }
  num_words_ += static_cast<std::int64_t>(words.size());
}

void BitPlanes::AddWords(std::size_t lane, const std::array<std::uint64_t, 64>& words) {
  auto planes = words;
  Transpose(planes);
  Tile& tile = tiles_[lane / std::tuple_size_v<Lanes>];
  for (std::size_t b = 0; b < planes.size(); ++b) tile[b][lane % std::tuple_size_v<Lanes>] |= planes[b];
}

EARMARK_CLONES("avx2", "default")
BitPlanes::Counts BitPlanes::CountAgreeing(std::int64_t first, std::span<const WantedBit> wanted) const {
  Vector sums[kSumDigits] = {};
  const Tile* const first_tile = tiles_.data() + first / kPlaces;
  const auto agreeing = [&](const WantedBit& bit, Vector& agrees) __attribute__((always_inline)) {
    const Tile* const tile = first_tile + bit.word / kPlaces;
    Vector here;
    Vector next;
    std::memcpy(&here, &tile[0][bit.bit], sizeof here);
    std::memcpy(&next, &tile[1][bit.bit], sizeof next);
    const std::uint32_t lanes = bit.word % kPlaces / 64;
    const int shift = static_cast<int>(bit.word % 64);
    Vector low;
    Vector high;
    Between(here, next, lanes, low);
    Between(here, next, lanes + 1, high);
    const std::uint64_t flip = bit.value ? 0 : ~std::uint64_t{0};
    agrees = ((low >> shift) | (high << 1 << (63 - shift))) ^ flip;
  };
  std::size_t i = 0;
  // Seven at a time make one number of three digits.
  for (; i + 7 <= wanted.size(); i += 7) {
    Vector in[7];
#pragma GCC unroll 7
    for (std::size_t k = 0; k < 7; ++k) agreeing(wanted[i + k], in[k]);
    Vector ones[3];
    Vector twos[3];
    Vector number[3];
    FullAdd(in[0], in[1], in[2], ones[0], twos[0]);
    FullAdd(in[3], in[4], in[5], ones[1], twos[1]);
    FullAdd(ones[0], ones[1], in[6], number[0], twos[2]);
    FullAdd(twos[0], twos[1], twos[2], number[1], number[2]);
    Add<3>(number, sums);
  }
  for (; i < wanted.size(); ++i) {
    Vector one[1];
    agreeing(wanted[i], one[0]);
    Add<1>(one, sums);
  }
  Counts counts{};
  std::memcpy(counts.data(), sums, sizeof sums);
  return counts;
}

void AddCounts(const BitPlanes::Counts& more, BitPlanes::Counts& counts) {
  for (std::size_t lane = 0; lane < more[0].size(); ++lane) {
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const std::uint64_t a = counts[i][lane];
      const std::uint64_t b = more[i][lane];
      counts[i][lane] = a ^ b ^ carry;
      carry = (a & b) | ((a ^ b) & carry);
    }
  }
}

BitPlanes::Lanes AtLeast(const BitPlanes::Counts& counts, int least) {
  BitPlanes::Lanes lanes;
  lanes.fill(least <= BitPlanes::kMaxCount ? ~std::uint64_t{0} : 0);
  if (least <= 0 || least > BitPlanes::kMaxCount) return lanes;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      lanes[lane] = (least >> i & 1) != 0 ? counts[i][lane] & lanes[lane] : counts[i][lane] | lanes[lane];
    }
  }
  return lanes;
}

int CountAt(const BitPlanes::Counts& counts, int place) {
  const auto lane = static_cast<std::size_t>(place / 64);
  int count = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) count |= static_cast<int>(counts[i][lane] >> (place % 64) & 1) << i;
  return count;
}

}  // namespace earmark
