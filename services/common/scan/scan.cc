#include "services/common/scan/scan.h"

#include <utility>

#include "services/common/scan/catalog.h"
#include "services/common/scan/hypotheses.h"
#include "services/common/scan/readings.h"
#include "services/common/scan/reference_reader.h"
#include "services/common/scan/scan_context.h"

namespace earmark {

Result<ScanReport> ScanClip(Store& store, const MasterKey& master, std::span<const float> clip, const ScanOptions& options,
                            const Progress& progress) {
  if (!(options.max_false_accusation > 0 && options.max_false_accusation < 1)) {
    return Fail(ErrorCode::kInvalidArgument, "max false accusation: wanted a probability between 0 and 1, got " + std::to_string(options.max_false_accusation));
  }
  ScanContext context(progress);
  if (auto reported = context.Report("searching", 0); !reported) return Pass(reported);
  auto catalog = LoadCatalog(store, master, options.stream, context);
  if (!catalog) return Pass(catalog);
  ReferenceReader references(store, *catalog);
  auto hypotheses = FindHypotheses(clip, **catalog, references, context);
  if (!hypotheses) return Pass(hypotheses);
  auto readings = ReadHypotheses(clip, std::move(*hypotheses), **catalog, references, context);
  if (!readings) return Pass(readings);
  auto scores = ScoreReadings(store, master, readings->of, options.max_false_accusation, context);
  if (!scores) return Pass(scores);
  ScanReport report = MakeReport(**catalog, readings->of, std::move(*scores), options.max_false_accusation);
  if (const int others = (*catalog)->num_under_other_key; others > 0) {
    report.notes.push_back(std::to_string(others) + (others == 1 ? " stream is" : " streams are") + " sealed under another master key than the one given (" +
                           master.id + ") and could not be searched");
  }
  for (auto& note : references.notes()) report.notes.push_back(std::move(note));
  for (auto& note : readings->notes) report.notes.push_back(std::move(note));
  return report;
}

}  // namespace earmark
