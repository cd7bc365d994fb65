#include "dsp/opus/range_decoder.h"

#include <algorithm>
#include <bit>

namespace earmark {
namespace {

constexpr std::uint32_t kMinRange = std::uint32_t{1} << 23;

int BitLength(std::uint32_t value) { return 32 - std::countl_zero(value); }

}  // namespace

RangeDecoder::RangeDecoder(std::span<const std::uint8_t> frame) noexcept : frame_(frame) {
  last_byte_ = NextByte();
  ++front_;
  value_ = 127 - static_cast<std::uint32_t>(last_byte_ >> 1);
  Normalize();
}

void RangeDecoder::Normalize() noexcept {
  while (range_ <= kMinRange) {
    const int next = NextByte();
    ++front_;
    const int symbol = ((last_byte_ & 1) << 7) | (next >> 1);
    last_byte_ = next;
    range_ <<= 8;
    value_ = ((value_ << 8) + static_cast<std::uint32_t>(255 - symbol)) & 0x7FFFFFFF;
    num_range_bits_ += 8;
  }
}

std::uint32_t RangeDecoder::Frequency(std::uint32_t total) noexcept {
  unit_ = range_ / total;
  return total - std::min(value_ / unit_ + 1, total);
}

void RangeDecoder::Update(std::uint32_t low, std::uint32_t high, std::uint32_t total) noexcept {
  value_ -= unit_ * (total - high);
  range_ = low > 0 ? unit_ * (high - low) : range_ - unit_ * (total - high);
  Normalize();
}

int RangeDecoder::IcdfFrom(std::span<const std::uint8_t> table, int bits) noexcept {
  const std::uint32_t unit = range_ >> bits;
  std::uint32_t above = range_;
  std::size_t symbol = 0;
  std::uint32_t below = unit * table[0];
  while (value_ < below && symbol + 1 < table.size()) {
    above = below;
    below = unit * table[++symbol];
  }
  value_ -= below;
  range_ = above - below;
  Normalize();
  return static_cast<int>(symbol);
}

bool RangeDecoder::BitLogp(int log_chance) noexcept {
  const std::uint32_t part = range_ >> log_chance;
  const bool bit = value_ < part;
  if (bit) {
    range_ = part;
  } else {
    value_ -= part;
    range_ -= part;
  }
  Normalize();
  return bit;
}

std::uint32_t RangeDecoder::Uniform(std::uint32_t total) noexcept {
  const int bits = BitLength(total - 1);
  if (bits <= 8) {
    const std::uint32_t value = Frequency(total);
    Update(value, value + 1, total);
    return value;
  }
  const int raw = bits - 8;
  const std::uint32_t coarse = ((total - 1) >> raw) + 1;
  const std::uint32_t high = Frequency(coarse);
  Update(high, high + 1, coarse);
  return std::min((high << raw) | RawBits(raw), total - 1);
}

std::uint32_t RangeDecoder::RawBits(int count) noexcept {
  std::uint32_t bits = 0;
  for (int i = 0; i < count; ++i, ++num_raw_bits_) {
    const int at = num_bytes() - 1 - num_raw_bits_ / 8;
    if (at < 0) continue;
    bits |= static_cast<std::uint32_t>((frame_[static_cast<std::size_t>(at)] >> (num_raw_bits_ % 8)) & 1) << i;
  }
  return bits;
}

int RangeDecoder::Tell() const noexcept { return num_range_bits_ + num_raw_bits_ - BitLength(range_); }

// Three more bits of the logarithm, by squaring.
int RangeDecoder::TellEighths() const noexcept {
  int log = BitLength(range_);
  std::uint32_t r = range_ >> std::max(0, log - 16);  // after Normalize a range has at least 24 bits
  for (int i = 0; i < 3; ++i) {
    r = (r * r) >> 15;
    const int bit = static_cast<int>(r >> 16);
    log = 2 * log + bit;
    r >>= bit;
  }
  return 8 * (num_range_bits_ + num_raw_bits_) - log;
}

}  // namespace earmark
