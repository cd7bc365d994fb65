// The range decoder of Opus: RFC 6716, section 4.1.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace earmark {

// Reads symbols from the front of a frame and raw bits from its end. Beyond the frame's bytes there are zeros, as the RFC has it: nothing read from a
// damaged frame is out of bounds, and HasOverrun tells that more was read than there is. Small, copied freely; no call allocates.
class RangeDecoder {
 public:
  // `frame` outlives the object.
  explicit RangeDecoder(std::span<const std::uint8_t> frame) noexcept;

  // A symbol of a table of 8-bit inverse cumulative frequencies out of 256 (falling, the last one 0): §4.1.3.3.
  template <std::size_t kSize>
  int Icdf(const std::array<std::uint8_t, kSize>& table) noexcept {
    return IcdfFrom(table, 8);
  }
  // … of a table out of 2^bits.
  int IcdfFrom(std::span<const std::uint8_t> table, int bits) noexcept;
  // A bit that is 1 with chance 2^-log_chance: §4.1.3.2.
  bool BitLogp(int log_chance) noexcept;
  // One of `total` (2 … 2^32-1) equally likely values: §4.1.5.
  std::uint32_t Uniform(std::uint32_t total) noexcept;
  // §4.1.2 in two steps, for distributions that are computed: a value below `total` (at most 2^15); then the symbol [low, high) that holds it.
  std::uint32_t Frequency(std::uint32_t total) noexcept;
  void Update(std::uint32_t low, std::uint32_t high, std::uint32_t total) noexcept;
  // `count` (0 … 25) raw bits: §4.1.4.
  std::uint32_t RawBits(int count) noexcept;

  // Bits used so far, rounded up, and in eighths of a bit: §4.1.6.
  int Tell() const noexcept;
  int TellEighths() const noexcept;
  // Raw bits read so far. The next one is bit (n mod 8) of byte (size - 1 - n div 8) of the frame.
  int num_raw_bits() const noexcept { return num_raw_bits_; }
  int num_bytes() const noexcept { return static_cast<int>(frame_.size()); }
  // The range and the front bytes taken in, as of now: what an exchange of equally wide symbols is computed from.
  std::uint32_t range() const noexcept { return range_; }
  int num_front_bytes() const noexcept { return front_; }
  bool HasOverrun() const noexcept { return Tell() > 8 * num_bytes(); }

 private:
  int NextByte() noexcept { return front_ < num_bytes() ? frame_[static_cast<std::size_t>(front_)] : 0; }
  void Normalize() noexcept;

  std::span<const std::uint8_t> frame_;
  std::uint32_t range_ = 128;
  std::uint32_t value_ = 0;  // top of the range less the code number
  int last_byte_ = 0;        // its low bit has not been taken in yet
  int front_ = 0;            // bytes taken in, counted on beyond the end
  int num_range_bits_ = 9;
  std::uint32_t unit_ = 0;  // of the last Frequency
  int num_raw_bits_ = 0;
};

}  // namespace earmark
