#include "services/common/scan/readings.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "dsp/reading/symbol_reader.h"

namespace earmark {
namespace {

HypothesisReading Outline(Hypothesis hypothesis, const Catalog& catalog) {
  auto& pieces = hypothesis.pieces;
  std::sort(pieces.begin(), pieces.end(), [](const SourcePiece& a, const SourcePiece& b) { return a.alignment.clip_start_s < b.alignment.clip_start_s; });
  HypothesisReading reading;
  reading.stream = catalog.At(pieces.front().source).stream.id;
  reading.from_stream_s = pieces.front().alignment.stream_start_s;
  // Speakers who talk at once share the clip's seconds.
  for (const auto& [source, piece] : pieces) {
    reading.from_stream_s = std::min(reading.from_stream_s, piece.stream_start_s);
    reading.to_stream_s = std::max(reading.to_stream_s, piece.stream_end_s());
    reading.clip_seconds += std::max(0.0, piece.clip_end_s - std::max(reading.clip_end_s, piece.clip_start_s));
    reading.clip_end_s = std::max(reading.clip_end_s, piece.clip_end_s);
  }
  reading.hypothesis = std::move(hypothesis);
  return reading;
}

// Every source of a stream carries the same symbols.
Result<SymbolLikelihoods> ReadSources(std::span<const float> clip, const Hypothesis& hypothesis, const Catalog& catalog, ReferenceReader& references) {
  std::map<int, std::vector<Alignment>> by_source;
  for (const auto& [source, piece] : hypothesis.pieces) by_source[source].push_back(piece);
  std::map<std::int64_t, std::array<float, kMaxVariants>> sums;
  SymbolLikelihoods likelihoods;
  for (const auto& [source, alignments] : by_source) {
    const StreamFormat& format = catalog.At(source).stream.format;
    likelihoods.num_variants = format.num_variants;
    auto read = ReadSymbols(format, clip, alignments, [&](std::int64_t first, std::int64_t end) {
      return references.Decode(source, first, end, format.num_variants);
    });
    if (!read) return Pass(read);
    for (const SymbolLikelihood& symbol : read->symbols) {
      auto& sum = sums[symbol.symbol];
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += symbol.log_likelihood[k];
    }
  }
  for (const auto& [symbol, sum] : sums) likelihoods.symbols.push_back({.symbol = symbol, .log_likelihood = sum});
  return likelihoods;
}

}  // namespace

Result<Readings> ReadHypotheses(std::span<const float> clip, std::vector<Hypothesis> hypotheses, const Catalog& catalog, ReferenceReader& references,
                                ScanContext& context) {
  Readings readings;
  for (std::size_t h = 0; h < hypotheses.size(); ++h) {
    if (auto reported = context.Report("reading", static_cast<double>(h) / static_cast<double>(hypotheses.size())); !reported) return Pass(reported);
    HypothesisReading reading = Outline(std::move(hypotheses[h]), catalog);
    auto likelihoods = ReadSources(clip, reading.hypothesis, catalog, references);
    if (!likelihoods && likelihoods.error().code == ErrorCode::kDataLoss) {
      readings.notes.push_back("stream '" + reading.stream + "' could not be read: " + likelihoods.error().message);
      continue;
    }
    if (!likelihoods) return Pass(likelihoods);
    reading.likelihoods = std::move(*likelihoods);
    readings.of.push_back(std::move(reading));
  }
  return readings;
}

}  // namespace earmark
