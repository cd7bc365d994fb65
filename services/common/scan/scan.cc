#include "services/common/scan/scan.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "dsp/core/resample.h"
#include "services/common/scan/catalog.h"
#include "services/common/scan/hypotheses.h"
#include "services/common/scan/probe_plan.h"
#include "services/common/scan/readings.h"
#include "services/common/scan/reference_reader.h"
#include "services/common/scan/scan_context.h"

namespace earmark {
namespace {

std::string CountText(int count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

// Something must be there to search; how long the longest signal is.
Result<double> CheckClip(const ClipSignals& clip) {
  double seconds = 0;
  bool has_sound = false;
  for (std::size_t i = 0; i < clip.signals.size() && !has_sound; ++i) {
    const auto samples = clip.samples(i);
    if (!samples) return Pass(samples);
    seconds = std::max(seconds, static_cast<double>(samples->size()) / kDetectRateHz);
    has_sound = ProbePlan(*samples, clip.release_memory).Next().has_value();
    if (clip.release_memory) clip.release_memory();
  }
  if (seconds < ProbePlan::kMinProbeS) {
    char text[120];
    std::snprintf(text, sizeof text,
                  "the clip is too short to search: %.2f s; a second is the least, and two are wanted to name anybody", seconds);
    return Fail(ErrorCode::kInvalidArgument, text);
  }
  if (!has_sound)
    return Fail(ErrorCode::kInvalidArgument,
                "the clip is silent, or not a number throughout: there is nothing in it to search for");
  return seconds;
}

// What of the store was not searched.
std::string NotSearched(const Catalog& catalog, const MasterKey& master) {
  return CountText(catalog.num_under_other_key, "stream is", "streams are") +
         " sealed under another master key than the one given (" + master.id + ")";
}

Result<void> CheckCatalog(const Catalog& catalog, const MasterKey& master) {
  if (!catalog.sources.empty()) return {};
  if (catalog.num_under_other_key > 0)
    return Fail(ErrorCode::kFailedPrecondition, "there is no stream that could be searched: " + NotSearched(catalog, master));
  return Fail(ErrorCode::kFailedPrecondition, "there is no stream that could be searched: the store holds no sound yet");
}

// Where the clip may be from was found, but not a single piece of sound to compare it with: that must not end as "unknown".
Result<void> CheckReferences(const ReferenceReader& references) {
  if (!references.is_all_damaged()) return {};
  std::string notes;
  for (const std::string& note : references.notes()) notes += note + "; ";
  return Fail(ErrorCode::kFailedPrecondition, "the clip cannot be compared with what is stored: " + notes +
                                                  "give the key that it was sealed with, or restore the store from a backup");
}

}  // namespace

Result<ScanReport> ScanClip(Store& store, const MasterKey& master, const ClipSignals& clip, const ScanOptions& options,
                            const Progress& progress) {
  FingerprintCatalog catalog(master, options.stream);
  return ScanClip(store, master, catalog, clip, options, progress);
}

Result<ScanReport> ScanClip(Store& store, const MasterKey& master, FingerprintCatalog& streams, const ClipSignals& clip,
                            const ScanOptions& options, const Progress& progress) {
  if (!(options.max_false_accusation > 0 && options.max_false_accusation < 1)) {
    char text[100];
    std::snprintf(text, sizeof text, "max false accusation: wanted a probability above 0 and below 1, got %g",
                  options.max_false_accusation);
    return Fail(ErrorCode::kInvalidArgument, text);
  }
  ScanContext context(progress);
  if (auto reported = context.Report("searching", 0); !reported) return Pass(reported);
  const auto seconds = CheckClip(clip);
  if (!seconds) return Pass(seconds);
  const auto catalog = streams.Refresh(store, context);
  if (!catalog) return Pass(catalog);
  if (auto checked = CheckCatalog(**catalog, master); !checked) return Pass(checked);
  ReferenceReader references(store, *catalog, context);
  auto hypotheses = FindHypotheses(clip, **catalog, references, context);
  if (!hypotheses) return Pass(hypotheses);
  if (auto checked = CheckReferences(references); !checked) return Pass(checked);
  auto readings = ReadHypotheses(clip, std::move(*hypotheses), **catalog, references, context);
  if (!readings) return Pass(readings);
  auto scores = ScoreReadings(store, master, readings->of, options.max_false_accusation, context);
  if (!scores) return Pass(scores);
  ScanReport report = MakeReport(clip, *seconds, **catalog, readings->of, std::move(*scores), options.max_false_accusation);
  if (const int others = (*catalog)->num_under_other_key; others > 0) {
    report.notes.push_back("not searched: " + std::to_string(others) + " of " +
                           std::to_string(others + (*catalog)->num_streams()) + " streams; " + NotSearched(**catalog, master));
  }
  for (auto& note : references.notes()) report.notes.push_back(std::move(note));
  for (auto& note : readings->notes) report.notes.push_back(std::move(note));
  return report;
}

Result<ScanReport> ScanClip(Store& store, const MasterKey& master, std::span<const float> clip, const ScanOptions& options,
                            const Progress& progress) {
  return ScanClip(store, master, OneSignal(clip), options, progress);
}

}  // namespace earmark
