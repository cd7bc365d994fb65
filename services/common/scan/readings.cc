#include "services/common/scan/readings.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "dsp/reading/symbol_reader.h"

namespace earmark {
namespace {

HypothesisReading Outline(Hypothesis hypothesis, const Catalog& catalog) {
  const auto& pieces = hypothesis.pieces;
  HypothesisReading reading;
  reading.stream = catalog.At(pieces.front().source).stream.id;
  reading.num_variants = catalog.At(pieces.front().source).stream.format.num_variants;
  reading.from_stream_s = pieces.front().alignment.stream_start_s;
  reading.clip.from_s = pieces.front().alignment.clip_start_s;
  // Speakers who talk at once share the clip's seconds.
  for (const SourcePiece& piece : pieces) {
    const Alignment& a = piece.alignment;
    reading.from_stream_s = std::min(reading.from_stream_s, a.stream_start_s);
    reading.to_stream_s = std::max(reading.to_stream_s, a.stream_end_s());
    reading.clip_seconds += std::max(0.0, a.clip_end_s - std::max(reading.clip.to_s, a.clip_start_s));
    reading.clip.to_s = std::max(reading.clip.to_s, a.clip_end_s);
  }
  reading.hypothesis = std::move(hypothesis);
  return reading;
}

// Pieces of one source and signal that share no stream time, and can be read at once: what plays twice in a clip is read twice.
struct Run {
  int source = 0;
  std::size_t signal = 0;
  std::vector<Alignment> pieces;  // by clip time
};

bool SharesStreamTime(const std::vector<Alignment>& pieces, const Alignment& next) {
  return std::any_of(pieces.begin(), pieces.end(), [&](const Alignment& a) {
    return a.stream_start_s < next.stream_end_s() - 1e-3 && next.stream_start_s < a.stream_end_s() - 1e-3;
  });
}

std::vector<Run> RunsOf(const Hypothesis& hypothesis) {
  std::vector<Run> runs;
  std::map<std::pair<int, std::size_t>, std::size_t> latest;  // [source, signal]: its run
  for (const SourcePiece& piece : hypothesis.pieces) {
    const auto [known, is_new] = latest.try_emplace({piece.source, piece.signal}, runs.size());
    if (!is_new && SharesStreamTime(runs[known->second].pieces, piece.alignment)) known->second = runs.size();
    if (known->second == runs.size()) runs.push_back({.source = piece.source, .signal = piece.signal, .pieces = {}});
    runs[known->second].pieces.push_back(piece.alignment);
  }
  return runs;
}

// Where in the clip a moment of the stream is heard, or would be from the piece that comes nearest to it.
double ClipTimeOf(const std::vector<Alignment>& pieces, double stream_s) {
  double nearest = std::numeric_limits<double>::infinity();
  double clip_s = 0;
  for (const Alignment& piece : pieces) {
    const double at_s = std::clamp(stream_s, piece.stream_start_s, piece.stream_end_s());
    if (std::abs(stream_s - at_s) >= nearest) continue;
    nearest = std::abs(stream_s - at_s);
    clip_s = piece.clip_start_s + (at_s - piece.stream_start_s) / piece.speed;
  }
  return clip_s;
}

// Every source of a stream carries the same symbols.
Result<void> ReadRuns(const ClipSignals& clip, const Catalog& catalog, ReferenceReader& references, HypothesisReading& reading) {
  for (const Run& run : RunsOf(reading.hypothesis)) {
    const auto samples = clip.samples(run.signal);
    if (!samples) return Pass(samples);
    const StreamFormat& format = catalog.At(run.source).stream.format;
    auto read = ReadSymbols(format, *samples, run.pieces, [&](std::int64_t first, std::int64_t end) {
      if (clip.release_memory) clip.release_memory();
      return references.Decode(run.source, first, end, format.num_variants);
    });
    if (!read) return Pass(read);
    const double symbol_s = static_cast<double>(format.packets_per_symbol) / kPacketsPerSecond;
    for (const SymbolLikelihood& symbol : read->symbols) {
      reading.symbols.push_back(
          {.clip_s = ClipTimeOf(run.pieces, (static_cast<double>(symbol.symbol) + 0.5) * symbol_s), .likelihood = symbol});
    }
  }
  std::stable_sort(reading.symbols.begin(), reading.symbols.end(),
                   [](const HeardSymbol& a, const HeardSymbol& b) { return a.clip_s < b.clip_s; });
  return {};
}

}  // namespace

SymbolLikelihoods HeardIn(const HypothesisReading& reading, const ClipStretch& stretch) {
  const auto first = std::lower_bound(reading.symbols.begin(), reading.symbols.end(), stretch.from_s,
                                      [](const HeardSymbol& s, double at_s) { return s.clip_s < at_s; });
  std::vector<SymbolLikelihood> heard;
  for (auto symbol = first; symbol != reading.symbols.end() && symbol->clip_s < stretch.to_s; ++symbol)
    heard.push_back(symbol->likelihood);
  std::stable_sort(heard.begin(), heard.end(),
                   [](const SymbolLikelihood& a, const SymbolLikelihood& b) { return a.symbol < b.symbol; });
  SymbolLikelihoods all{.num_variants = reading.num_variants, .symbols = {}};
  for (const SymbolLikelihood& symbol : heard) {
    if (all.symbols.empty() || all.symbols.back().symbol != symbol.symbol) {
      all.symbols.push_back(symbol);
      continue;
    }
    auto& sum = all.symbols.back().log_likelihood;
    for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += symbol.log_likelihood[k];
  }
  return all;
}

SymbolLikelihoods HeardInAll(const HypothesisReading& reading) {
  constexpr double kForever = std::numeric_limits<double>::infinity();
  return HeardIn(reading, {.from_s = -kForever, .to_s = kForever});
}

std::vector<ClipStretch> StretchesToScore(const HypothesisReading& reading, std::size_t max) {
  constexpr double kShortestS = 3;
  constexpr double kMaxOfAll = 0.75;
  const double from_s = reading.clip.from_s;
  const double all_s = reading.clip.to_s - from_s;
  std::vector<ClipStretch> stretches;
  double longest_s = kShortestS;
  while (2 * longest_s < kMaxOfAll * all_s) longest_s *= 2;
  for (double length_s = longest_s; length_s >= kShortestS && length_s < kMaxOfAll * all_s; length_s /= 2) {
    const auto steps = static_cast<std::size_t>(std::ceil((all_s - length_s) / (length_s / 2)));
    if (stretches.size() + steps + 1 > max) break;
    for (std::size_t i = 0; i <= steps; ++i) {
      const double start_s = from_s + std::min(static_cast<double>(i) * length_s / 2, all_s - length_s);
      stretches.push_back({.from_s = start_s, .to_s = start_s + length_s});
    }
  }
  return stretches;
}

Result<Readings> ReadHypotheses(const ClipSignals& clip, std::vector<Hypothesis> hypotheses, const Catalog& catalog,
                                ReferenceReader& references, ScanContext& context) {
  Readings readings;
  for (std::size_t h = 0; h < hypotheses.size(); ++h) {
    if (auto reported = context.Report("reading", static_cast<double>(h) / static_cast<double>(hypotheses.size())); !reported)
      return Pass(reported);
    HypothesisReading reading = Outline(std::move(hypotheses[h]), catalog);
    const auto read = ReadRuns(clip, catalog, references, reading);
    if (!read && read.error().code == ErrorCode::kDataLoss) {
      readings.notes.push_back("stream '" + reading.stream + "' could not be read: " + read.error().message);
      continue;
    }
    if (!read) return Pass(read);
    readings.of.push_back(std::move(reading));
  }
  return readings;
}

}  // namespace earmark
