// Counting, at 256 places at once, in how many of a clip's bits a stretch of fingerprint agrees.
//
// The words are cut into 256 equal columns, and laid side by side: row r holds word r of every column, bit 0 of all of them
// first, then bit 1 … What a bit of the clip says of the 256 places of a row is then one load, from as many rows further down as
// the bit's word lies behind the place, and counts grow by carry-save addition (Harley and Seal): six operations or so for a bit
// at 256 places.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace earmark {

// One bit that a clip says: of the word so many behind the place.
class WantedBit {
 public:
  WantedBit(std::size_t word, int bit, bool value)
      : at_(static_cast<std::uint32_t>(64 * word + static_cast<std::size_t>(bit))), flip_(value ? 0 : ~std::uint64_t{0}) {}

 private:
  friend class BitPlanes;
  std::uint32_t at_;
  std::uint64_t flip_;
};

class BitPlanes {
 public:
  static constexpr int kColumns = 256;
  static constexpr int kReach = 256;      // words behind its place that a bit may be of, less one
  static constexpr int kMaxWanted = 255;  // bits at once
  static constexpr int kCountBits = 11;
  static constexpr int kMaxCount = (1 << kCountBits) - 1;
  using Lanes = std::array<std::uint64_t, kColumns / 64>;  // a bit for each column
  using Counts = std::array<Lanes, kCountBits>;            // binary digits of a number for each column, the lowest first

  // Places 0 … num_places - 1 of these words, of which there should be kReach more than places; missing ones read as 0.
  BitPlanes(std::span<const std::uint64_t> words, std::int64_t num_places);
  std::int64_t num_rows() const { return num_rows_; }
  std::int64_t PlaceOf(std::int64_t row, int column) const { return column * num_rows_ + row; }  // may lie behind the last

  // For the places of a row, how many of at most kMaxWanted bits agree.
  Counts CountAgreeing(std::int64_t row, std::span<const WantedBit> wanted) const;

 private:
  using Row = std::array<Lanes, 64>;  // [bit]

  std::int64_t num_rows_;
  std::vector<Row> rows_;  // kReach more, which go on with what the next column begins with
};

// Sums of two numbers for each place; at most kMaxCount.
void AddCounts(const BitPlanes::Counts& more, BitPlanes::Counts& counts);
// Where the number is at least so large.
BitPlanes::Lanes AtLeast(const BitPlanes::Counts& counts, int min);
// The number of one column.
int CountAt(const BitPlanes::Counts& counts, int column);

}  // namespace earmark
