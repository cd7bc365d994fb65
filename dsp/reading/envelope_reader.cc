#include "dsp/reading/envelope_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "dsp/marking/carrier.h"
#include "dsp/opus/celt_tables.h"

namespace earmark {
namespace {

constexpr int kTaps = 16;
constexpr int kColumns = kTaps + 1;  // and the noise floor
constexpr int kRobustPasses = 3;
constexpr int kDriftHalfUnits = 30;  // slow drift of a band's level is taken out over 61 units
constexpr int kGainHalfUnits = 12;   // a gain that the mark moves is followed over half a second alone
constexpr float kSharedGain = 0.3F;  // of the shifts' power, from which on the mark is such a gain
constexpr float kTemperature = 0.5F;
constexpr int kCancelPasses = 3;  // where symbols reach into one another

using Bands = std::array<float, kNumBands>;

float Db(float ratio) { return 10 * std::log10(ratio); }

// The bands that the carriers move.
std::array<int, kNumBands + 1> EdgesHz(ReferenceKind kind) {
  if (kind != ReferenceKind::kSourcePackets) return kBandEdgesHz;
  std::array<int, kNumBands + 1> edges{};
  for (std::size_t b = 0; b < edges.size(); ++b) edges[b] = 200 * celt::kBandEdges[b];
  return edges;
}

// Their bins of a Spectrogram: band b is [edge b, edge b + 1); empty where it lies outside.
std::array<int, kNumBands + 1> EdgeBins(ReferenceKind kind) {
  constexpr int kBinHz = 50;
  auto edges = EdgesHz(kind);
  for (int& edge : edges) edge = std::clamp((edge + kBinHz / 2) / kBinHz - kFirstReadBin, 0, kReadBins);
  return edges;
}

// [unit][band] power of a signal given as the sum of two spectrograms (the second may be null).
std::vector<Bands> Powers(const std::array<int, kNumBands + 1>& edges, const Spectrogram& a, const Spectrogram* b,
                          int num_units) {
  const auto num_frames = static_cast<std::size_t>(num_units * kFramesPerPacket);
  std::vector<Bands> powers(static_cast<std::size_t>(num_units));
  std::vector<float> of_frame(num_frames);
  for (std::size_t band = 0; band < kNumBands; ++band) {
    std::fill(of_frame.begin(), of_frame.end(), 0.0F);
    for (int bin = edges[band]; bin < edges[band + 1]; ++bin) {
      const ConstRow x = a.Bin(bin);
      if (b == nullptr) {
        for (std::size_t t = 0; t < num_frames; ++t) of_frame[t] += x.re[t] * x.re[t] + x.im[t] * x.im[t];
      } else {
        const ConstRow y = b->Bin(bin);
        for (std::size_t t = 0; t < num_frames; ++t)
          of_frame[t] += (x.re[t] + y.re[t]) * (x.re[t] + y.re[t]) + (x.im[t] + y.im[t]) * (x.im[t] + y.im[t]);
      }
    }
    for (std::size_t t = 0; t < num_frames; t += kFramesPerPacket)
      powers[t / kFramesPerPacket][band] = 1e-9F + of_frame[t] + of_frame[t + 1];
  }
  return powers;
}

float MedianOf(std::vector<float>& values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// min |A x - y|² with x >= 0, given the Gram matrix and A'y: cyclic coordinate descent, which converges for any such problem.
void SolveNonNegative(const std::array<std::array<double, kColumns>, kColumns>& gram, const std::array<double, kColumns>& cross,
                      std::array<double, kColumns>& x) {
  for (int sweep = 0; sweep < 200; ++sweep) {
    double moved = 0;
    for (std::size_t i = 0; i < kColumns; ++i) {
      if (!(gram[i][i] > 0)) continue;
      double gradient = -cross[i];
      for (std::size_t j = 0; j < kColumns; ++j) gradient += gram[i][j] * x[j];
      const double next = std::max(0.0, x[i] - gradient / gram[i][i]);
      moved += std::abs(next - x[i]) * std::sqrt(gram[i][i]);
      x[i] = next;
    }
    if (moved < 1e-7) break;
  }
}

class Reading {
 public:
  explicit Reading(const ReadingSpectra& spectra)
      : x_(spectra),
        n_(spectra.num_frames() / kFramesPerPacket),
        edges_(EdgeBins(spectra.format.kind)),
        clip_(Powers(edges_, spectra.clip, nullptr, n_)) {
    for (const Spectrogram& deviation : x_.deviations) shift_db_.push_back(Powers(edges_, x_.mean, &deviation, n_));
    mean_ = x_.num_phases > 1 ? Powers(edges_, x_.mean, nullptr, n_) : MeanOfVariants();
    for (auto& variant : shift_db_) {
      for (std::size_t u = 0; u < mean_.size(); ++u) {
        for (std::size_t b = 0; b < kNumBands; ++b) variant[u][b] = Db(variant[u][b] / mean_[u][b]);
      }
    }
    for (int u = 0; u < n_; ++u) {
      const auto i = static_cast<std::size_t>(u) * kFramesPerPacket;
      present_.push_back(x_.present[i] != 0 && x_.present[i + 1] != 0 ? 1 : 0);
    }
  }

  LogLikelihoodTable Run() {
    residual_db_.assign(static_cast<std::size_t>(n_), Bands{});
    share_.assign(static_cast<std::size_t>(n_), {});
    explained_.assign(static_cast<std::size_t>(n_), Bands{});
    for (std::size_t b = 0; b < kNumBands; ++b) {
      if (edges_[b] < edges_[b + 1]) FitBand(b);
    }
    TakeOutCommonGain();
    TakeOutDrift();
    Weigh();
    LogLikelihoodTable table = Likelihoods(nullptr);
    for (int pass = 1; pass < kCancelPasses && x_.num_phases > 1; ++pass) table = Likelihoods(&table);
    return table;
  }

 private:
  std::vector<Bands> MeanOfVariants() const {
    std::vector<Bands> mean(static_cast<std::size_t>(n_), Bands{});
    for (const auto& variant : shift_db_) {
      for (std::size_t u = 0; u < mean.size(); ++u) {
        for (std::size_t b = 0; b < kNumBands; ++b) mean[u][b] += variant[u][b] / static_cast<float>(shift_db_.size());
      }
    }
    return mean;
  }

  // Fits one band's filter and floor; leaves residual_db_ and the share of the prediction that each tap carries.
  void FitBand(std::size_t b) {
    const auto n = static_cast<std::size_t>(n_);
    std::vector<float> levels;
    float most = 0;
    for (std::size_t u = 0; u < n; ++u) {
      if (present_[u] == 0) continue;
      levels.push_back(clip_[u][b]);
      most = std::max(most, clip_[u][b]);
    }
    if (levels.size() < kColumns) return;
    const auto low = levels.begin() + static_cast<std::ptrdiff_t>(levels.size() / 20);
    std::nth_element(levels.begin(), low, levels.end());
    const double floor = *low + 1e-9;
    std::vector<double> weight(n);
    for (std::size_t u = 0; u < n; ++u) weight[u] = 1 / (clip_[u][b] + 1e-6 * most + 1e-9);
    std::array<double, kColumns> x{};
    std::vector<double> predicted(n);
    for (int pass = 0; pass < kRobustPasses; ++pass) {
      std::array<std::array<double, kColumns>, kColumns> gram{};
      std::array<double, kColumns> cross{};
      std::array<double, kColumns> row{};
      for (std::size_t u = 0; u < n; ++u) {
        if (present_[u] == 0) continue;
        FillRow(b, u, floor, row);
        const double w = weight[u] * weight[u];
        for (std::size_t i = 0; i < kColumns; ++i) {
          cross[i] += w * row[i] * clip_[u][b];
          for (std::size_t j = 0; j <= i; ++j) gram[i][j] += w * row[i] * row[j];
        }
      }
      for (std::size_t i = 0; i < kColumns; ++i) {
        for (std::size_t j = i + 1; j < kColumns; ++j) gram[i][j] = gram[j][i];
      }
      SolveNonNegative(gram, cross, x);
      for (std::size_t u = 0; u < n; ++u) {
        FillRow(b, u, floor, row);
        predicted[u] = 1e-12;
        for (std::size_t i = 0; i < kColumns; ++i) predicted[u] += row[i] * x[i];
        weight[u] = 1 / predicted[u] / (1 + std::abs(Db(static_cast<float>((clip_[u][b] + 1e-12) / predicted[u]))) / 2);
      }
    }
    for (std::size_t u = 0; u < n; ++u) {
      std::array<double, kColumns> row{};
      FillRow(b, u, floor, row);
      residual_db_[u][b] = present_[u] != 0 ? Db(static_cast<float>(clip_[u][b] / predicted[u])) : 0.0F;
      for (std::size_t l = 0; l < kTaps; ++l) {
        share_[u][l][b] = static_cast<float>(row[l] * x[l] / predicted[u]);
        explained_[u][b] += share_[u][l][b];
      }
    }
  }

  void FillRow(std::size_t b, std::size_t u, double floor, std::array<double, kColumns>& row) const {
    for (std::size_t l = 0; l < kTaps; ++l) row[l] = u >= l ? mean_[u - l][b] : 0.0;
    row[kTaps] = floor;
  }

  // The gain that all bands of a unit share, as a robust weighted mean. Where the mark itself is such a gain, only what changes slowly is taken out.
  void TakeOutCommonGain() {
    std::vector<float> common(residual_db_.size());
    for (std::size_t u = 0; u < common.size(); ++u) common[u] = CommonGain(u);
    for (int u = 0; u < n_; ++u) {
      const auto i = static_cast<std::size_t>(u);
      const float gain = MovesAllBands(i) ? MeanAround(common, u) : common[i];
      for (float& r : residual_db_[i]) r -= gain;
    }
  }

  float CommonGain(std::size_t u) const {
    float common = 0;
    for (int pass = 0; pass < 3; ++pass) {
      float sum = 0;
      float total = 1e-9F;
      for (std::size_t b = 0; b < kNumBands; ++b) {
        const float w = explained_[u][b] / (1 + std::abs(residual_db_[u][b] - common) / 1.5F);
        sum += w * residual_db_[u][b];
        total += w;
      }
      common = sum / total;
    }
    return common;
  }

  bool MovesAllBands(std::size_t u) const {
    if (x_.num_phases == 1) return false;
    float shared = 0;
    float all = 1e-9F;
    for (const auto& variant : shift_db_) {
      float sum = 0;
      float weights = 1e-9F;
      for (std::size_t b = 0; b < kNumBands; ++b) {
        sum += explained_[u][b] * variant[u][b];
        weights += explained_[u][b];
        all += explained_[u][b] * variant[u][b] * variant[u][b];
      }
      shared += sum * sum / weights;
    }
    return shared > kSharedGain * all;
  }

  float MeanAround(const std::vector<float>& values, int u) const {
    float sum = 0;
    float count = 1e-9F;
    for (int v = std::max(0, u - kGainHalfUnits); v <= std::min(n_ - 1, u + kGainHalfUnits); ++v) {
      if (present_[static_cast<std::size_t>(v)] == 0) continue;
      sum += values[static_cast<std::size_t>(v)];
      count += 1;
    }
    return sum / count;
  }

  void TakeOutDrift() {
    const auto original = residual_db_;
    for (std::size_t b = 0; b < kNumBands; ++b) {
      for (int u = 0; u < n_; ++u) {
        const int low = std::max(0, u - kDriftHalfUnits);
        const int high = std::min(n_ - 1, u + kDriftHalfUnits);
        float sum = 0;
        float count = 1e-9F;
        for (int v = low; v <= high; ++v) {
          if (present_[static_cast<std::size_t>(v)] == 0) continue;
          sum += std::clamp(original[static_cast<std::size_t>(v)][b], -3.0F, 3.0F);
          count += 1;
        }
        residual_db_[static_cast<std::size_t>(u)][b] -= sum / count;
      }
    }
  }

  void Weigh() {
    Bands band_scale{};
    std::vector<float> values;
    for (std::size_t b = 0; b < kNumBands; ++b) {
      values.clear();
      for (std::size_t u = 0; u < residual_db_.size(); ++u) {
        if (present_[u] != 0) values.push_back(std::abs(residual_db_[u][b]));
      }
      band_scale[b] = MedianOf(values);
    }
    weight_.assign(residual_db_.size(), Bands{});
    for (std::size_t u = 0; u < residual_db_.size(); ++u) {
      values.assign(residual_db_[u].begin(), residual_db_[u].end());
      for (float& v : values) v = std::abs(v);
      const float unit_scale = MedianOf(values);
      for (std::size_t b = 0; b < kNumBands; ++b) {
        const float unexplained = 1 - explained_[u][b];
        const float variance =
            0.03F + 1.1F * band_scale[b] * band_scale[b] + 1.1F * unit_scale * unit_scale + 4 * unexplained * unexplained;
        weight_[u][b] = present_[u] != 0 && explained_[u][b] > 0 ? 1 / variance : 0.0F;
        residual_db_[u][b] = std::clamp(residual_db_[u][b], -4.0F, 4.0F);
      }
    }
  }

  // [phase][unit][band]: by how much the symbols are expected to move the source's level, by what is known of them.
  std::vector<std::vector<Bands>> ExpectedShifts(const LogLikelihoodTable& known) const {
    const auto q = static_cast<std::size_t>(x_.num_variants());
    std::vector<std::vector<Bands>> expected(static_cast<std::size_t>(x_.num_phases),
                                             std::vector<Bands>(static_cast<std::size_t>(n_), Bands{}));
    for (std::size_t phase = 0; phase < expected.size(); ++phase) {
      for (int u = 0; u < n_; ++u) {
        const int symbol = x_.SymbolInPhase(u * kFramesPerPacket, static_cast<int>(phase));
        if (symbol < 0) continue;
        const auto& likelihood = known[static_cast<std::size_t>(symbol)];
        const float top = *std::max_element(likelihood.begin(), likelihood.begin() + static_cast<std::ptrdiff_t>(q));
        float total = 0;
        for (std::size_t k = 0; k < q; ++k) total += std::exp(likelihood[k] - top);
        for (std::size_t k = 0; k < q; ++k) {
          const float p = std::exp(likelihood[k] - top) / total;
          for (std::size_t b = 0; b < kNumBands; ++b)
            expected[phase][static_cast<std::size_t>(u)][b] += p * shift_db_[phase * q + k][static_cast<std::size_t>(u)][b];
        }
      }
    }
    return expected;
  }

  // The residual that is left when all expected shifts are taken out.
  std::vector<Bands> WithoutShifts(const std::vector<std::vector<Bands>>& expected) const {
    auto rest = residual_db_;
    for (std::size_t at = 0; at < rest.size(); ++at) {
      for (std::size_t l = 0; l < kTaps && l <= at; ++l) {
        for (const auto& phase : expected) {
          for (std::size_t b = 0; b < kNumBands; ++b) rest[at][b] -= share_[at][l][b] * phase[at - l][b];
        }
      }
    }
    return rest;
  }

  // `known`: likelihoods of a pass before, with which the shifts of other phases' symbols are taken out.
  LogLikelihoodTable Likelihoods(const LogLikelihoodTable* known) const {
    LogLikelihoodTable table(static_cast<std::size_t>(x_.num_symbols()));
    for (auto& row : table) row.fill(0);
    const auto q = static_cast<std::size_t>(x_.num_variants());
    const bool cancel = known != nullptr;
    const auto expected = cancel ? ExpectedShifts(*known) : std::vector<std::vector<Bands>>();
    const auto rest = cancel ? WithoutShifts(expected) : residual_db_;
    for (std::size_t phase = 0; phase < static_cast<std::size_t>(x_.num_phases); ++phase) {
      for (int u = 0; u < n_; ++u) {
        const int symbol = x_.SymbolInPhase(u * kFramesPerPacket, static_cast<int>(phase));
        if (symbol < 0) continue;
        auto& row = table[static_cast<std::size_t>(symbol)];
        // The sound of unit u appears, through tap l, in unit u + l: a matched filter over the taps.
        for (int l = 0; l < kTaps && u + l < n_; ++l) {
          const auto at = static_cast<std::size_t>(u + l);
          const Bands& share = share_[at][static_cast<std::size_t>(l)];
          Bands residual = rest[at];
          if (cancel) {
            for (std::size_t b = 0; b < kNumBands; ++b) residual[b] += share[b] * expected[phase][static_cast<std::size_t>(u)][b];
          }
          for (std::size_t k = 0; k < q; ++k) {
            const Bands& shift = shift_db_[phase * q + k][static_cast<std::size_t>(u)];
            float sum = 0;
            for (std::size_t b = 0; b < kNumBands; ++b) {
              const float moved = share[b] * shift[b];
              sum += (residual[b] * moved - 0.5F * moved * moved) * weight_[at][b];
            }
            row[k] += kTemperature * sum;
          }
        }
      }
    }
    return table;
  }

  const ReadingSpectra& x_;
  int n_;
  std::array<int, kNumBands + 1> edges_;         // bins
  std::vector<Bands> clip_;                      // [unit][band] power
  std::vector<Bands> mean_;                      // power of the source, or the variants' mean
  std::vector<std::vector<Bands>> shift_db_;     // [phase · num_variants + variant][unit][band]
  std::vector<std::uint8_t> present_;            // [unit]
  std::vector<Bands> residual_db_;               // clip over prediction
  std::vector<std::array<Bands, kTaps>> share_;  // [unit][tap][band] of the prediction
  std::vector<Bands> explained_;                 // sum of the shares: what is not noise floor
  std::vector<Bands> weight_;
};

}  // namespace

LogLikelihoodTable ReadEnvelope(const ReadingSpectra& spectra) { return Reading(spectra).Run(); }

}  // namespace earmark
