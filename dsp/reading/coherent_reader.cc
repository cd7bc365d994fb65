#include "dsp/reading/coherent_reader.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <limits>
#include <span>
#include <vector>

#include "dsp/reading/grid.h"
#include "dsp/reading/row_kernels.h"

namespace earmark {
namespace {

constexpr std::size_t kMaxTaps = ComplexRows::kPast;
constexpr std::size_t kBlockFrames = 250;  // over which the channel is taken as constant
constexpr int kNumPasses = 3;
constexpr std::size_t kNoiseHalfFrames = 4;      // W is the mean over 9 frames …
constexpr std::size_t kNoiseHalfBins = 2;        // … and 5 bins
constexpr float kMinNoise = 3e-4F;               // of the predicted power: the model is never trusted beyond -35 dB
constexpr float kLeakage = 1e-6F;                // of a frame's power: -60 dB
constexpr std::size_t kHalfOverGain = 2;         // the gain is the mean over 5 frames, …
constexpr std::size_t kHalfOverMarkedGain = 25;  // … but over half a second where the mark is such a gain
constexpr float kSharedGain = 0.25F;             // which it is from this share on
constexpr float kOverlap = 0.5F;                 // neighbouring frames share half their samples
constexpr float kTemperature = 0.6F;             // noise is not quite Gaussian, nor independent between bins

// What is left of the deviations, after a codec that smooths them away or snaps to its own lattice, is estimated for these regions of bins.
constexpr std::size_t kNumRegions = 4;
constexpr std::array<std::size_t, kNumRegions + 1> kRegionEdges = {0, 16, 36, 76, kReadBins};  // bins: 1, 2 and 4 kHz

constexpr std::size_t RegionOf(std::size_t bin) {
  return bin < kRegionEdges[1] ? 0 : bin < kRegionEdges[2] ? 1 : bin < kRegionEdges[3] ? 2 : 3;
}

float Power(ConstRow row, std::size_t t) { return row.re[t] * row.re[t] + row.im[t] * row.im[t]; }

using Survival = std::array<float, kNumRegions>;  // of the deviations, as amplitude; 1: as sent

// What is known of the symbols that were sent.
struct Knowledge {
  std::vector<std::array<float, kMaxVariants>> chance;  // [symbol]; empty: nothing yet
  Survival survival{};
};

// The channel, and what comes of the source through it.
struct Reception {
  std::vector<ChannelTaps> taps;      // [block · kReadBins + bin]
  ComplexRows prediction;             // of the mean, without gain
  ComplexRows known;                  // … and with it what is expected of the deviations, …
  std::vector<ComplexRows> of_phase;  // [phase] which is the sum of these
};

// How one symbol's residual matches each variant's deviation p_k as received: Σ 2 Re(r · conj p_k) / W and Σ |p_k|² / W, by region.
struct Match {
  std::array<std::array<float, kNumRegions>, kMaxVariants> cross{};
  std::array<std::array<float, kNumRegions>, kMaxVariants> power{};

  float LogLikelihood(std::size_t k, const Survival& survival) const {
    float sum = 0;
    for (std::size_t r = 0; r < kNumRegions; ++r) sum += survival[r] * (cross[k][r] - survival[r] * power[k][r]);
    return kOverlap * kTemperature * sum;
  }
};

// The stages of one reading. They pass on what they find; members are what holds for all of them.
class CoherentReading {
 public:
  CoherentReading(const ReadingSpectra& spectra, std::size_t num_taps)
      : x_(spectra),
        num_taps_(num_taps),
        n_(spectra.num_frames()),
        q_(spectra.num_variants()),
        shared_(SharedGains()),
        leakage_(Leakage()) {
    const std::size_t blocks = std::max<std::size_t>(1, (n_ + kBlockFrames / 2) / kBlockFrames);
    for (std::size_t b = 0; b <= blocks; ++b) edges_.push_back(n_ * b / blocks);
  }

  LogLikelihoodTable Run() const {
    Grid<float> weight = InitialWeights();
    std::vector<float> gain(n_, 1.0F);
    Knowledge knowledge;
    LogLikelihoodTable table;
    for (int pass = 0; pass < kNumPasses; ++pass) {
      const Reception reception = Receive(knowledge, weight, gain);
      gain = FitGain(reception, weight);
      weight = Weights(ResidualPower(reception, gain), reception, gain);
      const std::vector<Match> matches = MatchDeviations(reception, weight, gain);
      knowledge.survival = EstimateSurvival(matches);
      table = Likelihoods(matches, knowledge.survival);
      knowledge.chance = Chances(table);
    }
    return table;
  }

 private:
  ConstRow Clip(std::size_t bin) const { return x_.clip.Bin(bin); }
  ConstRow Mean(std::size_t bin) const { return x_.mean.Bin(bin); }

  // What a frame's loud bins leak into all others, through the window's side lobes and the resampler's stop band, is no channel's doing. A clip that has
  // passed a telephone shows nothing else above 4 kHz, and reading that as sound once drowned what was really there. [frame], power.
  std::vector<float> Leakage() const {
    std::vector<double> power(n_, 0.0);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const ConstRow s = Clip(bin);
      for (std::size_t t = 0; t < n_; ++t) power[t] += Power(s, t);
    }
    std::vector<float> leakage(n_);
    for (std::size_t t = 0; t < n_; ++t) {
      const auto [first, end] = Around(t, kNoiseHalfFrames, n_);
      double max = 0;
      for (std::size_t u = first; u < end; ++u) max = std::max(max, power[u]);
      leakage[t] = kLeakage * static_cast<float>(max);
    }
    return leakage;
  }

  // Before anything is known the noise is taken to be a share of the clip's own local power, floored for the bin.
  Grid<float> InitialWeights() const {
    Grid<float> weight(kReadBins, n_);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const ConstRow s = Clip(bin);
      float mean = 0;
      for (std::size_t t = 0; t < n_; ++t) mean += Power(s, t);
      mean /= static_cast<float>(std::max<std::size_t>(1, n_));
      for (std::size_t t = 0; t < n_; ++t) weight[bin][t] = x_.present[t] != 0 ? 1 / (Power(s, t) + 0.1F * mean + 1e-12F) : 0.0F;
    }
    return weight;
  }

  // Fits the channel bin by bin to what the source is known to be: the mean, and what is expected of the deviations.
  Reception Receive(const Knowledge& knowledge, const Grid<float>& weight, std::span<const float> gain) const {
    const std::size_t num_known = knowledge.chance.empty() ? 0 : x_.num_phases;
    Reception reception{.taps = std::vector<ChannelTaps>((edges_.size() - 1) * kReadBins),
                        .prediction = ComplexRows(kReadBins, n_),
                        .known = ComplexRows(kReadBins, n_),
                        .of_phase = std::vector<ComplexRows>(x_.num_phases, ComplexRows(kReadBins, n_))};
    const Grid<float> chances = ChancesByFrame(knowledge);
    ComplexRows expected(x_.num_phases, n_);
    ComplexRows source(1, n_);
    const std::vector<float> ones(n_, 1.0F);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      Copy(Mean(bin), source[0]);
      for (std::size_t phase = 0; phase < num_known; ++phase) {
        ExpectDeviation(bin, phase, chances, knowledge.survival[RegionOf(bin)], expected[phase]);
        AddProduct(ones.data(), expected[phase], n_, source[0]);
      }
      FitBin(bin, source[0], weight[bin], gain, reception.taps);
      Filter(reception, bin, Mean(bin), reception.prediction[bin]);
      Copy(reception.prediction[bin], reception.known[bin]);
      for (std::size_t phase = 0; phase < num_known; ++phase) {
        Filter(reception, bin, expected[phase], reception.of_phase[phase][bin]);
        AddProduct(ones.data(), reception.of_phase[phase][bin], n_, reception.known[bin]);
      }
    }
    return reception;
  }

  void Copy(ConstRow from, Row to) const {
    std::copy(from.re, from.re + n_, to.re);
    std::copy(from.im, from.im + n_, to.im);
  }

  // [phase · num_variants + variant][frame]: the chance, by what is known, that this variant of the phase is what the frame holds.
  Grid<float> ChancesByFrame(const Knowledge& knowledge) const {
    if (knowledge.chance.empty()) return {};
    Grid<float> chances(x_.num_phases * q_, n_);
    for (std::size_t phase = 0; phase < x_.num_phases; ++phase) {
      for (std::size_t t = 0; t < n_; ++t) {
        const auto symbol = x_.SymbolInPhase(t, phase);
        if (!symbol) continue;
        for (std::size_t k = 0; k < q_; ++k) chances[phase * q_ + k][t] = knowledge.chance[*symbol][k];
      }
    }
    return chances;
  }

  // The mean deviation of a phase, as far as it got through.
  void ExpectDeviation(std::size_t bin, std::size_t phase, const Grid<float>& chances, float survival, Row out) const {
    std::fill(out.re, out.re + n_, 0.0F);
    std::fill(out.im, out.im + n_, 0.0F);
    for (std::size_t i = phase * q_; i < (phase + 1) * q_; ++i) AddProduct(chances[i].data(), x_.deviations[i].Bin(bin), n_, out);
    for (std::size_t t = 0; t < n_; ++t) {
      out.re[t] *= survival;
      out.im[t] *= survival;
    }
  }

  // Weighted least squares in every block: the taps' normal equations, slightly loaded.
  void FitBin(std::size_t bin, ConstRow source, std::span<const float> weight, std::span<const float> gain,
              std::vector<ChannelTaps>& taps) const {
    std::vector<float> w_cross(n_);
    std::vector<float> w_gram(n_);
    for (std::size_t t = 0; t < n_; ++t) {
      w_cross[t] = weight[t] * gain[t];
      w_gram[t] = w_cross[t] * gain[t];
    }
    for (std::size_t block = 0; block + 1 < edges_.size(); ++block) {
      const std::size_t from = std::max(edges_[block], num_taps_ - 1);
      const std::size_t n = edges_[block + 1] - from;
      Gram gram = Gram::Zero(Index(num_taps_), Index(num_taps_));
      Cross cross(num_taps_);
      for (std::size_t a = 0; a < num_taps_; ++a) {
        const ConstRow delayed = source.From(from).Delayed(a);
        cross(Index(a)) = WeightedProduct(w_cross.data() + from, Clip(bin).From(from), delayed, n);
        for (std::size_t b = 0; b <= a; ++b)
          gram(Index(a), Index(b)) = WeightedProduct(w_gram.data() + from, source.From(from).Delayed(b), delayed, n);
      }
      const double trace = gram.diagonal().real().sum();
      if (!(trace > 0)) continue;
      gram.diagonal().array() += 1e-4 * trace / static_cast<double>(num_taps_) + 1e-30;
      taps[block * kReadBins + bin] = TapsOf(Cross(gram.selfadjointView<Eigen::Lower>().llt().solve(cross)));
    }
  }

  using Gram = Eigen::Matrix<std::complex<double>, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor, kMaxTaps, kMaxTaps>;
  using Cross = Eigen::Matrix<std::complex<double>, Eigen::Dynamic, 1, Eigen::ColMajor, kMaxTaps, 1>;
  static Eigen::Index Index(std::size_t i) { return static_cast<Eigen::Index>(i); }

  static ChannelTaps TapsOf(const Cross& solution) {
    ChannelTaps taps;
    const Eigen::Index n = solution.size();
    Eigen::Map<Eigen::VectorXf>(taps.re.data(), n) = solution.real().cast<float>();
    Eigen::Map<Eigen::VectorXf>(taps.im.data(), n) = solution.imag().cast<float>();
    return taps;
  }

  // A row through the channel.
  void Filter(const Reception& reception, std::size_t bin, ConstRow row, Row out) const {
    for (std::size_t block = 0; block + 1 < edges_.size(); ++block) {
      const std::size_t from = edges_[block];
      FilterRow(row.From(from), reception.taps[block * kReadBins + bin], num_taps_, edges_[block + 1] - from, out.From(from));
    }
  }

  // The common gain of each frame, over 5 frames, shrunk towards 1 where the evidence is thin.
  std::vector<float> FitGain(const Reception& reception, const Grid<float>& weight) const {
    std::vector<float> cross(n_, 0.0F);
    std::vector<float> power(n_, 0.0F);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const float* w = weight[bin].data();
      AddMatch(w, w, Clip(bin), reception.prediction[bin], n_, cross.data(), power.data());
    }
    std::vector<float> gain(n_);
    for (std::size_t t = 0; t < n_; ++t) {
      const auto [first, end] = Around(t, shared_[t] > kSharedGain ? kHalfOverMarkedGain : kHalfOverGain, n_);
      float c = 1;  // as if one cell of unit evidence said 1
      float p = 1;
      for (std::size_t u = first; u < end; ++u) {
        c += cross[u];
        p += power[u];
      }
      gain[t] = std::clamp(c / p, 0.05F, 20.0F);
    }
    return gain;
  }

  // How far the deviations of a frame are one gain for all bins, 0 … 1: then the gain is the mark, and must not be taken out with the channel's.
  std::vector<float> SharedGains() const {
    std::vector<float> shared(n_, 0.0F);
    if (x_.num_phases == 1) return shared;
    Grid<float> weight(kReadBins, n_);
    std::vector<float> host(n_, 1e-30F);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      for (std::size_t t = 0; t < n_; ++t) {
        const float power = Power(Mean(bin), t);
        weight[bin][t] = 1 / (power + 1e-12F);
        host[t] += weight[bin][t] * power;
      }
    }
    for (const Spectrogram& deviation : x_.deviations) {
      std::vector<float> cross(n_, 0.0F);
      std::vector<float> power(n_, 1e-30F);
      for (std::size_t bin = 0; bin < kReadBins; ++bin) {
        const float* w = weight[bin].data();
        AddMatch(w, w, Mean(bin), deviation.Bin(bin), n_, cross.data(), power.data());
      }
      for (std::size_t t = 0; t < n_; ++t) shared[t] = std::max(shared[t], cross[t] * cross[t] / (power[t] * host[t]));
    }
    return shared;
  }

  // Of what is left of the clip without all that is known of the source.
  Grid<float> ResidualPower(const Reception& reception, std::span<const float> gain) const {
    Grid<float> power(kReadBins, n_);
    const ComplexRows none(1, n_);
    ComplexRows residual(1, n_);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      Residual(Clip(bin), gain.data(), reception.known[bin], none[0], n_, residual[0]);
      for (std::size_t t = 0; t < n_; ++t) power[bin][t] = x_.present[t] != 0 ? Power(residual[0], t) : 0.0F;
    }
    return power;
  }

  // 1 / W: the residual's local power, over time and then over bins, and what the model is never trusted beyond.
  Grid<float> Weights(const Grid<float>& residual_power, const Reception& reception, std::span<const float> gain) const {
    const Grid<float> over_time = MeanOverTime(residual_power);
    Grid<float> weight(kReadBins, n_);
    std::vector<float> sum(n_);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const auto [first, end] = Around(bin, kNoiseHalfBins, kReadBins);
      const float scale = 1.0F / static_cast<float>(end - first);
      std::fill(sum.begin(), sum.end(), 0.0F);
      for (std::size_t b = first; b < end; ++b) {
        for (std::size_t t = 0; t < n_; ++t) sum[t] += over_time[b][t];
      }
      for (std::size_t t = 0; t < n_; ++t) {
        const float floor = kMinNoise * gain[t] * gain[t] * Power(reception.prediction[bin], t);
        weight[bin][t] = x_.present[t] != 0 ? 1 / (sum[t] * scale + floor + leakage_[t] + 1e-10F) : 0.0F;
      }
    }
    return weight;
  }

  // By a running sum; frames that are not present do not count.
  Grid<float> MeanOverTime(const Grid<float>& power) const {
    std::vector<float> count(n_, 0.0F);
    for (std::size_t t = 0; t < n_; ++t) {
      const auto [first, end] = Around(t, kNoiseHalfFrames, n_);
      for (std::size_t u = first; u < end; ++u) count[t] += x_.present[u];
    }
    Grid<float> mean(kReadBins, n_);
    for (std::size_t bin = 0; bin < kReadBins; ++bin) {
      const auto in = power[bin];
      double sum = 0;
      for (std::size_t u = 0; u < n_ + kNoiseHalfFrames;
           ++u) {  // the newest frame of the window, kNoiseHalfFrames ahead of its middle
        if (u < n_) sum += in[u];
        if (u > 2 * kNoiseHalfFrames) sum -= in[u - 2 * kNoiseHalfFrames - 1];
        if (u < kNoiseHalfFrames) continue;
        const std::size_t t = u - kNoiseHalfFrames;
        mean[bin][t] = static_cast<float>(std::max(0.0, sum)) / std::max(1.0F, count[t]);
      }
    }
    return mean;
  }

  std::vector<Match> MatchDeviations(const Reception& reception, const Grid<float>& weight, std::span<const float> gain) const {
    std::vector<Match> matches(x_.num_symbols());
    for (std::size_t phase = 0; phase < x_.num_phases; ++phase) {
      for (std::size_t region = 0; region < kNumRegions; ++region) MatchRegion(reception, weight, gain, phase, region, matches);
    }
    return matches;
  }

  // Frame by frame, summed over the region's bins, and then by symbols. What other phases' symbols are expected to have added is taken out.
  void MatchRegion(const Reception& reception, const Grid<float>& weight, std::span<const float> gain, std::size_t phase,
                   std::size_t region, std::vector<Match>& matches) const {
    Grid<float> cross(q_, n_);
    Grid<float> power(q_, n_);
    std::vector<float> w_cross(n_);
    std::vector<float> w_power(n_);
    ComplexRows residual(1, n_);
    ComplexRows received(1, n_);
    for (std::size_t bin = kRegionEdges[region]; bin < kRegionEdges[region + 1]; ++bin) {
      const auto w = weight[bin];
      for (std::size_t t = 0; t < n_; ++t) {
        w_cross[t] = 2 * w[t] * gain[t];
        w_power[t] = w[t] * gain[t] * gain[t];
      }
      Residual(Clip(bin), gain.data(), reception.known[bin], reception.of_phase[phase][bin], n_, residual[0]);
      for (std::size_t k = 0; k < q_; ++k) {
        Filter(reception, bin, x_.deviations[phase * q_ + k].Bin(bin), received[0]);
        AddMatch(w_cross.data(), w_power.data(), residual[0], received[0], n_, cross[k].data(), power[k].data());
      }
    }
    for (std::size_t t = 0; t < n_; ++t) {
      const auto symbol = x_.SymbolInPhase(t, phase);
      if (!symbol) continue;
      for (std::size_t k = 0; k < q_; ++k) {
        matches[*symbol].cross[k][region] += cross[k][t];
        matches[*symbol].power[k][region] += power[k][t];
      }
    }
  }

  // Log-likelihood of the clip when every variant is as likely as the others.
  double Evidence(const std::vector<Match>& matches, const Survival& survival) const {
    double sum = 0;
    for (const Match& match : matches) {
      std::array<float, kMaxVariants> l{};
      float top = -std::numeric_limits<float>::infinity();
      for (std::size_t k = 0; k < q_; ++k) top = std::max(top, l[k] = match.LogLikelihood(k, survival));
      float mean = 0;
      for (std::size_t k = 0; k < q_; ++k) mean += std::exp(l[k] - top) / static_cast<float>(q_);
      sum += top + std::log(mean);
    }
    return sum;
  }

  // The share of the deviations that got through, region by region: what makes the clip likeliest.
  Survival EstimateSurvival(const std::vector<Match>& matches) const {
    constexpr std::array<float, 10> kShares = {1.0F, 0.84F, 0.7F, 0.58F, 0.47F, 0.36F, 0.26F, 0.17F, 0.09F, 0.03F};
    Survival best;
    best.fill(kShares[0]);
    double best_evidence = Evidence(matches, best);
    const auto try_out = [&](const Survival& survival) {
      if (const double evidence = Evidence(matches, survival); evidence > best_evidence)
        best_evidence = evidence, best = survival;
    };
    for (const float share : kShares) {
      Survival all{};
      all.fill(share);
      try_out(all);
    }
    for (int round = 0; round < 2; ++round) {
      for (std::size_t region = 0; region < kNumRegions; ++region) {
        for (const float share : kShares) {
          Survival trial = best;
          trial[region] = share;
          try_out(trial);
        }
      }
    }
    return best;
  }

  LogLikelihoodTable Likelihoods(const std::vector<Match>& matches, const Survival& survival) const {
    LogLikelihoodTable table(matches.size());
    for (std::size_t s = 0; s < table.size(); ++s) {
      table[s].fill(0);
      for (std::size_t k = 0; k < q_; ++k) table[s][k] = matches[s].LogLikelihood(k, survival);
    }
    return table;
  }

  std::vector<std::array<float, kMaxVariants>> Chances(const LogLikelihoodTable& table) const {
    std::vector<std::array<float, kMaxVariants>> chances(table.size());
    for (std::size_t s = 0; s < table.size(); ++s) {
      const float top = *std::max_element(table[s].begin(), table[s].begin() + static_cast<std::ptrdiff_t>(q_));
      float sum = 0;
      for (std::size_t k = 0; k < q_; ++k) sum += chances[s][k] = std::exp(table[s][k] - top);
      for (std::size_t k = 0; k < q_; ++k) chances[s][k] /= sum;
    }
    return chances;
  }

  const ReadingSpectra& x_;
  std::size_t num_taps_;
  std::size_t n_;                   // frames
  std::size_t q_;                   // variants
  std::vector<float> shared_;       // [frame]: see SharedGains
  std::vector<float> leakage_;      // [frame]
  std::vector<std::size_t> edges_;  // of the blocks, in frames
};

}  // namespace

LogLikelihoodTable ReadCoherent(const ReadingSpectra& spectra, const CoherentOptions& options) {
  const auto num_taps = static_cast<std::size_t>(std::clamp(options.num_taps, 1, static_cast<int>(kMaxTaps)));
  if (spectra.num_frames() < num_taps) return LogLikelihoodTable(spectra.num_symbols());
  return CoherentReading(spectra, num_taps).Run();
}

}  // namespace earmark
