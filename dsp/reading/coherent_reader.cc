#include "dsp/reading/coherent_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <limits>
#include <vector>

#include "dsp/reading/row_kernels.h"

namespace earmark {
namespace {

constexpr int kMaxTaps = ComplexRows::kPast;
constexpr int kBlockFrames = 250;  // over which the channel is taken as constant
constexpr int kNumPasses = 3;
constexpr int kNoiseHalfFrames = 4;      // W is the mean over 9 frames …
constexpr int kNoiseHalfBins = 2;        // … and 5 bins
constexpr float kLeastNoise = 3e-4F;     // of the predicted power: the model is never trusted beyond -35 dB
constexpr float kLeakage = 1e-6F;        // of a frame's power: -60 dB
constexpr int kHalfOverGain = 2;         // the gain is the mean over 5 frames, …
constexpr int kHalfOverMarkedGain = 25;  // … but over half a second where the mark is such a gain
constexpr float kSharedGain = 0.25F;     // which it is from this share on
constexpr float kOverlap = 0.5F;         // neighbouring frames share half their samples
constexpr float kTemperature = 0.6F;     // noise is not quite Gaussian, nor independent between bins

// What is left of the deviations, after a codec that smooths them away or snaps to its own lattice, is estimated for these regions of bins.
constexpr int kNumRegions = 4;
constexpr std::array<std::size_t, kNumRegions + 1> kRegionEdges = {0, 16, 36, 76, kReadBins};  // bins: 1, 2 and 4 kHz

constexpr std::size_t RegionOf(std::size_t bin) {
  return bin < kRegionEdges[1] ? 0 : bin < kRegionEdges[2] ? 1 : bin < kRegionEdges[3] ? 2 : 3;
}

// Solves the Hermitian positive definite system A h = b of size n in place, by Cholesky.
ChannelTaps SolveHermitian(std::array<std::array<std::complex<double>, kMaxTaps>, kMaxTaps>& a,
                           std::array<std::complex<double>, kMaxTaps>& b, int n) {
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
  ChannelTaps h;
  for (int i = n - 1; i >= 0; --i) {
    for (int k = i + 1; k < n; ++k) b[i] -= std::conj(a[k][i]) * b[k];
    b[i] /= a[i][i].real();
    h.re[static_cast<std::size_t>(i)] = static_cast<float>(b[i].real());
    h.im[static_cast<std::size_t>(i)] = static_cast<float>(b[i].imag());
  }
  return h;
}

float Power(ConstRow row, std::size_t t) { return row.re[t] * row.re[t] + row.im[t] * row.im[t]; }

// One reading: the state shared by the passes. Arrays are [bin][frame], flat.
class Reading {
 public:
  Reading(const ReadingSpectra& spectra, int num_taps)
      : x_(spectra),
        num_taps_(num_taps),
        n_(spectra.num_frames()),
        prediction_(kReadBins, Frames()),
        known_(kReadBins, Frames()),
        of_phase_(static_cast<std::size_t>(spectra.num_phases), ComplexRows(kReadBins, Frames())),
        residual_power_(kReadBins * Frames()),
        weight_(kReadBins * Frames(), 1.0F),
        gain_(Frames(), 1.0F),
        shared_(SharedGains()),
        posterior_(static_cast<std::size_t>(spectra.num_symbols())) {
    const int blocks = std::max(1, (n_ + kBlockFrames / 2) / kBlockFrames);
    for (int b = 0; b <= blocks; ++b) edges_.push_back(static_cast<std::size_t>(static_cast<std::int64_t>(n_) * b / blocks));
    taps_.assign(static_cast<std::size_t>(blocks) * kReadBins, ChannelTaps{});
    for (auto& p : posterior_) p.fill(1.0F / static_cast<float>(x_.num_variants()));
    survival_.fill(1.0F);
  }

  LogLikelihoodTable Run() {
    FindLeakage();
    InitialWeights();
    LogLikelihoodTable table;
    for (int pass = 0; pass < kNumPasses; ++pass) {
      FitChannel();
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
  std::size_t Frames() const { return static_cast<std::size_t>(n_); }
  std::size_t At(std::size_t bin) const { return bin * Frames(); }
  ConstRow Clip(std::size_t bin) const { return x_.clip.Bin(static_cast<int>(bin)); }
  ConstRow Mean(std::size_t bin) const { return x_.mean.Bin(static_cast<int>(bin)); }

  // What a frame's loud bins leak into all others, through the window's side lobes and the resampler's stop band, is no channel's doing. A clip that has
  // passed a telephone shows nothing else above 4 kHz, and reading that as sound once drowned what was really there.
  void FindLeakage() {
    std::vector<double> power(Frames(), 0.0);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const ConstRow s = Clip(bin);
      for (std::size_t t = 0; t < power.size(); ++t) power[t] += Power(s, t);
    }
    leakage_.assign(power.size(), 0.0F);
    for (int t = 0; t < n_; ++t) {
      double most = 0;
      for (int u = std::max(0, t - kNoiseHalfFrames); u <= std::min(n_ - 1, t + kNoiseHalfFrames); ++u)
        most = std::max(most, power[static_cast<std::size_t>(u)]);
      leakage_[static_cast<std::size_t>(t)] = kLeakage * static_cast<float>(most);
    }
  }

  // Before anything is known the noise is taken to be a share of the clip's own local power, floored for the bin.
  void InitialWeights() {
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const ConstRow s = Clip(bin);
      float mean = 0;
      for (std::size_t t = 0; t < Frames(); ++t) mean += Power(s, t);
      mean /= static_cast<float>(std::max(1, n_));
      for (std::size_t t = 0; t < Frames(); ++t)
        weight_[At(bin) + t] = x_.present[t] != 0 ? 1 / (Power(s, t) + 0.1F * mean + 1e-12F) : 0.0F;
    }
  }

  // The channel, bin by bin, and what comes of the source through it: the mean, and with it what is known by now of the deviations that were sent.
  void FitChannel() {
    const std::vector<std::vector<float>> chances = Chances();
    ComplexRows expected(of_phase_.size(), Frames());
    ComplexRows source(1, Frames());
    const std::vector<float> ones(Frames(), 1.0F);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      Copy(Mean(bin), source[0]);
      for (std::size_t phase = 0; has_posterior_ && phase < of_phase_.size(); ++phase) {
        ExpectDeviation(bin, phase, chances, expected[phase]);
        AddProduct(ones.data(), expected[phase], Frames(), source[0]);
      }
      FitBin(bin, source[0]);
      FilterBin(bin, Mean(bin), prediction_[bin]);
      Copy(prediction_[bin], known_[bin]);
      for (std::size_t phase = 0; has_posterior_ && phase < of_phase_.size(); ++phase) {
        FilterBin(bin, expected[phase], of_phase_[phase][bin]);
        AddProduct(ones.data(), of_phase_[phase][bin], Frames(), known_[bin]);
      }
    }
  }

  void Copy(ConstRow from, Row to) const {
    std::copy(from.re, from.re + n_, to.re);
    std::copy(from.im, from.im + n_, to.im);
  }

  // [phase · num_variants + variant][frame]: the chance, by what is known, that this variant of the phase is what the frame holds.
  std::vector<std::vector<float>> Chances() const {
    const auto q = static_cast<std::size_t>(x_.num_variants());
    std::vector<std::vector<float>> chances(of_phase_.size() * q, std::vector<float>(Frames(), 0.0F));
    for (std::size_t phase = 0; phase < of_phase_.size(); ++phase) {
      for (int t = 0; t < n_; ++t) {
        const int symbol = x_.SymbolInPhase(t, static_cast<int>(phase));
        if (symbol < 0) continue;
        for (std::size_t k = 0; k < q; ++k)
          chances[phase * q + k][static_cast<std::size_t>(t)] = posterior_[static_cast<std::size_t>(symbol)][k];
      }
    }
    return chances;
  }

  // The mean deviation of a phase, as far as it got through.
  void ExpectDeviation(std::size_t bin, std::size_t phase, const std::vector<std::vector<float>>& chances, Row out) const {
    std::fill(out.re, out.re + n_, 0.0F);
    std::fill(out.im, out.im + n_, 0.0F);
    const auto q = static_cast<std::size_t>(x_.num_variants());
    for (std::size_t i = phase * q; i < (phase + 1) * q; ++i)
      AddProduct(chances[i].data(), x_.deviations[i].Bin(static_cast<int>(bin)), Frames(), out);
    const float survival = survival_[RegionOf(bin)];
    for (std::size_t t = 0; t < Frames(); ++t) {
      out.re[t] *= survival;
      out.im[t] *= survival;
    }
  }

  void FitBin(std::size_t bin, ConstRow source) {
    std::vector<float> w_cross(Frames());
    std::vector<float> w_gram(Frames());
    for (std::size_t t = 0; t < Frames(); ++t) {
      w_cross[t] = weight_[At(bin) + t] * gain_[t];
      w_gram[t] = w_cross[t] * gain_[t];
    }
    for (std::size_t block = 0; block + 1 < edges_.size(); ++block) {
      const std::size_t from = std::max(edges_[block], static_cast<std::size_t>(num_taps_ - 1));
      const std::size_t n = edges_[block + 1] - from;
      std::array<std::array<std::complex<double>, kMaxTaps>, kMaxTaps> gram{};
      std::array<std::complex<double>, kMaxTaps> cross{};
      double trace = 0;
      for (std::size_t a = 0; a < static_cast<std::size_t>(num_taps_); ++a) {
        const ConstRow delayed = source.From(from).Delayed(a);
        cross[a] = WeightedProduct(w_cross.data() + from, Clip(bin).From(from), delayed, n);
        for (std::size_t b = 0; b <= a; ++b)
          gram[a][b] = WeightedProduct(w_gram.data() + from, source.From(from).Delayed(b), delayed, n);
        trace += gram[a][a].real();
      }
      for (std::size_t a = 0; a < static_cast<std::size_t>(num_taps_); ++a) gram[a][a] += 1e-4 * trace / num_taps_ + 1e-30;
      taps_[block * kReadBins + bin] = trace > 0 ? SolveHermitian(gram, cross, num_taps_) : ChannelTaps{};
    }
  }

  // A row through the channel.
  void FilterBin(std::size_t bin, ConstRow row, Row out) const {
    for (std::size_t block = 0; block + 1 < edges_.size(); ++block) {
      const std::size_t from = edges_[block];
      FilterRow(row.From(from), taps_[block * kReadBins + bin], num_taps_, edges_[block + 1] - from, out.From(from));
    }
  }

  // The common gain of each frame, over 5 frames, shrunk towards 1 where the evidence is thin.
  void FitGain() {
    std::vector<float> cross(Frames(), 0.0F);
    std::vector<float> power(Frames(), 0.0F);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const float* w = weight_.data() + At(bin);
      AddMatch(w, w, Clip(bin), prediction_[bin], Frames(), cross.data(), power.data());
    }
    for (int t = 0; t < n_; ++t) {
      float c = 1;  // as if one cell of unit evidence said 1
      float p = 1;
      const int half = shared_[static_cast<std::size_t>(t)] > kSharedGain ? kHalfOverMarkedGain : kHalfOverGain;
      for (int u = std::max(0, t - half); u <= std::min(n_ - 1, t + half); ++u) {
        c += cross[static_cast<std::size_t>(u)];
        p += power[static_cast<std::size_t>(u)];
      }
      gain_[static_cast<std::size_t>(t)] = std::clamp(c / p, 0.05F, 20.0F);
    }
  }

  // How far the deviations of a frame are one gain for all bins, 0 … 1: then the gain is the mark, and must not be taken out with the channel's.
  std::vector<float> SharedGains() const {
    std::vector<float> shared(Frames(), 0.0F);
    if (x_.num_phases == 1) return shared;
    std::vector<float> weight(kReadBins * Frames());
    std::vector<float> host(Frames(), 1e-30F);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      for (std::size_t t = 0; t < Frames(); ++t) {
        const float power = Power(Mean(bin), t);
        weight[At(bin) + t] = 1 / (power + 1e-12F);
        host[t] += weight[At(bin) + t] * power;
      }
    }
    for (const Spectrogram& deviation : x_.deviations) {
      std::vector<float> cross(Frames(), 0.0F);
      std::vector<float> power(Frames(), 1e-30F);
      for (std::size_t bin = 0; bin < kReadBins; ++bin) {
        const float* w = weight.data() + At(bin);
        AddMatch(w, w, Mean(bin), deviation.Bin(static_cast<int>(bin)), Frames(), cross.data(), power.data());
      }
      for (std::size_t t = 0; t < Frames(); ++t) shared[t] = std::max(shared[t], cross[t] * cross[t] / (power[t] * host[t]));
    }
    return shared;
  }

  // Residual without the posterior-mean deviation, its local power, and from it the weights.
  void EstimateNoise() {
    const ComplexRows none(1, Frames());
    ComplexRows residual(1, Frames());
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      Residual(Clip(bin), gain_.data(), known_[bin], none[0], Frames(), residual[0]);
      for (std::size_t t = 0; t < Frames(); ++t) residual_power_[At(bin) + t] = x_.present[t] != 0 ? Power(residual[0], t) : 0.0F;
    }
    SmoothResidual();
  }

  // Mean over time by a running sum, then over bins; frames that are not present do not count.
  void SmoothResidual() {
    std::vector<float> over_time(kReadBins * Frames());
    std::vector<float> count(Frames(), 0.0F);
    for (int t = 0; t < n_; ++t) {
      for (int u = std::max(0, t - kNoiseHalfFrames); u <= std::min(n_ - 1, t + kNoiseHalfFrames); ++u)
        count[static_cast<std::size_t>(t)] += x_.present[static_cast<std::size_t>(u)];
    }
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const float* in = residual_power_.data() + At(bin);
      double sum = 0;
      for (int t = -kNoiseHalfFrames; t < n_; ++t) {
        if (t + kNoiseHalfFrames < n_) sum += in[t + kNoiseHalfFrames];
        if (t - kNoiseHalfFrames - 1 >= 0) sum -= in[t - kNoiseHalfFrames - 1];
        if (t >= 0)
          over_time[At(bin) + static_cast<std::size_t>(t)] =
              static_cast<float>(std::max(0.0, sum)) / std::max(1.0F, count[static_cast<std::size_t>(t)]);
      }
    }
    std::vector<float> sum(Frames());
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const std::size_t low = bin < kNoiseHalfBins ? 0 : bin - kNoiseHalfBins;
      const std::size_t high = std::min<std::size_t>(kReadBins - 1, bin + kNoiseHalfBins);
      const float scale = 1.0F / static_cast<float>(high - low + 1);
      std::fill(sum.begin(), sum.end(), 0.0F);
      for (std::size_t b = low; b <= high; ++b) {
        for (std::size_t t = 0; t < Frames(); ++t) sum[t] += over_time[At(b) + t];
      }
      for (std::size_t t = 0; t < Frames(); ++t) {
        const float floor = kLeastNoise * gain_[t] * gain_[t] * Power(prediction_[bin], t);
        weight_[At(bin) + t] = x_.present[t] != 0 ? 1 / (sum[t] * scale + floor + leakage_[t] + 1e-10F) : 0.0F;
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
    for (std::size_t phase = 0; phase < of_phase_.size(); ++phase) {
      for (std::size_t region = 0; region < kNumRegions; ++region) MatchRegion(phase, region, matches);
    }
    return matches;
  }

  // Frame by frame, summed over the region's bins, and then by symbols. What other phases' symbols are expected to have added is taken out.
  void MatchRegion(std::size_t phase, std::size_t region, std::vector<Match>& matches) const {
    const auto q = static_cast<std::size_t>(x_.num_variants());
    std::vector<std::vector<float>> cross(q, std::vector<float>(Frames(), 0.0F));
    std::vector<std::vector<float>> power = cross;
    std::vector<float> w_cross(Frames());
    std::vector<float> w_power(Frames());
    ComplexRows residual(1, Frames());
    ComplexRows received(1, Frames());
    for (std::size_t bin = kRegionEdges[region]; bin < kRegionEdges[region + 1]; ++bin) {
      for (std::size_t t = 0; t < Frames(); ++t) {
        w_cross[t] = 2 * weight_[At(bin) + t] * gain_[t];
        w_power[t] = weight_[At(bin) + t] * gain_[t] * gain_[t];
      }
      Residual(Clip(bin), gain_.data(), known_[bin], of_phase_[phase][bin], Frames(), residual[0]);
      for (std::size_t k = 0; k < q; ++k) {
        FilterBin(bin, x_.deviations[phase * q + k].Bin(static_cast<int>(bin)), received[0]);
        AddMatch(w_cross.data(), w_power.data(), residual[0], received[0], Frames(), cross[k].data(), power[k].data());
      }
    }
    for (int t = 0; t < n_; ++t) {
      const int symbol = x_.SymbolInPhase(t, static_cast<int>(phase));
      if (symbol < 0) continue;
      for (std::size_t k = 0; k < q; ++k) {
        matches[static_cast<std::size_t>(symbol)].cross[k][region] += cross[k][static_cast<std::size_t>(t)];
        matches[static_cast<std::size_t>(symbol)].power[k][region] += power[k][static_cast<std::size_t>(t)];
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
      for (std::size_t k = 0; k < static_cast<std::size_t>(x_.num_variants()); ++k)
        table[s][k] = matches[s].LogLikelihood(k, survival_);
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
  std::vector<std::size_t> edges_;     // of the blocks
  std::vector<ChannelTaps> taps_;      // [block][bin]
  ComplexRows prediction_;             // of the mean through the channel, without gain
  ComplexRows known_;                  // … and with it what is expected of the deviations, …
  std::vector<ComplexRows> of_phase_;  // [phase] which is the sum of these
  std::vector<float> residual_power_;
  std::vector<float> weight_;   // 1 / W
  std::vector<float> leakage_;  // [frame]: power
  std::vector<float> gain_;
  std::vector<float> shared_;  // [frame]: see SharedGains
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
