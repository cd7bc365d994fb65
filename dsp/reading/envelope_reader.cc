#include "dsp/reading/envelope_reader.h"

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "dsp/marking/carrier.h"
#include "dsp/opus/celt_tables.h"
#include "dsp/reading/grid.h"

namespace earmark {
namespace {

constexpr std::size_t kTaps = 16;
constexpr std::size_t kColumns = kTaps + 1;  // and the noise floor
constexpr int kRobustPasses = 3;
constexpr std::size_t kDriftHalfUnits = 30;  // slow drift of a band's level is taken out over 61 units
constexpr std::size_t kGainHalfUnits = 12;   // a gain that the mark moves is followed over half a second alone
constexpr float kSharedGain = 0.3F;          // of the shifts' power, from which on the mark is such a gain
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
std::array<std::size_t, kNumBands + 1> EdgeBins(ReferenceKind kind) {
  constexpr std::size_t kBinHz = 50;
  const auto edges_hz = EdgesHz(kind);
  std::array<std::size_t, kNumBands + 1> edges{};
  for (std::size_t b = 0; b < edges.size(); ++b) {
    const std::size_t bin = (static_cast<std::size_t>(edges_hz[b]) + kBinHz / 2) / kBinHz;
    edges[b] = std::clamp(bin, kFirstReadBin, kFirstReadBin + kReadBins) - kFirstReadBin;
  }
  return edges;
}

// [unit][band] power of a signal given as the sum of two spectrograms (the second may be null).
std::vector<Bands> Powers(const std::array<std::size_t, kNumBands + 1>& edges, const Spectrogram& a, const Spectrogram* b,
                          std::size_t num_units) {
  const std::size_t num_frames = num_units * kFramesPerPacket;
  std::vector<Bands> powers(num_units);
  std::vector<float> of_frame(num_frames);
  for (std::size_t band = 0; band < kNumBands; ++band) {
    std::fill(of_frame.begin(), of_frame.end(), 0.0F);
    for (std::size_t bin = edges[band]; bin < edges[band + 1]; ++bin) {
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

using Gram = Eigen::Matrix<double, kColumns, kColumns>;
using Column = Eigen::Matrix<double, kColumns, 1>;

// min |A x - y|² with x >= 0, given the Gram matrix and A'y: cyclic coordinate descent, which converges for any such problem.
void SolveNonNegative(const Gram& gram, const Column& cross, Column& x) {
  for (int sweep = 0; sweep < 200; ++sweep) {
    double moved = 0;
    for (Eigen::Index i = 0; i < x.size(); ++i) {
      if (!(gram(i, i) > 0)) continue;
      const double next = std::max(0.0, x(i) - (gram.col(i).dot(x) - cross(i)) / gram(i, i));
      moved += std::abs(next - x(i)) * std::sqrt(gram(i, i));
      x(i) = next;
    }
    if (moved < 1e-7) break;
  }
}

class EnvelopeReading {
 public:
  explicit EnvelopeReading(const ReadingSpectra& spectra)
      : x_(spectra),
        n_(spectra.num_frames() / kFramesPerPacket),
        q_(spectra.num_variants()),
        edges_(EdgeBins(spectra.format.kind)),
        clip_(Powers(edges_, spectra.clip, nullptr, n_)) {
    for (const Spectrogram& deviation : x_.deviations) shift_db_.push_back(Powers(edges_, x_.mean, &deviation, n_));
    mean_ = x_.num_phases > 1 ? Powers(edges_, x_.mean, nullptr, n_) : MeanOfVariants();
    for (auto& variant : shift_db_) {
      for (std::size_t u = 0; u < mean_.size(); ++u) {
        for (std::size_t b = 0; b < kNumBands; ++b) variant[u][b] = Db(variant[u][b] / mean_[u][b]);
      }
    }
    for (std::size_t frame = 0; frame < n_ * kFramesPerPacket; frame += kFramesPerPacket)
      present_.push_back(x_.present[frame] != 0 && x_.present[frame + 1] != 0 ? 1 : 0);
  }

  LogLikelihoodTable Run() {
    residual_db_.assign(n_, Bands{});
    share_.assign(n_, {});
    explained_.assign(n_, Bands{});
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
    std::vector<Bands> mean(n_, Bands{});
    for (const auto& variant : shift_db_) {
      for (std::size_t u = 0; u < mean.size(); ++u) {
        for (std::size_t b = 0; b < kNumBands; ++b) mean[u][b] += variant[u][b] / static_cast<float>(shift_db_.size());
      }
    }
    return mean;
  }

  // One band's filter and floor; leaves residual_db_ and the share of the prediction that each tap carries.
  void FitBand(std::size_t b) {
    std::vector<float> levels;
    for (std::size_t u = 0; u < n_; ++u) {
      if (present_[u] != 0) levels.push_back(clip_[u][b]);
    }
    if (levels.size() < kColumns) return;
    const float max = *std::max_element(levels.begin(), levels.end());
    const auto low = levels.begin() + static_cast<std::ptrdiff_t>(levels.size() / 20);
    std::nth_element(levels.begin(), low, levels.end());
    const double floor = *low + 1e-9;

    std::vector<double> weight(n_);
    for (std::size_t u = 0; u < n_; ++u) weight[u] = 1 / (clip_[u][b] + 1e-6 * max + 1e-9);
    Column x = Column::Zero();
    std::vector<double> predicted(n_);
    for (int pass = 0; pass < kRobustPasses; ++pass) {
      FitFilter(b, floor, weight, x);
      for (std::size_t u = 0; u < n_; ++u) {
        predicted[u] = 1e-12 + RowOf(b, u, floor).dot(x);
        weight[u] = 1 / predicted[u] / (1 + std::abs(Db(static_cast<float>((clip_[u][b] + 1e-12) / predicted[u]))) / 2);
      }
    }
    for (std::size_t u = 0; u < n_; ++u) {
      residual_db_[u][b] = present_[u] != 0 ? Db(static_cast<float>(clip_[u][b] / predicted[u])) : 0.0F;
      const Column shares = RowOf(b, u, floor).cwiseProduct(x) / predicted[u];
      for (std::size_t l = 0; l < kTaps; ++l) {
        share_[u][l][b] = static_cast<float>(shares(static_cast<Eigen::Index>(l)));
        explained_[u][b] += share_[u][l][b];
      }
    }
  }

  // Weighted least squares over the units that are there; `x` is where it starts and what it finds.
  void FitFilter(std::size_t b, double floor, std::span<const double> weight, Column& x) const {
    Gram gram = Gram::Zero();
    Column cross = Column::Zero();
    for (std::size_t u = 0; u < n_; ++u) {
      if (present_[u] == 0) continue;
      const Column row = RowOf(b, u, floor);
      const double w = weight[u] * weight[u];
      gram.selfadjointView<Eigen::Lower>().rankUpdate(row, w);
      cross += w * clip_[u][b] * row;
    }
    SolveNonNegative(gram.selfadjointView<Eigen::Lower>(), cross, x);
  }

  // What the filter's taps and the floor multiply in unit u.
  Column RowOf(std::size_t b, std::size_t u, double floor) const {
    Column row = Column::Zero();
    for (std::size_t l = 0; l < kTaps && l <= u; ++l) row(static_cast<Eigen::Index>(l)) = mean_[u - l][b];
    row(kTaps) = floor;
    return row;
  }

  // The gain that all bands of a unit share, as a robust weighted mean. Where the mark itself is such a gain, only what changes slowly is taken out.
  void TakeOutCommonGain() {
    std::vector<float> common(residual_db_.size());
    for (std::size_t u = 0; u < common.size(); ++u) common[u] = CommonGain(u);
    for (std::size_t u = 0; u < n_; ++u) {
      const float gain = MovesAllBands(u) ? MeanAround(common, u) : common[u];
      for (float& r : residual_db_[u]) r -= gain;
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

  float MeanAround(const std::vector<float>& values, std::size_t u) const {
    const auto [first, end] = Around(u, kGainHalfUnits, n_);
    float sum = 0;
    float count = 1e-9F;
    for (std::size_t v = first; v < end; ++v) {
      if (present_[v] == 0) continue;
      sum += values[v];
      count += 1;
    }
    return sum / count;
  }

  void TakeOutDrift() {
    const auto original = residual_db_;
    for (std::size_t b = 0; b < kNumBands; ++b) {
      for (std::size_t u = 0; u < n_; ++u) {
        const auto [first, end] = Around(u, kDriftHalfUnits, n_);
        float sum = 0;
        float count = 1e-9F;
        for (std::size_t v = first; v < end; ++v) {
          if (present_[v] == 0) continue;
          sum += std::clamp(original[v][b], -3.0F, 3.0F);
          count += 1;
        }
        residual_db_[u][b] -= sum / count;
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
    std::vector<std::vector<Bands>> expected(x_.num_phases, std::vector<Bands>(n_, Bands{}));
    for (std::size_t phase = 0; phase < expected.size(); ++phase) {
      for (std::size_t u = 0; u < n_; ++u) {
        const auto symbol = x_.SymbolInPhase(u * kFramesPerPacket, phase);
        if (!symbol) continue;
        const auto& likelihood = known[*symbol];
        const float top = *std::max_element(likelihood.begin(), likelihood.begin() + static_cast<std::ptrdiff_t>(q_));
        float total = 0;
        for (std::size_t k = 0; k < q_; ++k) total += std::exp(likelihood[k] - top);
        for (std::size_t k = 0; k < q_; ++k) {
          const float p = std::exp(likelihood[k] - top) / total;
          for (std::size_t b = 0; b < kNumBands; ++b) expected[phase][u][b] += p * shift_db_[phase * q_ + k][u][b];
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
    const auto expected = known != nullptr ? ExpectedShifts(*known) : std::vector<std::vector<Bands>>();
    const auto rest = known != nullptr ? WithoutShifts(expected) : residual_db_;
    LogLikelihoodTable table(x_.num_symbols());
    for (auto& row : table) row.fill(0);
    for (std::size_t phase = 0; phase < x_.num_phases; ++phase) {
      for (std::size_t u = 0; u < n_; ++u) {
        const auto symbol = x_.SymbolInPhase(u * kFramesPerPacket, phase);
        if (symbol) AddUnit(rest, known != nullptr ? expected[phase][u] : Bands{}, phase, u, table[*symbol]);
      }
    }
    return table;
  }

  // The sound of unit u appears, through tap l, in unit u + l: a matched filter over the taps. `own`: what this phase's own symbol was
  // expected to add, which `rest` lacks.
  void AddUnit(const std::vector<Bands>& rest, const Bands& own, std::size_t phase, std::size_t u,
               std::array<float, kMaxVariants>& likelihood) const {
    for (std::size_t l = 0; l < kTaps && u + l < n_; ++l) {
      const Bands& share = share_[u + l][l];
      Bands residual = rest[u + l];
      for (std::size_t b = 0; b < kNumBands; ++b) residual[b] += share[b] * own[b];
      for (std::size_t k = 0; k < q_; ++k) {
        const Bands& shift = shift_db_[phase * q_ + k][u];
        float sum = 0;
        for (std::size_t b = 0; b < kNumBands; ++b) {
          const float moved = share[b] * shift[b];
          sum += (residual[b] * moved - 0.5F * moved * moved) * weight_[u + l][b];
        }
        likelihood[k] += kTemperature * sum;
      }
    }
  }

  const ReadingSpectra& x_;
  std::size_t n_;                                 // units
  std::size_t q_;                                 // variants
  std::array<std::size_t, kNumBands + 1> edges_;  // bins
  std::vector<Bands> clip_;                       // [unit][band] power
  std::vector<Bands> mean_;                       // power of the source, or the variants' mean
  std::vector<std::vector<Bands>> shift_db_;      // [phase · num_variants + variant][unit][band]
  std::vector<std::uint8_t> present_;             // [unit]
  std::vector<Bands> residual_db_;                // clip over prediction
  std::vector<std::array<Bands, kTaps>> share_;   // [unit][tap][band] of the prediction
  std::vector<Bands> explained_;                  // sum of the shares: what is not noise floor
  std::vector<Bands> weight_;
};

}  // namespace

LogLikelihoodTable ReadEnvelope(const ReadingSpectra& spectra) { return EnvelopeReading(spectra).Run(); }

}  // namespace earmark
