#include "dsp/reading/coherent_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace earmark {
namespace {

constexpr int kMaxTaps = 8;
constexpr int kBlockFrames = 250;         // over which the channel is taken as constant
constexpr int kNumPasses = 3;
constexpr int kNoiseHalfFrames = 4;       // W is the mean over 9 frames …
constexpr int kNoiseHalfBins = 2;         // … and 5 bins
constexpr float kLeastNoise = 3e-4F;      // of the predicted power: the model is never trusted beyond -35 dB
constexpr float kOverlap = 0.5F;          // neighbouring frames share half their samples
constexpr float kTemperature = 0.6F;      // noise is not quite Gaussian, nor independent between bins

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
  }

  LogLikelihoodTable Run() {
    InitialWeights();
    LogLikelihoodTable table;
    for (int pass = 0; pass < kNumPasses; ++pass) {
      FitChannel();
      Predict();
      FitGain();
      EstimateNoise();
      table = Likelihoods();
      UpdatePosterior(table);
    }
    return table;
  }

 private:
  std::size_t Cells() const { return static_cast<std::size_t>(n_) * kReadBins; }
  std::size_t At(int bin) const { return static_cast<std::size_t>(bin) * static_cast<std::size_t>(n_); }

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

  Complex PosteriorDeviation(int bin, int t) const {
    if (!has_posterior_) return {0, 0};
    const auto& p = posterior_[static_cast<std::size_t>(x_.SymbolOf(t))];
    Complex sum(0, 0);
    for (int k = 0; k < x_.num_variants(); ++k) {
      sum += p[static_cast<std::size_t>(k)] * x_.deviations[static_cast<std::size_t>(k)].Bin(bin)[static_cast<std::size_t>(t)];
    }
    return sum;
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
    constexpr int kHalf = 2;
    for (int t = 0; t < n_; ++t) {
      float c = 1;  // as if one cell of unit evidence said 1
      float p = 1;
      for (int u = std::max(0, t - kHalf); u <= std::min(n_ - 1, t + kHalf); ++u) {
        c += cross[static_cast<std::size_t>(u)];
        p += power[static_cast<std::size_t>(u)];
      }
      gain_[static_cast<std::size_t>(t)] = std::clamp(c / p, 0.05F, 20.0F);
    }
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
        weight_[At(bin) + i] = x_.present[i] != 0 ? 1 / (sum * scale + floor + 1e-10F) : 0.0F;
      }
    }
  }

  LogLikelihoodTable Likelihoods() const {
    const int q = x_.num_variants();
    LogLikelihoodTable table(posterior_.size());
    for (auto& row : table) row.fill(0);
    for (int bin = 0; bin < kReadBins; ++bin) {
      const auto s = x_.clip.Bin(bin);
      for (int k = 0; k < q; ++k) {
        const auto deviation = x_.deviations[static_cast<std::size_t>(k)].Bin(bin);
        for (std::size_t block = 0; block + 1 < edges_.size(); ++block) {
          const Taps& h = taps_[block * kReadBins + static_cast<std::size_t>(bin)];
          for (int t = edges_[block]; t < edges_[block + 1]; ++t) {
            const auto i = static_cast<std::size_t>(t);
            const Complex r = s[i] - gain_[i] * prediction_[At(bin) + i];
            const Complex p = gain_[i] * Filter(deviation, h, t);
            const float l = (2 * MulConj(r, p).real() - std::norm(p)) * weight_[At(bin) + i];
            table[static_cast<std::size_t>(x_.SymbolOf(t))][static_cast<std::size_t>(k)] += l;
          }
        }
      }
    }
    for (auto& row : table) {
      for (auto& l : row) l *= kOverlap * kTemperature;
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
  std::vector<float> gain_;
  std::vector<std::array<float, kMaxVariants>> posterior_;
  bool has_posterior_ = false;
};

}  // namespace

LogLikelihoodTable ReadCoherent(const ReadingSpectra& spectra, const CoherentOptions& options) {
  if (spectra.num_frames() < options.num_taps) return LogLikelihoodTable(static_cast<std::size_t>(spectra.num_symbols()));
  return Reading(spectra, std::clamp(options.num_taps, 1, kMaxTaps)).Run();
}

}  // namespace earmark
