#include "dsp/opus/celt_frame.h"

#include <algorithm>
#include <cmath>

namespace earmark {
namespace {

using celt::kNumBands;
using Bands = std::array<int, kNumBands>;

constexpr int kEighths = 3;  // shift: bits to eighths of bits, the unit of allocation
constexpr int kMaxFineBits = 8;

// The parser's one pass. Names in brackets are RFC 6716's.
class Parser {
 public:
  Parser(const CeltLayout& layout, RangeDecoder& decoder)
      : decoder_(decoder),
        lm_(layout.frame_size_log2),
        channels_(layout.num_channels),
        first_(layout.first_band),
        end_(layout.end_band),
        total_bits_(8 * decoder.num_bytes()) {
    front_.layout = layout;
  }

  std::optional<CeltFront> Run() noexcept {
    if (decoder_.Tell() >= total_bits_)
      front_.silence = true;
    else if (decoder_.Tell() == 1)
      front_.silence = decoder_.BitLogp(15);
    if (front_.silence) return front_;
    PitchFilter();
    front_.transient = lm_ > 0 && HasBits(3) && decoder_.BitLogp(3);
    front_.intra = HasBits(3) && decoder_.BitLogp(3);
    CoarseLevels();
    TimeFrequency();
    if (HasBits(4)) (void)decoder_.IcdfFrom(celt::kSpread, 5);
    Boosts();
    Allocate();
    if (decoder_.HasOverrun()) return std::nullopt;
    int at = decoder_.num_raw_bits();
    for (std::size_t b = static_cast<std::size_t>(first_); b < static_cast<std::size_t>(end_); ++b) {
      front_.num_fine_bits[b] = static_cast<std::uint8_t>(fine_[b]);
      front_.first_fine_bit[b] = static_cast<std::uint16_t>(at);
      at += channels_ * fine_[b];
    }
    if (decoder_.Tell() + at - decoder_.num_raw_bits() > total_bits_) return std::nullopt;
    return front_;
  }

 private:
  bool HasBits(int count) const noexcept { return decoder_.Tell() + count <= total_bits_; }
  int Width(int band) const noexcept {
    return celt::kBandEdges[static_cast<std::size_t>(band) + 1] - celt::kBandEdges[static_cast<std::size_t>(band)];
  }
  int WidthOf(int first, int end) const noexcept {
    return celt::kBandEdges[static_cast<std::size_t>(end)] - celt::kBandEdges[static_cast<std::size_t>(first)];
  }

  void PitchFilter() noexcept {
    if (first_ != 0 || !HasBits(16) || !decoder_.BitLogp(1)) return;
    const auto octave = static_cast<int>(decoder_.Uniform(6));
    front_.pitch_period = (16 << octave) + static_cast<int>(decoder_.RawBits(4 + octave)) - 1;
    front_.pitch_gain = static_cast<int>(decoder_.RawBits(3)) + 1;
    if (HasBits(2)) (void)decoder_.IcdfFrom(celt::kTapset, 2);
  }

  // A value of the Laplace-like distribution: §4.3.2.1 (the C code is its definition).
  int Laplace(celt::LaplaceModel model) noexcept {
    constexpr std::uint32_t kTotal = 32768;
    constexpr std::uint32_t kGuaranteed = 16;  // values on each side that always have a chance of at least 1
    std::uint32_t width = std::uint32_t{model.zero} << 7;
    const std::uint32_t decay = std::uint32_t{model.decay} << 6;
    const std::uint32_t at = decoder_.Frequency(kTotal);
    std::uint32_t low = 0;
    int value = 0;
    if (at >= width) {
      value = 1;
      low = width;
      width = ((kTotal - 2 * kGuaranteed - width) * (16384 - decay) >> 15) + 1;
      while (width > 1 && at >= low + 2 * width) {
        low += 2 * width;
        width = ((2 * width - 2) * decay >> 15) + 1;
        ++value;
      }
      if (width <= 1) {
        const std::uint32_t pairs = (at - low) / 2;
        value += static_cast<int>(pairs);
        low += 2 * pairs;
      }
      if (at < low + width)
        value = -value;
      else
        low += width;
    }
    decoder_.Update(low, std::min(low + width, kTotal), kTotal);
    return value;
  }

  void CoarseLevels() noexcept {
    const auto& models = celt::kCoarseModels[static_cast<std::size_t>(lm_)][front_.intra ? 1 : 0];
    for (auto b = static_cast<std::size_t>(first_); b < static_cast<std::size_t>(end_); ++b) {
      for (std::size_t c = 0; c < static_cast<std::size_t>(channels_); ++c)
        front_.coarse[c][b] = static_cast<std::int16_t>(CoarseLevel(models[b]));
    }
  }

  int CoarseLevel(celt::LaplaceModel model) noexcept {
    const int left = total_bits_ - decoder_.Tell();
    if (left >= 15) return Laplace(model);
    if (left >= 2) {
      const int symbol = decoder_.IcdfFrom(celt::kSmallEnergy, 2);
      return (symbol >> 1) ^ -(symbol & 1);
    }
    if (left >= 1) return decoder_.BitLogp(1) ? -1 : 0;
    return -1;
  }

  void TimeFrequency() noexcept {
    int budget = total_bits_;
    int log_chance = front_.transient ? 2 : 4;
    const bool may_select = lm_ > 0 && decoder_.Tell() + log_chance + 1 <= budget;
    budget -= may_select ? 1 : 0;
    bool current = false;
    bool any = false;
    for (int b = first_; b < end_; ++b) {
      if (decoder_.Tell() + log_chance <= budget) {
        current ^= decoder_.BitLogp(log_chance);
        any |= current;
      }
      log_chance = front_.transient ? 4 : 5;
    }
    const auto& table = celt::kTimeFrequency[static_cast<std::size_t>(lm_)];
    const std::size_t row = (front_.transient ? 4 : 0) + (any ? 1 : 0);
    if (may_select && table[row] != table[row + 2]) (void)decoder_.BitLogp(1);
  }

  // Dynamic allocation [boost] and [alloc_trim]: §4.3.3.
  void Boosts() noexcept {
    int total = total_bits_ << kEighths;
    int log_chance = 6;
    for (int b = first_; b < end_; ++b) {
      const auto band = static_cast<std::size_t>(b);
      const int bins = channels_ * Width(b) << lm_;
      const int quantum = std::min(bins << kEighths, std::max(6 << kEighths, bins));
      const int cap =
          (celt::kCaps[static_cast<std::size_t>(lm_)][static_cast<std::size_t>(channels_ - 1)][band] + 64) * bins >> 2;
      cap_[band] = cap;
      int boost = 0;
      for (int chance = log_chance; decoder_.TellEighths() + (chance << kEighths) < total && boost < cap; chance = 1) {
        if (!decoder_.BitLogp(chance)) break;
        boost += quantum;
        total -= quantum;
      }
      boost_[band] = boost;
      if (boost > 0) log_chance = std::max(2, log_chance - 1);
    }
    if (decoder_.TellEighths() + (6 << kEighths) <= total) trim_ = decoder_.IcdfFrom(celt::kTrim, 7);
  }

  // What a band gets at an entry of the allocation table, with the trim's tilt.
  int AtQuality(int quality, int b) const noexcept {
    const auto band = static_cast<std::size_t>(b);
    if (quality >= celt::kNumQualities) return cap_[band] > 0 ? std::max(0, cap_[band] + tilt_[band]) : 0;
    const int bits = channels_ * Width(b) * celt::kAllocation[static_cast<std::size_t>(quality)][band] << lm_ >> 2;
    return bits > 0 ? std::max(0, bits + tilt_[band]) : bits;
  }

  // The bits that all bands take; from the top down, bands below their threshold get what says a level, or nothing, until one is above.
  template <typename BitsOfBand>
  int Sum(const BitsOfBand& bits_of, Bands* kept) const noexcept {
    const int floor = channels_ << kEighths;
    int sum = 0;
    bool above = false;
    for (int b = end_ - 1; b >= first_; --b) {
      const auto band = static_cast<std::size_t>(b);
      int bits = bits_of(b);
      above |= bits >= threshold_[band];
      if (!above) bits = bits >= floor ? floor : 0;
      bits = std::min(bits, cap_[band]);
      if (kept != nullptr) (*kept)[band] = bits;
      sum += bits;
    }
    return sum;
  }

  void Allocate() noexcept {
    int total = (total_bits_ << kEighths) - decoder_.TellEighths() - 1;
    if (front_.transient && lm_ >= 2 && total >= (lm_ + 2) << kEighths) total -= 1 << kEighths;  // [anti_collapse_rsv]
    total = std::max(0, total);
    skip_reserve_ = total >= 1 << kEighths ? 1 << kEighths : 0;
    total -= skip_reserve_;
    if (channels_ == 2) {
      intensity_reserve_ = celt::kLog2Eighths[static_cast<std::size_t>(end_ - first_)];
      if (intensity_reserve_ > total) intensity_reserve_ = 0;
      total -= intensity_reserve_;
      if (intensity_reserve_ > 0 && total >= 1 << kEighths) dual_reserve_ = 1 << kEighths;
      total -= dual_reserve_;
    }
    for (int b = first_; b < end_; ++b) {
      const auto band = static_cast<std::size_t>(b);
      threshold_[band] = std::max(channels_ << kEighths, (3 * Width(b) << lm_ << kEighths) >> 4);
      tilt_[band] = channels_ * Width(b) * (trim_ - 5 - lm_) * (end_ - b - 1) * (1 << (lm_ + kEighths)) >> 6;
      if (Width(b) << lm_ == 1) tilt_[band] -= channels_ << kEighths;
    }
    total_ = total;
    Interpolate();
    SkipBands();
    StereoParameters();
    ShareTheRest();
  }

  // Between two entries of the table, so that the bits are just enough.
  void Interpolate() noexcept {
    int low = 1;
    int high = celt::kNumQualities - 1;
    while (low <= high) {
      const int middle = (low + high) / 2;
      const int sum = Sum([&](int b) { return AtQuality(middle, b) + boost_[static_cast<std::size_t>(b)]; }, nullptr);
      if (sum > total_)
        high = middle - 1;
      else
        low = middle + 1;
    }
    const int upper = low--;
    Bands base{};
    Bands step{};
    skip_start_ = first_;
    for (int b = first_; b < end_; ++b) {
      const auto band = static_cast<std::size_t>(b);
      base[band] = AtQuality(low, b) + (low > 0 ? boost_[band] : 0);
      step[band] = std::max(0, AtQuality(upper, b) + boost_[band] - base[band]);
      if (boost_[band] > 0) skip_start_ = b;
    }
    constexpr int kSteps = 6;
    int at = 0;
    for (int beyond = 1 << kSteps; beyond - at > 1;) {
      const int middle = (at + beyond) / 2;
      const int sum =
          Sum([&](int b) { return base[static_cast<std::size_t>(b)] + (middle * step[static_cast<std::size_t>(b)] >> kSteps); },
              nullptr);
      (sum > total_ ? beyond : at) = middle;
    }
    used_ = Sum([&](int b) { return base[static_cast<std::size_t>(b)] + (at * step[static_cast<std::size_t>(b)] >> kSteps); },
                &bits_);
  }

  // From the top down, bands are left without a shape where the frame says so, or where there are too few bits for the question.
  void SkipBands() noexcept {
    const int floor = channels_ << kEighths;
    coded_ = end_;
    for (;; --coded_) {
      const int b = coded_ - 1;
      const auto band = static_cast<std::size_t>(b);
      if (b <= skip_start_) {
        total_ += skip_reserve_;
        return;
      }
      const int below = WidthOf(first_, coded_);
      const int left = total_ - used_;
      const int each = left / below;  // may be negative; truncated, as C does
      const int rest = std::max(left - below * each - WidthOf(first_, b), 0);
      int band_bits = bits_[band] + each * Width(b) + rest;
      if (band_bits >= std::max(threshold_[band], floor + (1 << kEighths))) {
        if (decoder_.BitLogp(1)) return;
        used_ += 1 << kEighths;
        band_bits -= 1 << kEighths;
      }
      used_ -= bits_[band] + intensity_reserve_;
      if (intensity_reserve_ > 0) intensity_reserve_ = celt::kLog2Eighths[static_cast<std::size_t>(b - first_)];
      used_ += intensity_reserve_;
      bits_[band] = band_bits >= floor ? floor : 0;
      used_ += bits_[band];
    }
  }

  void StereoParameters() noexcept {
    if (intensity_reserve_ > 0)
      intensity_ = first_ + static_cast<int>(decoder_.Uniform(static_cast<std::uint32_t>(coded_ + 1 - first_)));
    if (intensity_ <= first_) {
      total_ += dual_reserve_;
      dual_reserve_ = 0;
    }
    dual_ = dual_reserve_ > 0 && decoder_.BitLogp(1);
  }

  void ShareTheRest() noexcept {
    int left = total_ - used_;
    const int each = left / WidthOf(first_, coded_);
    left -= each * WidthOf(first_, coded_);
    for (int b = first_; b < coded_; ++b) bits_[static_cast<std::size_t>(b)] += each * Width(b);
    for (int b = first_; b < coded_; ++b) {
      const int more = std::min(left, Width(b));
      bits_[static_cast<std::size_t>(b)] += more;
      left -= more;
    }
    int balance = 0;
    for (int b = first_; b < coded_; ++b) balance = FineBits(b, balance);
    for (int b = coded_; b < end_; ++b)
      fine_[static_cast<std::size_t>(b)] = bits_[static_cast<std::size_t>(b)] / channels_ >> kEighths;
    front_.num_coded_bands = coded_;
  }

  // How many of a band's bits say its level more finely. Returns what it cannot use, for the next one.
  int FineBits(int b, int balance) noexcept {
    const auto band = static_cast<std::size_t>(b);
    const int bins = Width(b) << lm_;
    const int available = bits_[band] + balance;
    int excess;
    if (bins > 1) {
      excess = std::max(available - cap_[band], 0);
      const int bits = available - excess;
      const int degrees = channels_ * bins + (channels_ == 2 && bins > 2 && !dual_ && b < intensity_ ? 1 : 0);
      const int log_bins = degrees * (celt::kLogBins[band] + (lm_ << kEighths));
      int offset = (log_bins >> 1) - degrees * 21;
      if (bins == 2) offset += degrees << kEighths >> 2;
      if (bits + offset < degrees * 2 << kEighths)
        offset += log_bins >> 2;
      else if (bits + offset < degrees * 3 << kEighths)
        offset += log_bins >> 3;
      int fine = std::max(0, bits + offset + (degrees << (kEighths - 1))) / degrees >> kEighths;
      if (channels_ * fine > bits >> kEighths) fine = bits >> (channels_ - 1) >> kEighths;
      fine_[band] = std::min(fine, kMaxFineBits);
    } else {
      excess = std::max(0, available - (channels_ << kEighths));
      fine_[band] = 0;
    }
    if (excess == 0) return 0;
    const int extra = std::min(excess >> (channels_ - 1 + kEighths), kMaxFineBits - fine_[band]);
    fine_[band] += extra;
    return excess - (extra * channels_ << kEighths);
  }

  RangeDecoder& decoder_;
  const int lm_;  // [LM]
  const int channels_;
  const int first_;
  const int end_;
  const int total_bits_;
  CeltFront front_;
  // In eighths of bits, by band.
  Bands boost_{};
  Bands cap_{};
  Bands threshold_{};
  Bands tilt_{};
  Bands bits_{};
  Bands fine_{};
  int trim_ = 5;
  int total_ = 0;
  int used_ = 0;
  int skip_reserve_ = 0;
  int intensity_reserve_ = 0;
  int dual_reserve_ = 0;
  int skip_start_ = 0;
  int coded_ = 0;
  int intensity_ = 0;
  bool dual_ = false;
};

}  // namespace

CeltLayout CeltLayoutOf(const OpusFrames& packet) noexcept {
  constexpr std::array<int, 5> kEndBands = {13, 17, 17, 19, 21};
  int size_log2 = 0;
  while ((120 << size_log2) < packet.samples_per_frame) ++size_log2;
  return {.num_channels = packet.num_channels,
          .frame_size_log2 = size_log2,
          .first_band = packet.mode == OpusMode::kHybrid ? 17 : 0,
          .end_band = kEndBands[static_cast<std::size_t>(packet.bandwidth)]};
}

std::optional<CeltFront> ParseCeltFront(const CeltLayout& layout, RangeDecoder& decoder) noexcept {
  return Parser(layout, decoder).Run();
}

int ReadRawBits(std::span<const std::uint8_t> frame, int first, int count) noexcept {
  int value = 0;
  for (int i = 0; i < count; ++i) {
    const auto bit = static_cast<std::size_t>(first + i);
    value |= ((frame[frame.size() - 1 - bit / 8] >> (bit % 8)) & 1) << i;
  }
  return value;
}

void WriteRawBits(std::span<std::uint8_t> frame, int first, int count, int value) noexcept {
  for (int i = 0; i < count; ++i) {
    const auto bit = static_cast<std::size_t>(first + i);
    std::uint8_t& byte = frame[frame.size() - 1 - bit / 8];
    const auto mask = static_cast<std::uint8_t>(1 << (bit % 8));
    byte = static_cast<std::uint8_t>(((value >> i) & 1) != 0 ? byte | mask : byte & ~mask);
  }
}

void CeltLevels::Advance(const CeltFront& front, std::span<const std::uint8_t> frame) noexcept {
  const auto lm = static_cast<std::size_t>(front.layout.frame_size_log2);
  const auto channels = static_cast<std::size_t>(front.layout.num_channels);
  const float keep = front.intra ? 0.0F : static_cast<float>(celt::kTimePrediction[lm]) / 32768;
  const float fall = static_cast<float>(front.intra ? celt::kIntraBandPrediction : celt::kBandPrediction[lm]) / 32768;
  std::array<float, 2> from_below{};
  for (std::size_t b = 0; b < celt::kNumBands; ++b) {
    const bool coded =
        static_cast<int>(b) >= front.layout.first_band && static_cast<int>(b) < front.layout.end_band && !front.silence;
    const int bits = front.num_fine_bits[b];
    float power = 0;
    if (channels == 1) level_[0][b] = std::max(level_[0][b], level_[1][b]);
    for (std::size_t c = 0; c < channels; ++c) {
      float& level = level_[c][b];
      if (!coded) {
        level = front.silence ? -28.0F : 0.0F;
        continue;
      }
      const auto change = static_cast<float>(front.coarse[c][b]);
      level = keep * std::max(-9.0F, level) + from_below[c] + change;
      from_below[c] += change * (1 - fall);
      if (bits > 0) {
        const int fine = ReadRawBits(frame, front.first_fine_bit[b] + static_cast<int>(c) * bits, bits);
        level += (static_cast<float>(fine) + 0.5F) / static_cast<float>(1 << bits) - 0.5F;
      }
      power += std::exp2(2 * (level + static_cast<float>(celt::kMeanLevels[b]) / 16));
    }
    if (channels == 1) level_[1][b] = level_[0][b];
    const float bins = static_cast<float>((celt::kBandEdges[b + 1] - celt::kBandEdges[b]) << lm) * static_cast<float>(channels);
    level_db_[b] = coded ? 10 * std::log10(power / bins) - 90.3F : -150.0F;
  }
}

}  // namespace earmark
