#include "dsp/search/aligner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <numbers>

#include "dsp/core/fft.h"
#include "dsp/core/resample.h"

namespace earmark {
namespace {

constexpr int kBlockSamples = kDetectRateHz / 2;
constexpr int kBlockHopSamples = kDetectRateHz / 4;
constexpr int kLagRateHz = 12000;  // correlations are band-limited to 6 kHz, so this loses nothing
// Lags reach this far around the prediction, either way: as many as a margin has samples, at half their rate. A rough match is right to about 10 ms, and a line that
// is followed may jump.
constexpr int kVerifyMargin = kDetectRateHz * 6 / 100;
constexpr int kTrackMargin = kDetectRateHz * 6 / 10;
constexpr double kLowHz = 200;
constexpr double kHighHz = 5900;
constexpr float kSilentRms = 1e-4F;  // -80 dBFS: such a block says nothing

constexpr double kAcceptStrength = 9.5;   // of a line through all blocks; see docs/architecture.md
constexpr float kMostOfOneBlock = 6;      // what one block can add: tonal or nearly silent blocks have spurious peaks, but not all at one place
constexpr double kMaxSpeedChange = 0.01;
constexpr double kSpeedStep = 0.002;
constexpr double kClearlySharper = 1.05;
constexpr double kSlopeStep = 1e-4;       // within a speed step
constexpr int kSlopeSteps = 12;           // each way

constexpr double kSpanS = 30;             // Track works in spans of this length, so that memory is bounded
constexpr int kLagsPerBin = 12;           // Viterbi's bins are 1 ms
constexpr int kNumBins = kTrackMargin / kLagsPerBin;
constexpr float kJumpCost = 40;
constexpr float kStepCost = 1;
constexpr float kSupportStrength = 4.5F;  // a block's peak that counts as seen
constexpr float kSeenOnLine = 3.5F;       // the same, at one exact lag
constexpr int kLeastSeenOnLine = 3;
constexpr std::size_t kNearBlocks = 2;
constexpr double kLargestCutGapS = 1;
constexpr int kMostUnseenBlocks = 8;       // with sound, inside a stretch: two seconds
constexpr double kLeastPieceStrength = 8.5;  // of a refined piece; chance leaves 4

using Correlation = std::vector<float>;              // [lag]: standard deviations above chance; empty for a silent block
using Phases = std::vector<std::complex<float>>;     // of a block's spectrum in the band that counts, each of length one; empty for a silent block

}  // namespace

// Phase-only correlation of half-second blocks.
class BlockCorrelator {
 public:
  explicit BlockCorrelator(int margin)
      : margin_(margin), forward_(GoodFftSize(kBlockSamples + 2 * margin)), inverse_(forward_.size() / 2), low_(BinOf(kLowHz)), high_(BinOf(kHighHz)) {
    for (std::size_t n = 0; n < window_.size(); ++n) {
      window_[n] = static_cast<float>(0.5 - 0.5 * std::cos(2 * std::numbers::pi * (static_cast<double>(n) + 0.5) / kBlockSamples));
    }
  }

  int margin() const { return margin_; }

  Phases PhasesOf(std::span<const float> block) {
    double energy = 0;
    for (float x : block) energy += static_cast<double>(x) * x;
    if (energy < kBlockSamples * static_cast<double>(kSilentRms) * kSilentRms) return {};
    const auto time = Cleared();
    for (std::size_t n = 0; n < block.size(); ++n) time[n] = block[n] * window_[n];
    forward_.Forward();
    Phases phases(high_ - low_);
    for (std::size_t k = low_; k < high_; ++k) phases[k - low_] = PhaseOf(forward_.bins()[k]);
    return phases;
  }

  // `stream` is kBlockSamples + 2·margin long; lag 0 means that the block lies at its start, in steps of 1/kLagRateHz.
  Correlation Correlate(const Phases& block, std::span<const float> stream) {
    if (block.empty()) return {};
    const auto time = Cleared();
    std::copy(stream.begin(), stream.end(), time.begin());
    forward_.Forward();
    const auto out = inverse_.bins();
    std::fill(out.begin(), out.end(), std::complex<float>(0, 0));
    for (std::size_t k = low_; k < high_; ++k) {
      const auto a = PhaseOf(forward_.bins()[k]);
      const auto b = block[k - low_];
      out[k] = {a.real() * b.real() + a.imag() * b.imag(), a.imag() * b.real() - a.real() * b.imag()};
    }
    inverse_.Inverse();
    Correlation correlation(inverse_.time().begin(), inverse_.time().begin() + margin_);
    Normalise(correlation);
    return correlation;
  }

 private:
  std::size_t BinOf(double hz) const { return static_cast<std::size_t>(hz * forward_.size() / kDetectRateHz); }
  std::span<float> Cleared() {
    std::fill(forward_.time().begin(), forward_.time().end(), 0.0F);
    return forward_.time();
  }
  static std::complex<float> PhaseOf(std::complex<float> x) {
    const float power = x.real() * x.real() + x.imag() * x.imag();
    return power > 1e-24F ? x / std::sqrt(power) : std::complex<float>(0, 0);
  }
  void Normalise(Correlation& correlation) {
    scratch_.assign(correlation.begin(), correlation.end());
    for (float& x : scratch_) x = std::abs(x);
    const auto middle = scratch_.begin() + static_cast<std::ptrdiff_t>(scratch_.size() / 2);
    std::nth_element(scratch_.begin(), middle, scratch_.end());
    const float scale = 0.6745F / (*middle + 1e-20F);  // of a Gaussian: median |x| = 0.6745 standard deviations
    for (float& x : correlation) x *= scale;
  }

  int margin_;
  RealFft forward_;
  RealFft inverse_;
  std::size_t low_;
  std::size_t high_;
  std::array<float, kBlockSamples> window_{};
  std::vector<float> scratch_;
};

namespace {

// The blocks of a stretch of clip, resampled by a trial line, against the stream along that line.
struct Blocks {
  double speed = 1;                 // of the trial line
  double stream_start_s = 0;        // where the line puts the first block
  int num_lags = 0;                 // the middle one is on the line
  std::vector<Correlation> blocks;  // kBlockHopSamples of stream time apart
};

std::vector<float> Slice(const StreamAudio& audio, std::int64_t first, std::size_t count) {
  std::vector<float> slice(count, 0.0F);
  for (std::size_t n = 0; n < count; ++n) {
    const std::int64_t at = first + static_cast<std::int64_t>(n) - audio.first_sample;
    if (at >= 0 && at < static_cast<std::int64_t>(audio.samples.size())) slice[n] = audio.samples[static_cast<std::size_t>(at)];
  }
  return slice;
}

// The phases of a stretch's blocks, as they lie on a line of this speed.
std::vector<Phases> PhasesAlong(std::span<const float> clip, double clip_start_s, double clip_end_s, double speed, BlockCorrelator& correlator) {
  std::vector<Phases> phases;
  const auto count = static_cast<std::int64_t>((clip_end_s - clip_start_s) * speed * kDetectRateHz);
  std::vector<float> block(kBlockSamples);
  for (std::int64_t at = 0; at + kBlockSamples <= count; at += kBlockHopSamples) {
    SampleAt(clip, clip_start_s * kDetectRateHz + static_cast<double>(at) / speed, 1 / speed, block);
    phases.push_back(correlator.PhasesOf(block));
  }
  return phases;
}

Blocks CorrelateBlocks(const std::vector<Phases>& phases, double stream_start_s, double speed, const StreamAudio& stream, BlockCorrelator& correlator) {
  const auto first = static_cast<std::int64_t>(std::llround(stream_start_s * kDetectRateHz));
  Blocks result{.speed = speed, .stream_start_s = static_cast<double>(first) / kDetectRateHz, .num_lags = correlator.margin(), .blocks = {}};
  const auto size = static_cast<std::size_t>(kBlockSamples + 2 * correlator.margin());
  for (std::size_t b = 0; b < phases.size(); ++b) {
    const std::int64_t at = first + static_cast<std::int64_t>(b) * kBlockHopSamples - correlator.margin();
    result.blocks.push_back(phases[b].empty() ? Correlation() : correlator.Correlate(phases[b], Slice(stream, at, size)));
  }
  return result;
}

struct Line {
  double lag = 0;  // at the first block
  double slope = 0;
  double strength = 0;
  double sharpness = 0;
};

// The straight line through the blocks' correlations with the largest sum, slope within ±num_slopes·kSlopeStep.
Line StrongestLine(const Blocks& blocks, int num_slopes) {
  const int num_lags = blocks.num_lags;
  Line best;
  int used = 0;
  for (const auto& block : blocks.blocks) used += block.empty() ? 0 : 1;
  if (used == 0) return best;
  std::vector<float> sum(static_cast<std::size_t>(num_lags));
  for (int step = -num_slopes; step <= num_slopes; ++step) {
    const double slope = step * kSlopeStep;
    std::fill(sum.begin(), sum.end(), 0.0F);
    for (std::size_t b = 0; b < blocks.blocks.size(); ++b) {
      const Correlation& block = blocks.blocks[b];
      if (block.empty()) continue;
      const auto shift = static_cast<int>(std::lround(slope * static_cast<double>(b) * kBlockHopSamples / 2));
      const int low = std::max(0, -shift);
      const int high = std::min(num_lags, num_lags - shift);
      for (int lag = low; lag < high; ++lag) sum[static_cast<std::size_t>(lag)] += std::min(block[static_cast<std::size_t>(lag + shift)], kMostOfOneBlock);
    }
    const auto peak = std::max_element(sum.begin(), sum.end());
    const double strength = *peak / std::sqrt(static_cast<double>(used));
    if (strength > best.strength) best = {.lag = static_cast<double>(peak - sum.begin()), .slope = slope, .strength = strength};
  }
  for (std::size_t b = 0; b < blocks.blocks.size(); ++b) {
    const auto lag = static_cast<std::ptrdiff_t>(best.lag + std::lround(best.slope * static_cast<double>(b) * kBlockHopSamples / 2));
    if (!blocks.blocks[b].empty() && lag >= 0 && lag < num_lags) best.sharpness += blocks.blocks[b][static_cast<std::size_t>(lag)] / std::sqrt(static_cast<double>(used));
  }
  return best;
}

double LagSeconds(const Blocks& blocks, double lag) { return (lag - blocks.num_lags / 2.0) / kLagRateHz; }

// ---------------------------------------------------------------------------------------------------------------- tracking

std::vector<float> PoolBins(const Correlation& correlation) {
  std::vector<float> bins(kNumBins, 0.0F);
  if (correlation.empty()) return bins;
  for (int bin = 0; bin < kNumBins; ++bin) {
    const auto first = correlation.begin() + bin * kLagsPerBin;
    bins[static_cast<std::size_t>(bin)] = *std::max_element(first, first + kLagsPerBin);
  }
  return bins;
}

// What a peak of this strength says for its lag, as a log-likelihood ratio against chance.
float Evidence(float strength) {
  const float z = std::min(strength, 9.0F);
  return z < 3.5F ? 0.0F : 0.5F * z * z - 4;
}

// The best sequence of bins: staying is free, one bin aside costs little, anywhere else costs a jump.
std::vector<int> BestPath(const std::vector<std::vector<float>>& bins) {
  const std::size_t n = bins.size();
  std::vector<float> score(kNumBins, 0.0F);
  std::vector<std::vector<std::int16_t>> from(n, std::vector<std::int16_t>(kNumBins, 0));
  std::vector<float> next(kNumBins);
  for (std::size_t b = 0; b < n; ++b) {
    const auto top = static_cast<int>(std::max_element(score.begin(), score.end()) - score.begin());
    for (int s = 0; s < kNumBins; ++s) {
      const auto i = static_cast<std::size_t>(s);
      float best = score[i];
      int origin = s;
      const auto consider = [&](int candidate, float cost) {
        if (candidate < 0 || candidate >= kNumBins) return;
        const float value = score[static_cast<std::size_t>(candidate)] - cost;
        if (value > best) best = value, origin = candidate;
      };
      consider(s - 1, kStepCost);
      consider(s + 1, kStepCost);
      consider(top, kJumpCost);
      next[i] = best + Evidence(bins[b][i]);
      from[b][i] = static_cast<std::int16_t>(origin);
    }
    score.swap(next);
  }
  std::vector<int> path(n);
  auto state = static_cast<int>(std::max_element(score.begin(), score.end()) - score.begin());
  for (std::size_t b = n; b-- > 0;) {
    path[b] = state;
    state = from[b][static_cast<std::size_t>(state)];
  }
  return path;
}

// A straight stretch of the path: blocks [first, end).
struct Stretch {
  std::size_t first = 0;
  std::size_t end = 0;
  int bin = 0;
  int num_seen = 0;  // blocks whose own peak lies on the path
  std::size_t first_seen = 0;
  std::size_t last_seen = 0;
};

std::vector<Stretch> CutPath(const std::vector<int>& path, const std::vector<std::vector<float>>& bins, const Blocks& blocks) {
  std::vector<Stretch> stretches;
  int unseen = 0;  // blocks with sound since the last one that was seen
  for (std::size_t b = 0; b < path.size(); ++b) {
    const bool jumped = b == 0 || std::abs(path[b] - path[b - 1]) > 1;
    const bool seen = bins[b][static_cast<std::size_t>(path[b])] >= kSupportStrength;
    if (jumped) unseen = 0;
    // A path that is seen again only after long is two stretches: what lies between may be from elsewhere.
    if (jumped || (seen && unseen > kMostUnseenBlocks)) stretches.push_back({.first = b, .end = b, .bin = path[b]});
    Stretch& stretch = stretches.back();
    unseen = seen ? 0 : unseen + (blocks.blocks[b].empty() ? 0 : 1);
    if (unseen <= kMostUnseenBlocks) stretch.end = b + 1;
    if (seen) {
      if (stretch.num_seen == 0) stretch.first_seen = b;
      stretch.last_seen = b;
      ++stretch.num_seen;
    }
  }
  std::erase_if(stretches, [](const Stretch& s) { return s.num_seen == 0; });
  return stretches;
}

// Correlation between its samples, by a 16-tap windowed sinc.
float Interpolate(const Correlation& correlation, double lag) {
  const auto centre = static_cast<int>(std::floor(lag));
  double sum = 0;
  for (int k = centre - 7; k <= centre + 8; ++k) {
    if (k < 0 || k >= static_cast<int>(correlation.size())) continue;
    const double x = lag - k;
    const double sinc = std::abs(x) < 1e-9 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x);
    const double c = std::cos(std::numbers::pi * x / 17);
    sum += sinc * c * c * correlation[static_cast<std::size_t>(k)];
  }
  return static_cast<float>(sum);
}

// Moves and tilts the line through a stretch until the correlations along it sum to their most.
Line RefineStretch(const Blocks& blocks, const std::vector<int>& path, const Stretch& stretch) {
  constexpr int kPerLag = 8;                       // fine steps of about 10 us
  constexpr int kReach = 2 * kLagsPerBin * kPerLag;  // ±2 ms around the middle of the path's bin
  const double centre = (stretch.bin + 0.5) * kLagsPerBin;
  const auto middle = static_cast<double>(stretch.first + stretch.end - 1) / 2;
  std::vector<std::pair<double, std::vector<float>>> fine;  // block's distance from the middle in lags of stream time, samples around the line
  for (std::size_t b = stretch.first; b < stretch.end; ++b) {
    if (blocks.blocks[b].empty() || std::abs(path[b] - stretch.bin) > 2 * 8) continue;
    std::vector<float> row(2 * kReach + 1);
    for (int j = -kReach; j <= kReach; ++j) {
      row[static_cast<std::size_t>(j + kReach)] = Interpolate(blocks.blocks[b], centre + static_cast<double>(j) / kPerLag);
    }
    fine.emplace_back((static_cast<double>(b) - middle) * kBlockHopSamples / 2, std::move(row));
  }
  // A slope can be told apart only where the stretch is long enough for it to move the peak by a fine step.
  const double length = static_cast<double>(stretch.end - stretch.first) * kBlockHopSamples / 2;
  const double slope_step = std::max(2e-6, 0.5 / kPerLag / std::max(1.0, length));
  const int slopes = length * slope_step < 1e-3 ? 0 : static_cast<int>(6e-4 / slope_step);
  Line best;
  best.lag = centre;
  best.strength = -1e9;
  std::vector<float> sum(2 * kReach + 1);
  for (int step = -slopes; step <= slopes; ++step) {
    const double slope = step * slope_step;
    std::fill(sum.begin(), sum.end(), 0.0F);
    for (const auto& [distance, row] : fine) {
      const auto shift = static_cast<int>(std::lround(slope * distance * kPerLag));
      for (int j = std::max(0, -shift); j < std::min(2 * kReach + 1, 2 * kReach + 1 - shift); ++j) {
        sum[static_cast<std::size_t>(j)] += row[static_cast<std::size_t>(j + shift)];
      }
    }
    const auto peak = static_cast<int>(std::max_element(sum.begin() + 1, sum.end() - 1) - sum.begin());
    const auto at = [&](int j) { return static_cast<double>(sum[static_cast<std::size_t>(j)]); };
    if (at(peak) > best.strength) {
      const double bend = at(peak - 1) - 2 * at(peak) + at(peak + 1);
      const double offset = bend < 0 ? 0.5 * (at(peak - 1) - at(peak + 1)) / bend : 0.0;
      best = {.lag = centre + (peak - kReach + std::clamp(offset, -1.0, 1.0)) / kPerLag, .slope = slope, .strength = at(peak)};
    }
  }
  best.strength /= std::sqrt(std::max<double>(1, static_cast<double>(fine.size())));
  return best;
}

// Narrows a stretch to the blocks that are seen on its very line, where chance hardly reaches; false if there are too few to believe in it.
bool SeenOnLine(const Blocks& blocks, const Line& line, Stretch& stretch) {
  const double middle = static_cast<double>(stretch.first + stretch.end - 1) / 2;
  stretch.num_seen = 0;
  for (std::size_t b = stretch.first; b < stretch.end; ++b) {
    if (blocks.blocks[b].empty()) continue;
    const double lag = line.lag + line.slope * (static_cast<double>(b) - middle) * kBlockHopSamples / 2;
    if (Interpolate(blocks.blocks[b], lag) < kSeenOnLine) continue;
    if (stretch.num_seen++ == 0) stretch.first_seen = b;
    stretch.last_seen = b;
  }
  return stretch.num_seen >= std::min(kLeastSeenOnLine, static_cast<int>(blocks.blocks.size()) / 2);
}

// Where between two pieces does the clip go over from one line to the other? Tried in steps of 10 ms: before the cut the clip should look like the stream
// along `a`, after it along `b`.
double FindCut(std::span<const float> clip, const Alignment& a, const Alignment& b, double low_s, double high_s, const StreamAudio& stream) {
  constexpr int kStep = kDetectRateHz / 100;
  const auto likeness = [&](const Alignment& line, double clip_s) {
    std::array<float, kStep> x{};
    std::array<float, kStep> y{};
    SampleAt(clip, clip_s * kDetectRateHz, 1, x);
    SampleAt(stream.samples, line.StreamTime(clip_s) * kDetectRateHz - static_cast<double>(stream.first_sample), line.speed, y);
    double xy = 0;
    double xx = 1e-12;
    double yy = 1e-12;
    for (std::size_t n = 1; n < x.size(); ++n) {  // first differences: a cheap whitening
      const double dx = x[n] - x[n - 1];
      const double dy = y[n] - y[n - 1];
      xy += dx * dy;
      xx += dx * dx;
      yy += dy * dy;
    }
    return std::abs(xy) / std::sqrt(xx * yy);
  };
  double best = 0;
  double best_cut = low_s;
  double balance = 0;
  for (double at = low_s; at < high_s; at += 0.01) {
    balance += likeness(a, at) - likeness(b, at);
    if (balance > best) best = balance, best_cut = at + 0.01;
  }
  return best_cut;
}

// One span of Track: pieces in [clip_start_s, clip_end_s), near the line `seed`.
Result<std::vector<Alignment>> TrackSpan(std::span<const float> clip, const Alignment& seed, double clip_start_s, double clip_end_s,
                                         const StreamAudioLoader& load) {
  const double stream_start_s = seed.StreamTime(clip_start_s);
  const double stream_end_s = seed.StreamTime(clip_end_s);
  auto stream = load(stream_start_s - 1, stream_end_s + 1);
  if (!stream) return Pass(stream);
  BlockCorrelator correlator(kTrackMargin);
  const Blocks blocks = CorrelateBlocks(PhasesAlong(clip, clip_start_s, clip_end_s, seed.speed, correlator), stream_start_s, seed.speed, *stream, correlator);
  std::vector<std::vector<float>> bins;
  for (const auto& block : blocks.blocks) bins.push_back(PoolBins(block));
  const std::vector<int> path = BestPath(bins);
  std::vector<Alignment> pieces;
  const std::vector<Stretch> stretches = CutPath(path, bins, blocks);
  int seen = 0;
  for (const Stretch& stretch : stretches) seen += stretch.num_seen;
  if (seen < 2) return pieces;
  const auto clip_time = [&](double block) { return clip_start_s + block * kBlockHopSamples / kDetectRateHz / seed.speed; };
  for (Stretch stretch : stretches) {
    const Line line = RefineStretch(blocks, path, stretch);
    if (line.strength < kLeastPieceStrength || !SeenOnLine(blocks, line, stretch)) continue;
    const double middle = static_cast<double>(stretch.first + stretch.end - 1) / 2;
    // The line in (clip, stream) time: at `middle` blocks the stream is at lag `line.lag`.
    const double at_stream_s = blocks.stream_start_s + middle * kBlockHopSamples / kDetectRateHz + LagSeconds(blocks, line.lag);
    Alignment piece;
    piece.speed = seed.speed * (1 + line.slope);
    piece.strength = line.strength;
    // Ends reach to the first and last block that was seen, or to the span's own where that is near; cuts between neighbours are found below.
    piece.clip_start_s = stretch.first_seen <= kNearBlocks ? clip_start_s : clip_time(static_cast<double>(stretch.first_seen));
    piece.clip_end_s = stretch.last_seen + kNearBlocks + 1 >= path.size()
                           ? clip_end_s
                           : std::min(clip_end_s, clip_time(static_cast<double>(stretch.last_seen) + 2));
    piece.stream_start_s = at_stream_s + (piece.clip_start_s - clip_time(middle)) * piece.speed;
    if (!pieces.empty() && piece.clip_start_s - pieces.back().clip_end_s < kLargestCutGapS) {
      Alignment& before = pieces.back();
      const double low_s = std::max(before.clip_start_s, std::min(before.clip_end_s, piece.clip_start_s) - 0.5);
      const double high_s = std::min(piece.clip_end_s, std::max(before.clip_end_s, piece.clip_start_s) + 0.5);
      const double cut_s = FindCut(clip, before, piece, low_s, high_s, *stream);
      before.clip_end_s = cut_s;
      piece.stream_start_s = piece.StreamTime(cut_s);
      piece.clip_start_s = cut_s;
    }
    pieces.push_back(piece);
  }
  std::erase_if(pieces, [](const Alignment& p) { return p.clip_end_s - p.clip_start_s < 0.04; });
  return pieces;
}

}  // namespace

Aligner::Stretch::Stretch(std::span<const float> clip, double start_s, double end_s)
    : clip_(clip), start_s_(start_s), end_s_(end_s), correlator_(std::make_unique<BlockCorrelator>(kVerifyMargin)) {}
Aligner::Stretch::Stretch(Stretch&&) noexcept = default;
Aligner::Stretch::~Stretch() = default;

const std::vector<std::vector<std::complex<float>>>& Aligner::Stretch::PhasesAt(int speed_step) {
  const auto [known, is_new] = phases_.try_emplace(speed_step);
  if (is_new) known->second = PhasesAlong(clip_, start_s_, end_s_, 1 + speed_step * kSpeedStep, *correlator_);
  return known->second;
}

Alignment Aligner::Stretch::StrongestAt(int speed_step, double stream_start_s, const StreamAudio& stream) {
  const double speed = 1 + speed_step * kSpeedStep;
  const Blocks blocks = CorrelateBlocks(PhasesAt(speed_step), stream_start_s, speed, stream, *correlator_);
  const Line line = StrongestLine(blocks, kSlopeSteps);
  return {.clip_start_s = start_s_,
          .clip_end_s = end_s_,
          .stream_start_s = blocks.stream_start_s + LagSeconds(blocks, line.lag),
          .speed = speed * (1 + line.slope),
          .strength = line.strength,
          .sharpness = line.sharpness};
}

Result<std::optional<Alignment>> Aligner::Verify(Stretch& stretch, double stream_start_s, bool all_speeds, const StreamAudioLoader& load) {
  constexpr double kMarginS = 2.0 * kVerifyMargin / kDetectRateHz;
  auto stream = load(stream_start_s - kMarginS, stream_start_s + (stretch.end_s() - stretch.start_s()) * (1 + kMaxSpeedChange) + kMarginS);
  if (!stream) return Pass(stream);
  const int max_step = static_cast<int>(std::lround(kMaxSpeedChange / kSpeedStep));
  Alignment best = stretch.StrongestAt(0, stream_start_s, *stream);
  if (all_speeds && best.strength < kAcceptStrength) {
    for (int step = 1; step <= max_step; ++step) {
      for (const int signed_step : {step, -step}) {
        const Alignment at = stretch.StrongestAt(signed_step, stream_start_s, *stream);
        if (at.strength > best.strength) best = at;
      }
    }
  }
  if (best.strength < kAcceptStrength) return std::optional<Alignment>();
  // A line at a speed near by is accepted as well, on a part of what the right one shows: climb to that.
  for (const int direction : {1, -1}) {
    for (int step = static_cast<int>(std::lround((best.speed - 1) / kSpeedStep)) + direction; std::abs(step) <= max_step; step += direction) {
      const Alignment next = stretch.StrongestAt(step, stream_start_s, *stream);
      if (next.sharpness < kClearlySharper * best.sharpness) break;
      best = next;
    }
  }
  return std::optional<Alignment>(best);
}

Result<std::vector<Alignment>> Aligner::Track(const Alignment& seed, double clip_start_s, double clip_end_s,
                                              const StreamAudioLoader& load) const {
  std::vector<Alignment> forward;
  Alignment line = seed;
  for (double at = seed.clip_start_s; at < clip_end_s - 0.5;) {
    const double end = clip_end_s - at < 1.3 * kSpanS ? clip_end_s : at + kSpanS;
    auto pieces = TrackSpan(clip_, line, at, end, load);
    if (!pieces) return Pass(pieces);
    if (pieces->empty()) break;
    forward.insert(forward.end(), pieces->begin(), pieces->end());
    line = pieces->back();
    at = end;
  }
  std::vector<Alignment> all;
  line = forward.empty() ? seed : forward.front();
  for (double end = seed.clip_start_s; end > clip_start_s + 0.5;) {
    const double at = end - clip_start_s < 1.3 * kSpanS ? clip_start_s : end - kSpanS;
    auto pieces = TrackSpan(clip_, line, at, end, load);
    if (!pieces) return Pass(pieces);
    if (pieces->empty()) break;
    all.insert(all.begin(), pieces->begin(), pieces->end());
    line = pieces->front();
    end = at;
  }
  all.insert(all.end(), forward.begin(), forward.end());
  return all;
}

}  // namespace earmark
