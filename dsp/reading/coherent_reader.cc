#include "dsp/reading/coherent_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace earmark {
namespace {

constexpr int kMaxTaps = 8;
constexpr int kBlockFrames = 250;         // over which the channel is taken as constant
constexpr int kNumPasses = 3;
constexpr int kNoiseHalfFrames = 4;       // W is the mean over 9 frames …
constexpr int kNoiseHalfBins = 2;         // … and 5 bins
constexpr float kLeastNoise = 3e-4F;      // of the predicted power: the model is never trusted beyond -35 dB
constexpr float kLeakage = 1e-6F;         // of a frame's power: -60 dB
constexpr int kHalfOverGain = 2;          // the gain is the mean over 5 frames, …
constexpr int kHalfOverMarkedGain = 25;   // … but over half a second where the mark is such a gain
constexpr float kSharedGain = 0.25F;      // which it is from this share on
constexpr float kOverlap = 0.5F;          // neighbouring frames share half their samples
constexpr float kTemperature = 0.6F;      // noise is not quite Gaussian, nor independent between bins

// What is left of the deviations, after a codec that smooths them away or snaps to its own lattice, is estimated for these regions of bins.
constexpr int kNumRegions = 4;
constexpr std::array<int, kNumRegions - 1> kRegionEnds = {16, 36, 76};  // bins: 1, 2 and 4 kHz

constexpr int RegionOf(int bin) { return bin < kRegionEnds[0] ? 0 : bin < kRegionEnds[1] ? 1 : bin < kRegionEnds[2] ? 2 : 3; }

using Complex = std::complex<float>;

inline Complex Mul(Complex a, Complex b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}
inline Complex MulConj(Complex a, Complex b) {  // a · conj(b)
  return {a.real() * b.real() + a.imag() * b.imag(), a.imag() * b.real() - a.real() * b.imag()};
}

using Taps = std::array<Complex, kMaxTaps>;

// Solves the Hermitian positive definite system A h = b of size n in place, by Cholesky.
Taps SolveHermitian(std::array<std::array<std::complex<double>, kMaxTaps>, kMaxTaps>& a, std::array<std::complex<double>, kMaxTaps>& b, int n) {
  for (int j = 0; j < n; ++j) {
    double diagonal = a[j][j].real();
    for (int k = 0; k < j; ++k) diagonal -= std::norm(a[j][k]);
    diagonal = std::sqrt(std::max(diagonal, 1e-300));
    a[j][j] = diagonal;
    for (int i = j + 1; i < n; ++i) {
      std::complex<double> sum = a[i][j];
      for (int k = 0; k < j; ++k) sum -= a[i][k] * std::conj(a[j][k]);
      a[i][j] = sum / diagonal;
    }
  }
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < i; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i].real();
  }
  Taps h{};
  for (int i = n - 1; i >= 0; --i) {
    for (int k = i + 1; k < n; ++k) b[i] -= std::conj(a[k][i]) * b[k];
    b[i] /= a[i][i].real();
    h[static_cast<std::size_t>(i)] = Complex(static_cast<float>(b[i].real()), static_cast<float>(b[i].imag()));
  }
  return h;
}

// One reading: the state shared by the passes. Arrays are [bin][frame], flat.
class Reading {
 public:
  Reading(const ReadingSpectra& spectra, int num_taps)
      : x_(spectra),
        num_taps_(num_taps),
        n_(spectra.num_frames()),
        prediction_(Cells()),
        residual_power_(Cells()),
        weight_(Cells(), 1.0F),
        gain_(static_cast<std::size_t>(n_), 1.0F),
        posterior_(static_cast<std::size_t>(spectra.num_symbols())) {
    const int blocks = std::max(1, (n_ + kBlockFrames / 2) / kBlockFrames);
    for (int b = 0; b <= blocks; ++b) edges_.push_back(static_cast<int>(static_cast<std::int64_t>(n_) * b / blocks));
    taps_.assign(static_cast<std::size_t>(blocks) * kReadBins, Taps{});
    for (auto& p : posterior_) p.fill(1.0F / static_cast<float>(x_.num_variants()));
    survival_.fill(1.0F);
  }

  LogLikelihoodTable Run() {
    FindLeakage();
    InitialWeights();
    LogLikelihoodTable table;
    for (int pass = 0; pass < kNumPasses; ++pass) {
      FitChannel();
      Predict();
      FitGain();
      EstimateNoise();
      const std::vector<Match> matches = MatchDeviations();
      EstimateSurvival(matches);
      table = Likelihoods(matches);
      UpdatePosterior(table);
    }
    return table;
  }

 private:
  std::size_t Cells() const { return static_cast<std::size_t>(n_) * kReadBins; }
  std::size_t At(int bin) const { return static_cast<std::size_t>(bin) * static_cast<std::size_t>(n_); }

  // What a frame's loud bins leak into all others, through the window's side lobes and the resampler's stop band, is no channel's doing. A clip that has
  // passed a telephone shows nothing else above 4 kHz, and reading that as sound once drowned what was really there.
  void FindLeakage() {
    std::vector<double> power(static_cast<std::size_t>(n_), 0.0);
    for (int bin = 0; bin < kReadBins; ++bin) {
      const auto s = x_.clip.Bin(bin);
      for (std::size_t t = 0; t < power.size(); ++t) power[t] += std::norm(s[t]);
    }
    leakage_.assign(power.size(), 0.0F);
    for (int t = 0; t < n_; ++t) {
      double most = 0;
      for (int u = std::max(0, t - kNoiseHalfFrames); u <= std::min(n_ - 1, t + kNoiseHalfFrames); ++u) most = std::max(most, power[static_cast<std::size_t>(u)]);
      leakage_[static_cast<std::size_t>(t)] = kLeakage * static_cast<float>(most);
    }
  }

  // Before anything is known the noise is taken to be a share of the clip's own local power, floored for the bin.
  void InitialWeights() {
    for (int bin = 0; bin < kReadBins; ++bin) {
      const auto s = x_.clip.Bin(bin);
      float mean = 0;
      for (const auto& v : s) mean += std::norm(v);
      mean /= static_cast<float>(std::max(1, n_));
      for (int t = 0; t < n_; ++t) {
        weight_[At(bin) + static_cast<std::size_t>(t)] =
            x_.present[static_cast<std::size_t>(t)] != 0 ? 1 / (std::norm(s[static_cast<std::size_t>(t)]) + 0.1F * mean + 1e-12F) : 0.0F;
      }
    }
  }

  void FitChannel() {
    std::vector<Complex> m(static_cast<std::size_t>(n_));
    for (int bin = 0; bin < kReadBins; ++bin) {
      const auto s = x_.clip.Bin(bin);
      const auto mean = x_.mean.Bin(bin);
      // The sent deviation is part of the source as far as it is known by now.
      for (int t = 0; t < n_; ++t) m[static_cast<std::size_t>(t)] = mean[static_cast<std::size_t>(t)] + PosteriorDeviation(bin, t);
      for (std::size_t block = 0; block + 1 < edges_.size(); ++block) taps_[block * kReadBins + static_cast<std::size_t>(bin)] = Fit(s, m, bin, block);
    }
  }

  // What is known by now of the deviation that was sent in a phase.
  Complex ExpectedOfPhase(int phase, int bin, int t) const {
    const int symbol = x_.SymbolInPhase(t, phase);
    if (symbol < 0) return {0, 0};
    const auto& p = posterior_[static_cast<std::size_t>(symbol)];
    Complex sum(0, 0);
    for (int k = 0; k < x_.num_variants(); ++k) sum += p[static_cast<std::size_t>(k)] * x_.Deviation(phase, k).Bin(bin)[static_cast<std::size_t>(t)];
    return sum;
  }

  // … and in all of them, as far as it got through.
  Complex PosteriorDeviation(int bin, int t) const {
    if (!has_posterior_) return {0, 0};
    Complex sum(0, 0);
    for (int phase = 0; phase < x_.num_phases; ++phase) sum += ExpectedOfPhase(phase, bin, t);
    return sum * survival_[static_cast<std::size_t>(RegionOf(bin))];
  }

  Taps Fit(std::span<const Complex> s, const std::vector<Complex>& m, int bin, std::size_t block) const {
    std::array<std::array<std::complex<double>, kMaxTaps>, kMaxTaps> gram{};
    std::array<std::complex<double>, kMaxTaps> cross{};
    const float* w = weight_.data() + At(bin);
    for (int t = std::max(edges_[block], num_taps_ - 1); t < edges_[block + 1]; ++t) {
      const auto i = static_cast<std::size_t>(t);
      const float g = gain_[i];
      const float weight = w[i];
      if (weight == 0) continue;
      for (int a = 0; a < num_taps_; ++a) {
        const Complex ma = m[i - static_cast<std::size_t>(a)];
        cross[static_cast<std::size_t>(a)] += std::complex<double>(weight * g * MulConj(s[i], ma));
        for (int b = 0; b <= a; ++b) {
          gram[static_cast<std::size_t>(a)][static_cast<std::size_t>(b)] +=
              std::complex<double>(weight * g * g * MulConj(m[i - static_cast<std::size_t>(b)], ma));
        }
      }
    }
    double trace = 0;
    for (int a = 0; a < num_taps_; ++a) trace += gram[static_cast<std::size_t>(a)][static_cast<std::size_t>(a)].real();
    if (!(trace > 0)) return Taps{};
    for (int a = 0; a < num_taps_; ++a) gram[static_cast<std::size_t>(a)][static_cast<std::size_t>(a)] += 1e-4 * trace / num_taps_ + 1e-30;
    return SolveHermitian(gram, cross, num_taps_);
  }

  Complex Filter(std::span<const Complex> series, const Taps& h, int t) const {
    Complex sum(0, 0);
    for (int l = 0; l < num_taps_ && l <= t; ++l) sum += Mul(h[static_cast<std::size_t>(l)], series[static_cast<std::size_t>(t - l)]);
    return sum;
  }

  void Predict() {
    for (int bin = 0; bin < kReadBins; ++bin) {
      const auto mean = x_.mean.Bin(bin);
      for (std::size_t block = 0; block + 1 < edges_.size(); ++block) {
        const Taps& h = taps_[block * kReadBins + static_cast<std::size_t>(bin)];
        for (int t = edges_[block]; t < edges_[block + 1]; ++t) prediction_[At(bin) + static_cast<std::size_t>(t)] = Filter(mean, h, t);
      }
    }
  }

  // The common gain of each frame, over 5 frames, shrunk towards 1 where the evidence is thin.
  void FitGain() {
    std::vector<float> cross(static_cast<std::size_t>(n_), 0.0F);
    std::vector<float> power(static_cast<std::size_t>(n_), 0.0F);
    for (int bin = 0; bin < kReadBins; ++bin) {
      const auto s = x_.clip.Bin(bin);
      for (int t = 0; t < n_; ++t) {
        const auto i = static_cast<std::size_t>(t);
        const Complex p = prediction_[At(bin) + i];
        cross[i] += weight_[At(bin) + i] * MulConj(s[i], p).real();
        power[i] += weight_[At(bin) + i] * std::norm(p);
      }
    }
    const std::vector<float> shared = SharedGains();
    for (int t = 0; t < n_; ++t) {
      float c = 1;  // as if one cell of unit evidence said 1
      float p = 1;
      const int half = shared[static_cast<std::size_t>(t)] > kSharedGain ? kHalfOverMarkedGain : kHalfOverGain;
      for (int u = std::max(0, t - half); u <= std::min(n_ - 1, t + half); ++u) {
        c += cross[static_cast<std::size_t>(u)];
        p += power[static_cast<std::size_t>(u)];
      }
      gain_[static_cast<std::size_t>(t)] = std::clamp(c / p, 0.05F, 20.0F);
    }
  }

  // How far the deviations of a frame are one gain for all bins, 0 … 1: then the gain is the mark, and must not be taken out with the channel's.
  std::vector<float> SharedGains() const {
    std::vector<float> shared(static_cast<std::size_t>(n_), 0.0F);
    if (x_.num_phases == 1) return shared;
    for (const Spectrogram& deviation : x_.deviations) {
      std::vector<float> cross(shared.size(), 0.0F);
      std::vector<float> power(shared.size(), 1e-30F);
      std::vector<float> host(shared.size(), 1e-30F);
      for (int bin = 0; bin < kReadBins; ++bin) {
        const auto d = deviation.Bin(bin);
        const auto m = x_.mean.Bin(bin);
        for (std::size_t t = 0; t < shared.size(); ++t) {
          const float w = 1 / (std::norm(m[t]) + 1e-12F);
          cross[t] += w * MulConj(d[t], m[t]).real();
          power[t] += w * std::norm(d[t]);
          host[t] += w * std::norm(m[t]);
        }
      }
      for (std::size_t t = 0; t < shared.size(); ++t) shared[t] = std::max(shared[t], cross[t] * cross[t] / (power[t] * host[t]));
    }
    return shared;
  }

  // Residual without the posterior-mean deviation, its local power, and from it the weights.
  void EstimateNoise() {
    for (int bin = 0; bin < kReadBins; ++bin) {
      const auto s = x_.clip.Bin(bin);
      for (std::size_t block = 0; block + 1 < edges_.size(); ++block) {
        const Taps& h = taps_[block * kReadBins + static_cast<std::size_t>(bin)];
        for (int t = edges_[block]; t < edges_[block + 1]; ++t) {
          const auto i = static_cast<std::size_t>(t);
          Complex r = s[i] - gain_[i] * prediction_[At(bin) + i];
          if (has_posterior_) {
            Complex expected(0, 0);
            for (int l = 0; l < num_taps_ && l <= t; ++l) expected += Mul(h[static_cast<std::size_t>(l)], PosteriorDeviation(bin, t - l));
            r -= gain_[i] * expected;
          }
          residual_power_[At(bin) + i] = x_.present[i] != 0 ? std::norm(r) : 0.0F;
        }
      }
    }
    SmoothResidual();
  }

  void SmoothResidual() {
    // Mean over time by a running sum, then over bins; frames that are not present do not count.
    std::vector<float> over_time(Cells());
    std::vector<float> count(static_cast<std::size_t>(n_), 0.0F);
    for (int t = 0; t < n_; ++t) {
      for (int u = std::max(0, t - kNoiseHalfFrames); u <= std::min(n_ - 1, t + kNoiseHalfFrames); ++u) count[static_cast<std::size_t>(t)] += x_.present[static_cast<std::size_t>(u)];
    }
    for (int bin = 0; bin < kReadBins; ++bin) {
      const float* in = residual_power_.data() + At(bin);
      double sum = 0;
      for (int t = -kNoiseHalfFrames; t < n_; ++t) {
        if (t + kNoiseHalfFrames < n_) sum += in[t + kNoiseHalfFrames];
        if (t - kNoiseHalfFrames - 1 >= 0) sum -= in[t - kNoiseHalfFrames - 1];
        if (t >= 0) over_time[At(bin) + static_cast<std::size_t>(t)] = static_cast<float>(std::max(0.0, sum)) / std::max(1.0F, count[static_cast<std::size_t>(t)]);
      }
    }
    for (int bin = 0; bin < kReadBins; ++bin) {
      const int low = std::max(0, bin - kNoiseHalfBins);
      const int high = std::min(kReadBins - 1, bin + kNoiseHalfBins);
      const float scale = 1.0F / static_cast<float>(high - low + 1);
      for (int t = 0; t < n_; ++t) {
        const auto i = static_cast<std::size_t>(t);
        float sum = 0;
        for (int b = low; b <= high; ++b) sum += over_time[At(b) + i];
        const float floor = kLeastNoise * gain_[i] * gain_[i] * std::norm(prediction_[At(bin) + i]);
        weight_[At(bin) + i] = x_.present[i] != 0 ? 1 / (sum * scale + floor + leakage_[i] + 1e-10F) : 0.0F;
      }
    }
  }

  // How one symbol's residual matches each variant's deviation p_k as received: Σ 2 Re(r · conj p_k) / W and Σ |p_k|² / W, by region.
  struct Match {
    std::array<std::array<float, kNumRegions>, kMaxVariants> cross{};
    std::array<std::array<float, kNumRegions>, kMaxVariants> power{};

    float LogLikelihood(std::size_t k, const std::array<float, kNumRegions>& survival) const {
      float sum = 0;
      for (std::size_t r = 0; r < kNumRegions; ++r) sum += survival[r] * (cross[k][r] - survival[r] * power[k][r]);
      return kOverlap * kTemperature * sum;
    }
  };

  std::vector<Match> MatchDeviations() const {
    std::vector<Match> matches(posterior_.size());
    std::vector<Complex> others(static_cast<std::size_t>(n_));
    for (int bin = 0; bin < kReadBins; ++bin) {
      for (int phase = 0; phase < x_.num_phases; ++phase) {
        for (int t = 0; t < n_; ++t) others[static_cast<std::size_t>(t)] = OthersThan(phase, bin, t);
        MatchPhase(bin, phase, others, matches);
      }
    }
    return matches;
  }

  // What symbols of other phases are expected to have added to a frame.
  Complex OthersThan(int phase, int bin, int t) const {
    if (!has_posterior_ || x_.num_phases == 1) return {0, 0};
    Complex sum(0, 0);
    for (int other = 0; other < x_.num_phases; ++other) {
      if (other != phase) sum += ExpectedOfPhase(other, bin, t);
    }
    return sum * survival_[static_cast<std::size_t>(RegionOf(bin))];
  }

  void MatchPhase(int bin, int phase, std::span<const Complex> others, std::vector<Match>& matches) const {
    const auto s = x_.clip.Bin(bin);
    const auto region = static_cast<std::size_t>(RegionOf(bin));
    for (std::size_t block = 0; block + 1 < edges_.size(); ++block) {
      const Taps& h = taps_[block * kReadBins + static_cast<std::size_t>(bin)];
      for (int t = edges_[block]; t < edges_[block + 1]; ++t) {
        const auto i = static_cast<std::size_t>(t);
        const int symbol = x_.SymbolInPhase(t, phase);
        if (symbol < 0 || weight_[At(bin) + i] == 0) continue;
        Match& match = matches[static_cast<std::size_t>(symbol)];
        const Complex r = s[i] - gain_[i] * (prediction_[At(bin) + i] + Filter(others, h, t));
        for (std::size_t k = 0; k < static_cast<std::size_t>(x_.num_variants()); ++k) {
          const Complex p = gain_[i] * Filter(x_.Deviation(phase, static_cast<int>(k)).Bin(bin), h, t);
          match.cross[k][region] += 2 * MulConj(r, p).real() * weight_[At(bin) + i];
          match.power[k][region] += std::norm(p) * weight_[At(bin) + i];
        }
      }
    }
  }

  // The share of the deviations that got through, region by region: what makes the clip likeliest when every variant is as likely as the others.
  void EstimateSurvival(const std::vector<Match>& matches) {
    const auto q = static_cast<std::size_t>(x_.num_variants());
    const auto evidence = [&](const std::array<float, kNumRegions>& survival) {
      double sum = 0;
      for (const Match& match : matches) {
        std::array<float, kMaxVariants> l{};
        float top = -std::numeric_limits<float>::infinity();
        for (std::size_t k = 0; k < q; ++k) top = std::max(top, l[k] = match.LogLikelihood(k, survival));
        float mean = 0;
        for (std::size_t k = 0; k < q; ++k) mean += std::exp(l[k] - top) / static_cast<float>(q);
        sum += top + std::log(mean);
      }
      return sum;
    };
    constexpr std::array<float, 10> kShares = {1.0F, 0.84F, 0.7F, 0.58F, 0.47F, 0.36F, 0.26F, 0.17F, 0.09F, 0.03F};
    double best = -std::numeric_limits<double>::infinity();
    for (const float share : kShares) {
      std::array<float, kNumRegions> all{};
      all.fill(share);
      if (const double value = evidence(all); value > best) best = value, survival_ = all;
    }
    for (int round = 0; round < 2; ++round) {
      for (std::size_t region = 0; region < kNumRegions; ++region) {
        for (const float share : kShares) {
          auto trial = survival_;
          trial[region] = share;
          if (const double value = evidence(trial); value > best) best = value, survival_ = trial;
        }
      }
    }
  }

  LogLikelihoodTable Likelihoods(const std::vector<Match>& matches) const {
    LogLikelihoodTable table(posterior_.size());
    for (std::size_t s = 0; s < table.size(); ++s) {
      table[s].fill(0);
      for (std::size_t k = 0; k < static_cast<std::size_t>(x_.num_variants()); ++k) table[s][k] = matches[s].LogLikelihood(k, survival_);
    }
    return table;
  }

  void UpdatePosterior(const LogLikelihoodTable& table) {
    const auto q = static_cast<std::size_t>(x_.num_variants());
    for (std::size_t s = 0; s < table.size(); ++s) {
      const float top = *std::max_element(table[s].begin(), table[s].begin() + static_cast<std::ptrdiff_t>(q));
      float sum = 0;
      for (std::size_t k = 0; k < q; ++k) sum += posterior_[s][k] = std::exp(table[s][k] - top);
      for (std::size_t k = 0; k < q; ++k) posterior_[s][k] /= sum;
    }
    has_posterior_ = true;
  }

  const ReadingSpectra& x_;
  int num_taps_;
  int n_;
  std::vector<int> edges_;           // of the blocks
  std::vector<Taps> taps_;           // [block][bin]
  std::vector<Complex> prediction_;  // of the mean through the channel, without gain
  std::vector<float> residual_power_;
  std::vector<float> weight_;        // 1 / W
  std::vector<float> leakage_;       // [frame]: power
  std::vector<float> gain_;
  std::vector<std::array<float, kMaxVariants>> posterior_;
  std::array<float, kNumRegions> survival_{};  // of the deviations, as amplitude; 1: as sent
  bool has_posterior_ = false;
};

}  // namespace

LogLikelihoodTable ReadCoherent(const ReadingSpectra& spectra, const CoherentOptions& options) {
  if (spectra.num_frames() < options.num_taps) return LogLikelihoodTable(static_cast<std::size_t>(spectra.num_symbols()));
  return Reading(spectra, std::clamp(options.num_taps, 1, kMaxTaps)).Run();
}

}  // namespace earmark
