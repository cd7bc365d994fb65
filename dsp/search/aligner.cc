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
constexpr int kFollowMargin = kDetectRateHz * 6 / 10;
constexpr double kLowHz = 200;
constexpr double kHighHz = 5900;
constexpr float kSilentRms = 1e-4F;  // -80 dBFS: such a block says nothing

constexpr double kAcceptStrength = 9.5;  // of a line through all blocks; see docs/architecture.md
// what one block can add: tonal or nearly silent blocks have spurious peaks, but not all at one place
constexpr float kMaxOfOneBlock = 6;
// of what is beyond that: decides between lines that all blocks see, as where a sound is periodic
constexpr float kBeyondLimit = 1e-3F;
constexpr double kMaxSpeedChange = 0.01;
constexpr double kSpeedStep = 0.002;
constexpr double kClearlySharper = 1.05;
constexpr double kSlopeStep = 1e-4;  // within a speed step
constexpr int kSlopeSteps = 12;      // each way
// half a block: of a right slope level lines lose far more, and of two dozen wrong ones one may win a little over a voice
constexpr float kSlopeCost = 3;

constexpr double kSpanS = 30;    // Follow works in spans of this length, so that memory is bounded
constexpr int kLagsPerBin = 12;  // Viterbi's bins are 1 ms
constexpr int kNumBins = kFollowMargin / kLagsPerBin;
constexpr int kMaxOffMiddle = 200;  // bins that a path may be away from the middle of those that are looked at
constexpr float kJumpCost = 40;
constexpr float kStepCost = 1;
constexpr float kSupportStrength = 4.5F;  // a block's peak that counts as seen
constexpr float kSeenOnLine = 3.5F;       // the same, at one exact lag
constexpr int kMinSeenOnLine = 3;
constexpr std::size_t kNearBlocks = 2;
constexpr double kLargestCutGapS = 1;
constexpr int kMaxUnseenBlocks = 8;         // with sound, inside a stretch: two seconds
constexpr double kShortPieceStrength = 12;  // of one with hardly any blocks
constexpr double kMinPieceStrength = 8.5;   // of a refined piece; chance leaves 4

// Of a block; empty for a silent one.
struct Correlation {
  // [lag]: standard deviations above chance, by the median lag or, where that says more, by the upper tenth: the stream may be
  // partly silent
  std::vector<float> lags;
  float share_of_median = 1;  // of chance as the median has it in chance as it was taken
  bool empty() const { return lags.empty(); }
};
// of a block's spectrum in the band that counts, each of length one; empty for a silent block
using Phases = std::vector<std::complex<float>>;

}  // namespace

// Phase-only correlation of half-second blocks.
class BlockCorrelator {
 public:
  explicit BlockCorrelator(int margin)
      : margin_(margin),
        forward_(GoodFftSize(kBlockSamples + 2 * margin)),
        inverse_(forward_.size() / 2),
        low_(BinOf(kLowHz)),
        high_(BinOf(kHighHz)) {
    for (std::size_t n = 0; n < window_.size(); ++n) {
      window_[n] =
          static_cast<float>(0.5 - 0.5 * std::cos(2 * std::numbers::pi * (static_cast<double>(n) + 0.5) / kBlockSamples));
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
  Correlation Correlate(const Phases& block, std::span<const float> stream, float polarity = 1) {
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
    Correlation correlation{.lags = {inverse_.time().begin(), inverse_.time().begin() + margin_}};
    Normalise(correlation, polarity);
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
  // Of a Gaussian, half of all |x| are below 0.6745 standard deviations, and nine in ten below 1.6449.
  void Normalise(Correlation& correlation, float polarity) {
    scratch_.assign(correlation.lags.begin(), correlation.lags.end());
    for (float& x : scratch_) x = std::abs(x);
    const auto middle = scratch_.begin() + static_cast<std::ptrdiff_t>(scratch_.size() / 2);
    const auto upper = scratch_.begin() + static_cast<std::ptrdiff_t>(scratch_.size() * 9 / 10);
    std::nth_element(scratch_.begin(), middle, scratch_.end());
    const float by_median = *middle / 0.6745F + 1e-20F;
    std::nth_element(middle, upper, scratch_.end());
    const float by_upper = std::max(by_median, *upper / 1.6449F);
    correlation.share_of_median = by_median / by_upper;
    for (float& x : correlation.lags) x *= polarity / by_upper;
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
  int num_lags = 0;                 // of a block; the middle one is on the line
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
std::vector<Phases> PhasesAlong(std::span<const float> clip, double clip_start_s, double clip_end_s, double speed,
                                BlockCorrelator& correlator) {
  std::vector<Phases> phases;
  const auto count = static_cast<std::int64_t>((clip_end_s - clip_start_s) * speed * kDetectRateHz);
  std::vector<float> along(static_cast<std::size_t>(std::max<std::int64_t>(0, count)));
  SampleAt(clip, clip_start_s * kDetectRateHz, 1 / speed, along);
  for (std::int64_t at = 0; at + kBlockSamples <= count; at += kBlockHopSamples) {
    phases.push_back(correlator.PhasesOf(std::span(along).subspan(static_cast<std::size_t>(at), kBlockSamples)));
  }
  return phases;
}

Blocks CorrelateBlocks(const std::vector<Phases>& phases, double stream_start_s, double speed, const StreamAudio& stream,
                       BlockCorrelator& correlator) {
  const auto first = static_cast<std::int64_t>(std::llround(stream_start_s * kDetectRateHz));
  Blocks result{.speed = speed,
                .stream_start_s = static_cast<double>(first) / kDetectRateHz,
                .num_lags = correlator.margin(),
                .blocks = {}};
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
  float polarity = 1;
};

// The straight line through the blocks' correlations with the largest sum, either way up; slope within ±num_slopes·kSlopeStep.
Line StrongestLine(const Blocks& blocks, int num_slopes) {
  const int num_lags = blocks.num_lags;
  Line best;
  float highest = 0;
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
      for (int lag = low; lag < high; ++lag) {
        const float x = block.lags[static_cast<std::size_t>(lag + shift)];
        const float limited = std::clamp(x, -kMaxOfOneBlock, kMaxOfOneBlock);
        sum[static_cast<std::size_t>(lag)] += limited + kBeyondLimit * (x - limited);
      }
    }
    const auto peak = std::max_element(sum.begin(), sum.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
    const float gain = std::abs(*peak) - (step == 0 ? 0 : kSlopeCost);
    if (gain <= highest) continue;
    highest = gain;
    best = {.lag = static_cast<double>(peak - sum.begin()), .slope = slope, .polarity = *peak < 0 ? -1.0F : 1.0F};
  }
  const double root = std::sqrt(static_cast<double>(used));
  for (std::size_t b = 0; b < blocks.blocks.size(); ++b) {
    const Correlation& block = blocks.blocks[b];
    const auto lag =
        static_cast<std::ptrdiff_t>(best.lag + std::lround(best.slope * static_cast<double>(b) * kBlockHopSamples / 2));
    if (block.empty() || lag < 0 || lag >= num_lags) continue;
    const float x = best.polarity * block.lags[static_cast<std::size_t>(lag)];
    best.strength += std::clamp(x, -kMaxOfOneBlock, kMaxOfOneBlock) / root;
    best.sharpness += x / block.share_of_median / root;
  }
  return best;
}

double LagSeconds(const Blocks& blocks, double lag) { return (lag - blocks.num_lags / 2.0) / kLagRateHz; }

// ---------------------------------------------------------------------------------------------------------------- following

// Correlation between its samples, by a 16-tap sinc under a window of squared cosine.
float Interpolate(std::span<const float> correlation, double lag) {
  constexpr int kFirst = -7;
  constexpr int kTaps = 16;
  constexpr double kWindow = std::numbers::pi / (kTaps + 1);
  static const auto turns = [] {  // e^(i·kWindow·tap)
    std::array<std::complex<double>, kTaps> table{};
    for (int tap = 0; tap < kTaps; ++tap) table[static_cast<std::size_t>(tap)] = std::polar(1.0, kWindow * (kFirst + tap));
    return table;
  }();
  const double centre = std::floor(lag);
  const double behind = lag - centre;
  const auto first = static_cast<std::ptrdiff_t>(centre) + kFirst;
  if (behind < 1e-9)
    return first - kFirst < std::ssize(correlation) && first - kFirst >= 0 ? correlation[static_cast<std::size_t>(first - kFirst)]
                                                                           : 0.0F;
  const std::complex<double> turn = std::polar(1.0, kWindow * behind);
  double sum = 0;
  for (std::ptrdiff_t tap = 0; tap < kTaps; ++tap) {
    if (first + tap < 0 || first + tap >= std::ssize(correlation)) continue;
    const std::complex<double>& by = turns[static_cast<std::size_t>(tap)];
    const double c = turn.real() * by.real() + turn.imag() * by.imag();  // cos(kWindow · (behind - kFirst - tap))
    const double sign = (kFirst + tap) % 2 == 0 ? 1 : -1;
    sum += sign * c * c / (behind - static_cast<double>(kFirst + tap)) * correlation[static_cast<std::size_t>(first + tap)];
  }
  return static_cast<float>(sum * std::sin(std::numbers::pi * behind) / std::numbers::pi);
}

// The blocks of a span that is followed. What plays the stream may leave something out again and again, so each block is looked for around where the one before it was found:
// its lags begin at a bin of its own. Bins and lags of all blocks are counted from the line that the span began with.
class FollowedBlocks {
 public:
  void Add(int first_bin, Correlation correlation) {
    first_bin_.push_back(first_bin);
    blocks_.push_back(std::move(correlation));
    bins_.push_back(PoolBins(blocks_.back()));
  }
  // They were added from the last to the first.
  void Reverse() {
    std::reverse(first_bin_.begin(), first_bin_.end());
    std::reverse(blocks_.begin(), blocks_.end());
    std::reverse(bins_.begin(), bins_.end());
  }
  std::size_t size() const { return blocks_.size(); }
  bool IsSilent(std::size_t b) const { return blocks_[b].empty(); }
  int first_bin(std::size_t b) const { return first_bin_[b]; }
  // The strongest lag of each of a block's kNumBins bins.
  const std::vector<float>& bins(std::size_t b) const { return bins_[b]; }
  float AtBin(std::size_t b, int bin) const {
    const int i = bin - first_bin_[b];
    return i >= 0 && i < kNumBins ? bins_[b][static_cast<std::size_t>(i)] : 0.0F;
  }
  // Between lags by a 16-tap windowed sinc; 0 where the block was not looked for.
  float AtLag(std::size_t b, double lag) const {
    return blocks_[b].empty() ? 0.0F : Interpolate(blocks_[b].lags, lag - first_bin_[b] * kLagsPerBin);
  }

 private:
  static std::vector<float> PoolBins(const Correlation& correlation) {
    std::vector<float> bins(kNumBins, 0.0F);
    if (correlation.empty()) return bins;
    for (int bin = 0; bin < kNumBins; ++bin) {
      const auto first = correlation.lags.begin() + bin * kLagsPerBin;
      bins[static_cast<std::size_t>(bin)] = *std::max_element(first, first + kLagsPerBin);
    }
    return bins;
  }

  std::vector<int> first_bin_;
  std::vector<Correlation> blocks_;
  std::vector<std::vector<float>> bins_;
};

// What a peak of this strength says for its lag, as a log-likelihood ratio against chance; little more above 9, so that one block alone makes no jump, but something, as
// sounds that repeat soon have several such peaks.
float Evidence(float strength) {
  constexpr float kMuch = 9;
  if (strength < 3.5F) return 0;
  const float z = std::min(strength, kMuch);
  return 0.5F * z * z - 4 + 3 * (1 - z / strength);
}

// The best sequence of bins, a block at a time (Viterbi): staying is free, one bin aside costs little, anywhere else costs a jump.
class PathFinder {
 public:
  // The best bin so far, for whoever wants to look around it.
  int Best() const { return first_bin_ + static_cast<int>(std::max_element(score_.begin(), score_.end()) - score_.begin()); }

  void Add(int first_bin, const std::vector<float>& bins) {
    MoveTo(first_bin);
    const auto top = static_cast<int>(std::max_element(score_.begin(), score_.end()) - score_.begin());
    std::vector<float> next(kNumBins);
    std::vector<std::int32_t> from(kNumBins);
    for (int i = 0; i < kNumBins; ++i) {
      float best = score_[static_cast<std::size_t>(i)];
      int origin = i;
      const auto consider = [&](int candidate, float cost) {
        if (candidate < 0 || candidate >= kNumBins) return;
        const float value = score_[static_cast<std::size_t>(candidate)] - cost;
        if (value > best) best = value, origin = candidate;
      };
      consider(i - 1, kStepCost);
      consider(i + 1, kStepCost);
      consider(top, kJumpCost);
      next[static_cast<std::size_t>(i)] = best + Evidence(bins[static_cast<std::size_t>(i)]);
      from[static_cast<std::size_t>(i)] = first_bin_ + origin;
    }
    score_ = std::move(next);
    from_.push_back({.first_bin = first_bin_, .origins = std::move(from)});
  }

  // [block]: bin.
  std::vector<int> Path() const {
    std::vector<int> path(from_.size());
    int bin = Best();
    for (std::size_t b = from_.size(); b-- > 0;) {
      path[b] = bin;
      bin = from_[b].origins[static_cast<std::size_t>(std::clamp(bin - from_[b].first_bin, 0, kNumBins - 1))];
    }
    return path;
  }

 private:
  // The bins that are looked at move; to those that come in anew the way is a jump.
  void MoveTo(int first_bin) {
    const int by = first_bin - first_bin_;
    first_bin_ = first_bin;
    if (by == 0) return;
    std::vector<float> moved(kNumBins, -1e9F);
    for (int i = std::max(0, -by); i < std::min(kNumBins, kNumBins - by); ++i)
      moved[static_cast<std::size_t>(i)] = score_[static_cast<std::size_t>(i + by)];
    score_ = std::move(moved);
  }

  // It begins on the line that the span goes on with, or jumps.
  static std::vector<float> Begin() {
    std::vector<float> score(kNumBins, -kJumpCost);
    std::fill_n(score.begin() + kNumBins / 2 - 1, 2, 0.0F);
    return score;
  }

  int first_bin_ = -kNumBins / 2;
  std::vector<float> score_ = Begin();
  struct Origins {
    int first_bin = 0;
    std::vector<std::int32_t> origins;  // [bin - first_bin]: bin of the block before
  };
  std::vector<Origins> from_;
};

// A straight stretch of the path: blocks [first, end).
struct Stretch {
  std::size_t first = 0;
  std::size_t end = 0;
  int bin = 0;
  int num_seen = 0;  // blocks whose own peak lies on the path
  std::size_t first_seen = 0;
  std::size_t last_seen = 0;
};

std::vector<Stretch> CutPath(const std::vector<int>& path, const FollowedBlocks& blocks) {
  std::vector<Stretch> stretches;
  int unseen = 0;  // blocks with sound since the last one that was seen
  for (std::size_t b = 0; b < path.size(); ++b) {
    const bool jumped = b == 0 || std::abs(path[b] - path[b - 1]) > 1;
    const bool seen = blocks.AtBin(b, path[b]) >= kSupportStrength;
    if (jumped) unseen = 0;
    // A path that is seen again only after long is two stretches: what lies between may be from elsewhere.
    if (jumped || (seen && unseen > kMaxUnseenBlocks)) stretches.push_back({.first = b, .end = b, .bin = path[b]});
    Stretch& stretch = stretches.back();
    unseen = seen ? 0 : unseen + (blocks.IsSilent(b) ? 0 : 1);
    if (unseen <= kMaxUnseenBlocks) stretch.end = b + 1;
    if (seen) {
      if (stretch.num_seen == 0) stretch.first_seen = b;
      stretch.last_seen = b;
      ++stretch.num_seen;
    }
  }
  std::erase_if(stretches, [](const Stretch& s) { return s.num_seen == 0; });
  return stretches;
}

// Moves and tilts a stretch's line by steps of about 10 us until the blocks' sum along it peaks.
class LineRefiner {
 public:
  LineRefiner(const FollowedBlocks& blocks, const std::vector<int>& path, const Stretch& stretch)
      : centre_((stretch.bin + 0.5) * kLagsPerBin),
        length_(static_cast<double>(stretch.end - stretch.first) * kBlockHopSamples / 2) {
    const auto middle = static_cast<double>(stretch.first + stretch.end - 1) / 2;
    for (std::size_t b = stretch.first; b < stretch.end; ++b) {
      if (blocks.IsSilent(b) || std::abs(path[b] - stretch.bin) > 2 * 8) continue;
      Row row{.distance = (static_cast<double>(b) - middle) * kBlockHopSamples / 2, .around = std::vector<float>(kPlaces)};
      for (int j = 0; j < kPlaces; ++j)
        row.around[static_cast<std::size_t>(j)] = blocks.AtLag(b, centre_ + static_cast<double>(j - kReach) / kPerLag);
      rows_.push_back(std::move(row));
    }
  }

  Line Best() const {
    // A slope can be told apart only where the stretch is long enough for it to move the peak by a fine step.
    const double slope_step = std::max(2e-6, 0.5 / kPerLag / std::max(1.0, length_));
    const int slopes = length_ * slope_step < 1e-3 ? 0 : static_cast<int>(6e-4 / slope_step);
    Line best;
    best.lag = centre_;
    best.strength = -1e9;
    for (int step = -slopes; step <= slopes; ++step) {
      const Line line = PeakAt(step * slope_step);
      if (line.strength > best.strength) best = line;
    }
    best.strength /= std::sqrt(std::max<double>(1, static_cast<double>(rows_.size())));
    return best;
  }

 private:
  static constexpr int kPerLag = 8;
  static constexpr int kReach = 2 * kLagsPerBin * kPerLag;  // ±2 ms around the middle of the path's bin
  static constexpr int kPlaces = 2 * kReach + 1;

  struct Row {
    double distance = 0;        // of the block from the stretch's middle, in lags of stream time
    std::vector<float> around;  // [place]
  };

  Line PeakAt(double slope) const {
    std::vector<float> sum(kPlaces);
    for (const Row& row : rows_) {
      const auto shift = static_cast<int>(std::lround(slope * row.distance * kPerLag));
      for (int j = std::max(0, -shift); j < std::min(kPlaces, kPlaces - shift); ++j)
        sum[static_cast<std::size_t>(j)] += row.around[static_cast<std::size_t>(j + shift)];
    }
    const auto peak = static_cast<int>(std::max_element(sum.begin() + 1, sum.end() - 1) - sum.begin());
    const auto at = [&](int j) { return static_cast<double>(sum[static_cast<std::size_t>(j)]); };
    const double bend = at(peak - 1) - 2 * at(peak) + at(peak + 1);
    const double offset = bend < 0 ? 0.5 * (at(peak - 1) - at(peak + 1)) / bend : 0.0;
    return {.lag = centre_ + (peak - kReach + std::clamp(offset, -1.0, 1.0)) / kPerLag, .slope = slope, .strength = at(peak)};
  }

  double centre_;  // lag of the path's bin
  double length_;  // of the stretch, in lags
  std::vector<Row> rows_;
};

// Narrows a stretch to the blocks that are seen on its very line, where chance hardly reaches; false if there are too few to believe in it. `goes_on`: it follows one that
// was believed, or the seed.
bool SeenOnLine(const FollowedBlocks& blocks, const Line& line, bool goes_on, Stretch& stretch) {
  const double middle = static_cast<double>(stretch.first + stretch.end - 1) / 2;
  stretch.num_seen = 0;
  for (std::size_t b = stretch.first; b < stretch.end; ++b) {
    const double lag = line.lag + line.slope * (static_cast<double>(b) - middle) * kBlockHopSamples / 2;
    if (blocks.AtLag(b, lag) < kSeenOnLine) continue;
    if (stretch.num_seen++ == 0) stretch.first_seen = b;
    stretch.last_seen = b;
  }
  // Where a path jumps after half a second and jumps again, two blocks are all there is.
  if (goes_on && stretch.end - stretch.first <= 2 && line.strength >= kShortPieceStrength) return stretch.num_seen > 0;
  return stretch.num_seen >= std::min(kMinSeenOnLine, static_cast<int>(blocks.size()) / 2);
}

// A source's sound, decoded as far as it is asked for.
class StreamWindow {
 public:
  explicit StreamWindow(const StreamAudioLoader& load) : load_(load) {}

  // Makes [start_s, end_s) available. Errors are the loader's.
  Result<void> Need(double start_s, double end_s) {
    if (!is_empty_ && start_s >= start_s_ && end_s <= end_s_) return {};
    // What is asked for next lies near by.
    const double from_s = is_empty_ ? start_s : std::min(start_s_, start_s - kAheadS);
    const double to_s = is_empty_ ? end_s : std::max(end_s_, end_s + kAheadS);
    auto loaded = load_(from_s, to_s);
    if (!loaded) return Pass(loaded);
    audio_ = std::move(*loaded);
    start_s_ = from_s;
    end_s_ = to_s;
    is_empty_ = false;
    return {};
  }
  const StreamAudio& audio() const { return audio_; }

 private:
  static constexpr double kAheadS = 4;
  const StreamAudioLoader& load_;
  StreamAudio audio_;
  bool is_empty_ = true;
  double start_s_ = 0;
  double end_s_ = 0;
};

// How much a hundredth of a second of the clip looks like the stream along a line: the correlation of what changes in it, -1 … 1.
double Likeness(std::span<const float> clip, const Alignment& line, const StreamAudio& stream, double clip_s) {
  constexpr int kStep = kDetectRateHz / 100;
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
  return xy / std::sqrt(xx * yy);
}

// … of every hundredth in [low_s, high_s), the right way round: a player may turn the sound's sign, but it does so everywhere.
std::vector<double> LikenessAlong(std::span<const float> clip, const Alignment& line, const StreamAudio& stream, double low_s,
                                  double high_s) {
  std::vector<double> likeness;
  double sum = 0;
  for (double at = low_s; at < high_s; at += 0.01) likeness.push_back(Likeness(clip, line, stream, at)), sum += likeness.back();
  if (sum < 0) {
    for (double& x : likeness) x = -x;
  }
  return likeness;
}

// Where between two pieces does the clip go over from one line to the other? Tried in steps of 10 ms: before the cut the clip should look like `a`'s stream, after it
// like `b`'s.
double FindCut(std::span<const float> clip, const Alignment& a, const StreamAudio& stream_a, const Alignment& b,
               const StreamAudio& stream_b, double low_s, double high_s) {
  const std::vector<double> like_a = LikenessAlong(clip, a, stream_a, low_s, high_s);
  const std::vector<double> like_b = LikenessAlong(clip, b, stream_b, low_s, high_s);
  double best = 0;
  double balance = 0;
  std::size_t best_cut = 0;
  for (std::size_t i = 0; i < like_a.size(); ++i) {
    balance += like_a[i] - like_b[i];
    if (balance > best) best = balance, best_cut = i + 1;
  }
  return low_s + 0.01 * static_cast<double>(best_cut);
}

// Where to look for the cut between two pieces that follow each other, each known to a quarter of a second.
std::pair<double, double> CutRange(const Alignment& before, const Alignment& after) {
  return {std::max(before.clip_start_s, std::min(before.clip_end_s, after.clip_start_s) - 0.5),
          std::min(after.clip_end_s, std::max(before.clip_end_s, after.clip_start_s) + 0.5)};
}

void StartAt(double clip_s, Alignment& piece) {
  piece.stream_start_s = piece.StreamTime(clip_s);
  piece.clip_start_s = clip_s;
}

// Where one of the two may be an echo, the other keeps all that it has.
bool CutEcho(Alignment& before, Alignment& after) {
  if (IsEchoNextTo(FirmnessOf(after), FirmnessOf(before))) {
    StartAt(std::clamp(before.clip_end_s, after.clip_start_s, after.clip_end_s), after);
    return true;
  }
  if (!IsEchoNextTo(FirmnessOf(before), FirmnessOf(after))) return false;
  before.clip_end_s = std::clamp(after.clip_start_s, before.clip_start_s, before.clip_end_s);
  return true;
}

// One span of Follow: [clip_start_s, clip_end_s) near a line.
class Span {
 public:
  enum class Direction { kForward, kBackward };
  // What is known of the line lies before the span, or behind it.
  Span(std::span<const float> clip, const Alignment& seed, double clip_start_s, double clip_end_s, Direction direction,
       const StreamAudioLoader& load)
      : clip_(clip),
        seed_(seed),
        clip_start_s_(clip_start_s),
        clip_end_s_(clip_end_s),
        direction_(direction),
        window_(load),
        correlator_(kFollowMargin),
        first_sample_(std::llround(seed.StreamTime(clip_start_s) * kDetectRateHz)) {}

  Result<std::vector<Alignment>> Pieces() {
    if (auto followed = Follow(); !followed) return Pass(followed);
    std::vector<int> path = finder_.Path();
    if (direction_ == Direction::kBackward) std::reverse(path.begin(), path.end());
    const std::vector<Stretch> stretches = CutPath(path, blocks_);
    int seen = 0;
    for (const Stretch& stretch : stretches) seen += stretch.num_seen;
    std::vector<Alignment> pieces;
    if (seen < 2) return pieces;
    for (Stretch stretch : stretches) {
      const Line line = LineRefiner(blocks_, path, stretch).Best();
      const bool goes_on = pieces.empty()
                               ? stretch.first == 0 || stretch.end == blocks_.size()
                               : ClipTime(static_cast<double>(stretch.first)) - pieces.back().clip_end_s < kLargestCutGapS;
      if (line.strength < kMinPieceStrength || !SeenOnLine(blocks_, line, goes_on, stretch)) continue;
      Alignment piece = PieceOf(stretch, line);
      if (!pieces.empty() && piece.clip_start_s - pieces.back().clip_end_s < kLargestCutGapS) {
        CutBetween(pieces.back(), piece);
      }
      pieces.push_back(piece);
    }
    std::erase_if(pieces, [](const Alignment& p) { return p.clip_end_s - p.clip_start_s < 0.04; });
    return pieces;
  }

 private:
  // Correlates block by block, each around where the path has come to.
  Result<void> Follow() {
    if (auto loaded = window_.Need(seed_.StreamTime(clip_start_s_) - 1, seed_.StreamTime(clip_end_s_) + 1); !loaded)
      return loaded;
    const std::vector<Phases> phases = PhasesAlong(clip_, clip_start_s_, clip_end_s_, seed_.speed, correlator_);
    int first_bin = -kNumBins / 2;
    for (std::size_t i = 0; i < phases.size(); ++i) {
      const std::size_t b = direction_ == Direction::kForward ? i : phases.size() - 1 - i;
      if (i > 0 && std::abs(finder_.Best() - (first_bin + kNumBins / 2)) > kMaxOffMiddle)
        first_bin = finder_.Best() - kNumBins / 2;
      const std::int64_t at = first_sample_ + static_cast<std::int64_t>(b) * kBlockHopSamples +
                              2 * kLagsPerBin * static_cast<std::int64_t>(first_bin);
      const auto size = static_cast<std::size_t>(kBlockSamples + 2 * correlator_.margin());
      if (auto loaded = window_.Need(static_cast<double>(at) / kDetectRateHz,
                                     static_cast<double>(at + static_cast<std::int64_t>(size)) / kDetectRateHz);
          !loaded)
        return loaded;
      blocks_.Add(first_bin, phases[b].empty()
                                 ? Correlation()
                                 : correlator_.Correlate(phases[b], Slice(window_.audio(), at, size), seed_.polarity));
      finder_.Add(first_bin, blocks_.bins(i));
    }
    if (direction_ == Direction::kBackward) blocks_.Reverse();
    return {};
  }

  void CutBetween(Alignment& before, Alignment& after) const {
    if (CutEcho(before, after)) return;
    const auto [low_s, high_s] = CutRange(before, after);
    before.clip_end_s = FindCut(clip_, before, window_.audio(), after, window_.audio(), low_s, high_s);
    StartAt(before.clip_end_s, after);
  }
  bool IsClipEnd() const { return clip_end_s_ * kDetectRateHz > static_cast<double>(clip_.size()) - kBlockHopSamples; }
  double ClipTime(double block) const { return clip_start_s_ + block * kBlockHopSamples / kDetectRateHz / seed_.speed; }

  Alignment PieceOf(const Stretch& stretch, const Line& line) const {
    const double middle = static_cast<double>(stretch.first + stretch.end - 1) / 2;
    // The line in (clip, stream) time: at `middle` blocks the stream is at lag `line.lag`.
    const double at_stream_s =
        static_cast<double>(first_sample_) / kDetectRateHz + middle * kBlockHopSamples / kDetectRateHz + line.lag / kLagRateHz;
    Alignment piece;
    piece.speed = seed_.speed * (1 + line.slope);
    piece.strength = line.strength;
    piece.polarity = seed_.polarity;
    // Ends reach to the first and last block that was seen, or to the clip's own where those are near; cuts between neighbours are found afterwards.
    const std::size_t near_start = clip_start_s_ > 0 ? 0 : kNearBlocks;
    const std::size_t near_end = IsClipEnd() ? kNearBlocks : 0;
    piece.clip_start_s = stretch.first_seen <= near_start ? clip_start_s_ : ClipTime(static_cast<double>(stretch.first_seen));
    piece.clip_end_s = stretch.last_seen + near_end + 1 >= blocks_.size()
                           ? clip_end_s_
                           : std::min(clip_end_s_, ClipTime(static_cast<double>(stretch.last_seen) + 2));
    piece.stream_start_s = at_stream_s + (piece.clip_start_s - ClipTime(middle)) * piece.speed;
    return piece;
  }

  std::span<const float> clip_;
  const Alignment& seed_;
  double clip_start_s_;
  double clip_end_s_;
  Direction direction_;
  StreamWindow window_;
  BlockCorrelator correlator_;
  std::int64_t first_sample_;  // of the stream, where the line puts the first block
  FollowedBlocks blocks_;
  PathFinder finder_;
};

}  // namespace

double FirmnessOf(const Alignment& alignment) {
  return alignment.strength / std::sqrt(std::max(0.5, alignment.clip_end_s - alignment.clip_start_s));
}
bool IsEchoNextTo(double firmness, double other_firmness) { return firmness < 0.25 * other_firmness; }

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
          .sharpness = line.sharpness,
          .polarity = line.polarity};
}

std::optional<Alignment> Aligner::Stretch::StrongestRun(double stream_start_s, const StreamAudio& stream) {
  constexpr double kAlone = 16;  // of two blocks, without a limit to what one adds
  const Blocks blocks = CorrelateBlocks(PhasesAt(0), stream_start_s, 1, stream, *correlator_);
  std::optional<Alignment> best;
  for (const std::size_t length : {3U, 2U}) {
    for (std::size_t first = 0; first + length <= blocks.blocks.size(); ++first) {
      const auto from = blocks.blocks.begin() + static_cast<std::ptrdiff_t>(first);
      const Blocks run{.speed = 1,
                       .stream_start_s = 0,
                       .num_lags = blocks.num_lags,
                       .blocks = {from, from + static_cast<std::ptrdiff_t>(length)}};
      if (std::any_of(run.blocks.begin(), run.blocks.end(), [](const Correlation& block) { return block.empty(); })) continue;
      const Line line = StrongestLine(run, 0);
      if (length == 3 ? line.strength < kAcceptStrength : line.sharpness < kAlone) continue;
      if (best && best->sharpness >= line.sharpness) continue;
      const double behind_s = static_cast<double>(first) * kBlockHopSamples / kDetectRateHz;
      const double seconds = static_cast<double>((length + 1) * kBlockHopSamples) / kDetectRateHz;
      best = Alignment{.clip_start_s = start_s_ + behind_s,
                       .clip_end_s = start_s_ + behind_s + seconds,
                       .stream_start_s = blocks.stream_start_s + behind_s + LagSeconds(blocks, line.lag),
                       .strength = line.strength,
                       .sharpness = line.sharpness,
                       .polarity = line.polarity};
    }
    if (best) break;
  }
  return best;
}

Result<std::optional<Alignment>> Aligner::Verify(Stretch& stretch, double stream_start_s, bool all_speeds,
                                                 const StreamAudioLoader& load) {
  constexpr double kMarginS = 2.0 * kVerifyMargin / kDetectRateHz;
  auto stream =
      load(stream_start_s - kMarginS, stream_start_s + (stretch.end_s() - stretch.start_s()) * (1 + kMaxSpeedChange) + kMarginS);
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
  if (best.strength < kAcceptStrength)
    return all_speeds ? stretch.StrongestRun(stream_start_s, *stream) : std::optional<Alignment>();
  // A line at a speed near by is accepted as well, on a part of what the right one shows: climb to that.
  for (const int direction : {1, -1}) {
    for (int step = static_cast<int>(std::lround((best.speed - 1) / kSpeedStep)) + direction; std::abs(step) <= max_step;
         step += direction) {
      const Alignment next = stretch.StrongestAt(step, stream_start_s, *stream);
      if (next.sharpness < kClearlySharper * best.sharpness) break;
      best = next;
    }
  }
  return std::optional<Alignment>(best);
}

namespace {

// Spans end anywhere, and a block that none of them holds whole is seen by neither: what goes on along the same line reaches from one to the other.
void CloseSeams(std::vector<Alignment>& pieces) {
  constexpr double kSameS = 0.002;
  for (std::size_t i = 1; i < pieces.size(); ++i) {
    Alignment& before = pieces[i - 1];
    const Alignment& after = pieces[i];
    const double gap_s = after.clip_start_s - before.clip_end_s;
    if (gap_s > 0 && gap_s < kLargestCutGapS && std::abs(before.StreamTime(after.clip_start_s) - after.stream_start_s) < kSameS)
      before.clip_end_s = after.clip_start_s;
  }
}

}  // namespace

Result<std::vector<Alignment>> Aligner::Follow(const Alignment& seed, double clip_start_s, double clip_end_s,
                                               const StreamAudioLoader& load) const {
  std::vector<Alignment> forward;
  Alignment line = seed;
  for (double at = seed.clip_start_s; at < clip_end_s - 0.5;) {
    const double end = clip_end_s - at < 1.3 * kSpanS ? clip_end_s : at + kSpanS;
    auto pieces = Span(clip_, line, at, end, Span::Direction::kForward, load).Pieces();
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
    auto pieces = Span(clip_, line, at, end, Span::Direction::kBackward, load).Pieces();
    if (!pieces) return Pass(pieces);
    if (pieces->empty()) break;
    all.insert(all.begin(), pieces->begin(), pieces->end());
    line = pieces->front();
    end = at;
  }
  all.insert(all.end(), forward.begin(), forward.end());
  CloseSeams(all);
  return all;
}

Result<void> Aligner::Cut(Alignment& before, const StreamAudioLoader& load_before, Alignment& after,
                          const StreamAudioLoader& load_after) const {
  if (CutEcho(before, after)) return {};
  const auto [low_s, high_s] = CutRange(before, after);
  if (low_s >= high_s) return {};
  constexpr double kMarginS = 0.1;
  auto stream_before = load_before(before.StreamTime(low_s) - kMarginS, before.StreamTime(high_s) + kMarginS);
  if (!stream_before) return Pass(stream_before);
  auto stream_after = load_after(after.StreamTime(low_s) - kMarginS, after.StreamTime(high_s) + kMarginS);
  if (!stream_after) return Pass(stream_after);
  before.clip_end_s = FindCut(clip_, before, *stream_before, after, *stream_after, low_s, high_s);
  StartAt(before.clip_end_s, after);
  return {};
}

}  // namespace earmark
