// Counting, at 256 places at once, in how many of a clip's bits a stretch of fingerprint agrees.
//
// The words of a fingerprint are kept a second time by planes: of 256 words, first bit 0 of all of them, then bit 1 … What one bit of a clip says of 256 neighbouring places
// is then two loads, and counts grow by carry-save addition: some twelve operations for a bit at 256 places.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace earmark {

// One bit that a clip says: of the word so many behind the place.
struct WantedBit {
  std::uint32_t word = 0;
  std::uint32_t bit = 0;
  bool value = false;
};

class BitPlanes {
 public:
  static constexpr int kPlaces = 256;
  static constexpr int kMaxWanted = 255;  // bits at once
  static constexpr int kCountBits = 11;
  static constexpr int kMaxCount = (1 << kCountBits) - 1;
  using Lanes = std::array<std::uint64_t, kPlaces / 64>;  // a bit for each place
  using Counts = std::array<Lanes, kCountBits>;           // binary digits of a number for each place, the lowest first

  void Append(std::span<const std::uint64_t> words);
  std::int64_t num_words() const { return num_words_; }

  // For the places first … first + 255, how many of at most kMaxWanted bits agree; `first` is a multiple of kPlaces, and what lies beyond the last word is any bit. Words of
  // `wanted` may reach 2 · kPlaces behind the place.
  Counts CountAgreeing(std::int64_t first, std::span<const WantedBit> wanted) const;

 private:
  static constexpr std::size_t kPadding = 4;  // empty tiles behind the last word, readable
  using Tile = std::array<Lanes, 64>;         // [bit] of kPlaces words
  void AddWords(std::size_t lane, const std::array<std::uint64_t, 64>& words);

  std::vector<Tile> tiles_;
  std::int64_t num_words_ = 0;
};

// Sums of two numbers for each place; at most kMaxCount.
void AddCounts(const BitPlanes::Counts& more, BitPlanes::Counts& counts);
// Where the number is at least so large.
BitPlanes::Lanes AtLeast(const BitPlanes::Counts& counts, int least);
// The number of one place.
int CountAt(const BitPlanes::Counts& counts, int place);

}  // namespace earmark
