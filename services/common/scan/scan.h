// Scanning a suspect clip: which streams is it from, where, and whose copy is it?
//
//   catalog     all sources' fingerprints, and the keys to read them with              → what there is to search
//   hypotheses  fingerprints against the clip, a stretch at a time; waveforms decide which matches are real, and follow them through the clip
//                                                                                      → ways in which the clip could be part of a stream
//   readings    both readers, over every aligned stretch                               → symbol likelihoods
//   scoring     every account with a grant at that time                                → accusations with a proven bound
//   report      what people and programs are told
//
// Candidates' codes enter in scoring alone; all before it takes reading keys, and is in libraries that cannot compute a code (a test holds this).
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "db/store.h"
#include "dsp/core/result.h"
#include "dsp/media/key_file.h"
#include "services/common/progress.h"
#include "services/common/scan/catalog.h"
#include "services/common/scan/clip_signals.h"
#include "services/common/scan/report.h"

namespace earmark {

struct ScanOptions {
  std::optional<std::string> stream;   // search this stream alone
  double max_false_accusation = 1e-6;  // bound on accusing any innocent, over all candidates and alignments of the scan
};

// What may be kept as a finding, by which people are banned: a scan with a weaker bound is for looking only.
inline constexpr double kMaxKeptFalseAccusation = 0.01;

// Deterministic for a given store. A clip that holds nothing known is a report. What was not looked at is no report, nor part of one without a note: kInvalidArgument: the
// clip is silent, or too short; kFailedPrecondition: no stream of the store can be searched, or nothing of their sound be read. Other errors are the store's and the clip's signals'; kCancelled.
Result<ScanReport> ScanClip(Store& store, const MasterKey& master, const ClipSignals& clip, const ScanOptions& options,
                            const Progress& progress);
// The same against what a catalog of this key holds, for those that scan one clip after the other. `options.stream` must be the catalog's.
Result<ScanReport> ScanClip(Store& store, const MasterKey& master, FingerprintCatalog& catalog, const ClipSignals& clip,
                            const ScanOptions& options, const Progress& progress);
// `clip`: mono at kDetectRateHz.
Result<ScanReport> ScanClip(Store& store, const MasterKey& master, std::span<const float> clip, const ScanOptions& options,
                            const Progress& progress);

}  // namespace earmark
