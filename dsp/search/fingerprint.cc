#include "dsp/search/fingerprint.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace earmark {
namespace internal {
namespace {

constexpr double kLowHz = 200;
constexpr double kHighHz = 3400;
constexpr double kMelCornerHz = 700;

double BandEdgeHz(int edge) {
  const double low = std::log(1 + kLowHz / kMelCornerHz);
  const double high = std::log(1 + kHighHz / kMelCornerHz);
  return kMelCornerHz * (std::exp(low + (high - low) * edge / (kSlopes + 1)) - 1);
}

}  // namespace

FingerprintFrames::FingerprintFrames(int sample_rate_hz) : sample_rate_hz_(sample_rate_hz), fft_(sample_rate_hz * 2048 / 48000) {
  const int size = fft_.size();
  history_.assign(static_cast<std::size_t>(size), 0.0F);
  for (int n = 0; n < size; ++n) {
    // Scaled so that the spectrum does not depend on the sample rate.
    window_.push_back(static_cast<float>((0.5 - 0.5 * std::cos(2 * std::numbers::pi * (n + 0.5) / size)) / size));
  }
  // A band takes the share of each bin (as a box around its centre) that lies inside it.
  const double bin_hz = static_cast<double>(sample_rate_hz) / size;
  for (int band = 0; band <= kSlopes; ++band) {
    const double low = BandEdgeHz(band);
    const double high = BandEdgeHz(band + 1);
    for (int bin = static_cast<int>(low / bin_hz); bin <= static_cast<int>(high / bin_hz) + 1; ++bin) {
      const double share = std::min((bin + 0.5) * bin_hz, high) - std::max((bin - 0.5) * bin_hz, low);
      if (share > 0) weights_.push_back({.bin = bin, .band = band, .weight = static_cast<float>(share / (high - low))});
    }
  }
}

const FingerprintFrames::Densities& FingerprintFrames::Process(std::span<const float> hop) noexcept {
  std::copy(history_.begin() + static_cast<std::ptrdiff_t>(hop.size()), history_.end(), history_.begin());
  std::copy(hop.begin(), hop.end(), history_.end() - static_cast<std::ptrdiff_t>(hop.size()));
  auto time = fft_.time();
  for (std::size_t n = 0; n < history_.size(); ++n) time[n] = history_[n] * window_[n];
  fft_.Forward();
  densities_.fill(0);
  for (const BandWeight& w : weights_)
    densities_[static_cast<std::size_t>(w.band)] += w.weight * std::norm(fft_.bins()[static_cast<std::size_t>(w.bin)]);
  return densities_;
}

}  // namespace internal

namespace {

using internal::kSlopes;
using internal::Slopes;

constexpr float kFloorShare = 0.1F;
constexpr float kMinPower = 1e-13F;    // -100 dBFS or so: keeps digital silence from dividing nothing by nothing
constexpr float kLevelForget = 0.99F;  // per frame: the stream's recent level, over about a second
// bits of a clip whose sums are smaller than this share of their usual size do not count …
constexpr float kMinShareOfSpread = 0.15F;
constexpr float kStrongShareOfSpread = 1;
constexpr float kMinSum = 1e-3F;  // … nor those of digital silence, which would match any other silence
constexpr int kHalfFrames = 10;   // each of the two sums

float MeanDensity(const internal::FingerprintFrames::Densities& densities) {
  float sum = 0;
  for (float e : densities) sum += e;
  return sum / static_cast<float>(densities.size());
}

Slopes SlopesOf(const internal::FingerprintFrames::Densities& densities, float level) {
  std::array<float, kSlopes + 1> logs;
  for (std::size_t b = 0; b < logs.size(); ++b) logs[b] = std::log(densities[b] + kFloorShare * level + kMinPower);
  Slopes slopes;
  for (std::size_t b = 0; b < slopes.size(); ++b) slopes[b] = logs[b] - logs[b + 1];
  return slopes;
}

}  // namespace

FingerprintExtractor::FingerprintExtractor(int sample_rate_hz) : frames_(sample_rate_hz) {}

void FingerprintExtractor::Process(std::span<const float> mono) {
  pending_.insert(pending_.end(), mono.begin(), mono.end());
  const auto hop = static_cast<std::size_t>(frames_.hop_samples());
  std::size_t at = 0;
  for (; at + hop <= pending_.size(); at += hop) AddFrame(std::span(pending_).subspan(at, hop));
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(at));
}

void FingerprintExtractor::AddFrame(std::span<const float> hop) {
  const auto& densities = frames_.Process(hop);
  const float mean = MeanDensity(densities);
  level_ = num_frames_ == 0 ? mean : kLevelForget * level_ + (1 - kLevelForget) * mean;
  slopes_[static_cast<std::size_t>(num_frames_ % 20)] = SlopesOf(densities, level_);
  ++num_frames_;
  if (num_frames_ % 8 != 0) return;
  Slopes value{};
  for (std::int64_t back = 1; back <= 2 * kHalfFrames; ++back) {
    const Slopes& slopes = slopes_[static_cast<std::size_t>((num_frames_ - back + 20) % 20)];
    const float sign = back <= kHalfFrames ? 1.0F : -1.0F;
    for (std::size_t b = 0; b < value.size(); ++b) value[b] += sign * slopes[b];
  }
  std::uint64_t word = 0;
  for (std::size_t b = 0; b < value.size(); ++b) word |= static_cast<std::uint64_t>(value[b] > 0) << b;
  words_.push_back(word);
}

std::vector<std::uint64_t> FingerprintExtractor::TakeWords() {
  std::vector<std::uint64_t> words;
  words.swap(words_);
  return words;
}

ClipFingerprint FingerprintClip(std::span<const float> clip, int sample_rate_hz) {
  internal::FingerprintFrames frames(sample_rate_hz);
  const auto hop = static_cast<std::size_t>(frames.hop_samples());
  std::vector<internal::FingerprintFrames::Densities> densities;
  float level = 0;
  for (std::size_t at = 0; at + hop <= clip.size(); at += hop) {
    densities.push_back(frames.Process(clip.subspan(at, hop)));
    level += MeanDensity(densities.back());
  }
  ClipFingerprint result;
  result.phases.resize(kFingerprintPhases);
  const auto n = densities.size();
  if (n < 32) return result;
  level /= static_cast<float>(n);
  // Running sums of the slopes, so that each word costs two differences.
  std::vector<Slopes> sums(n + 1, Slopes{});
  for (std::size_t f = 0; f < n; ++f) {
    const Slopes slopes = SlopesOf(densities[f], level);
    for (std::size_t b = 0; b < slopes.size(); ++b) sums[f + 1][b] = sums[f][b] + slopes[b];
  }
  struct Value {
    Slopes sum;
    std::size_t phase;
  };
  std::vector<Value> values;
  Slopes power{};                                                                   // of each bit's sums, over the clip
  for (std::size_t end = 8 * (ClipFingerprint::kFirstWord + 1); end <= n; ++end) {  // the word's last frame is end-1
    Value value{.sum = {}, .phase = end % 8};
    for (std::size_t b = 0; b < value.sum.size(); ++b) {
      value.sum[b] = (sums[end][b] - sums[end - kHalfFrames][b]) - (sums[end - kHalfFrames][b] - sums[end - 2 * kHalfFrames][b]);
      power[b] += value.sum[b] * value.sum[b];
    }
    values.push_back(value);
  }
  Slopes min{};
  Slopes strong{};
  for (std::size_t b = 0; b < min.size(); ++b) {
    const float spread = std::sqrt(power[b] / static_cast<float>(values.size()));
    min[b] = kMinShareOfSpread * spread + kMinSum;
    strong[b] = kStrongShareOfSpread * spread + kMinSum;
  }
  for (const Value& value : values) {
    ClipWord word;
    for (std::size_t b = 0; b < value.sum.size(); ++b) {
      word.bits |= static_cast<std::uint64_t>(value.sum[b] > 0) << b;
      word.mask |= static_cast<std::uint64_t>(std::abs(value.sum[b]) >= min[b]) << b;
      word.strong |= static_cast<std::uint64_t>(std::abs(value.sum[b]) >= strong[b]) << b;
    }
    result.phases[value.phase].push_back(word);
  }
  return result;
}

std::vector<std::uint8_t> EncodeFingerprint(std::span<const std::uint64_t> words) {
  std::vector<std::uint8_t> bytes;
  bytes.reserve(words.size() * 8);
  for (std::uint64_t word : words) {
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<std::uint8_t>(word >> (8 * i)));
  }
  return bytes;
}

std::vector<std::uint64_t> DecodeFingerprint(std::span<const std::uint8_t> bytes) {
  std::vector<std::uint64_t> words(bytes.size() / 8);
  for (std::size_t w = 0; w < words.size(); ++w) {
    // compilers make one load of it
    for (std::size_t i = 0; i < 8; ++i) words[w] |= static_cast<std::uint64_t>(bytes[8 * w + i]) << (8 * i);
  }
  return words;
}

}  // namespace earmark
