#include "dsp/search/bit_planes.h"

#include <algorithm>
#include <cstring>

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

}  // namespace

void BitPlanes::Append(std::span<const std::uint64_t> words) {
  const auto end = static_cast<std::size_t>(num_words_) + words.size();
  for (std::size_t b = 0; b < planes_.size(); ++b) {
    auto& plane = planes_[b];
    plane.resize((end + 63) / 64 + kPadding);
    for (std::size_t i = 0; i < words.size(); ++i) {
      const std::size_t at = static_cast<std::size_t>(num_words_) + i;
      plane[at / 64] |= ((words[i] >> b) & 1) << (at % 64);
    }
  }
  num_words_ += static_cast<std::int64_t>(words.size());
}

#if defined(__x86_64__)
__attribute__((target_clones("avx2", "default")))
#endif
BitPlanes::Counts BitPlanes::CountAgreeing(std::int64_t first, std::span<const WantedBit> wanted) const {
  Vector sums[kSumDigits] = {};
  const auto first_lane = static_cast<std::size_t>(first) / 64;
  const auto agreeing = [&](const WantedBit& bit, Vector& agrees) __attribute__((always_inline)) {
    const int shift = static_cast<int>(bit.word % 64);
    const std::uint64_t* const words = planes_[bit.bit].data() + first_lane + bit.word / 64;
    Vector here;
    Vector next;
    std::memcpy(&here, words, sizeof here);
    std::memcpy(&next, words + 1, sizeof next);
    const std::uint64_t flip = bit.value ? 0 : ~std::uint64_t{0};
    agrees = ((here >> shift) | (next << 1 << (63 - shift))) ^ flip;
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
