// Scanning a suspect clip: which streams is it from, where, and whose copy is it?
//
//   search      fingerprints of all streams against the clip, a stretch at a time    → rough matches
//   align       waveforms decide which of them is real, and follow it through the clip → alignments
//   read        both readers, over every aligned stretch                              → symbol likelihoods
//   score       every account with a grant at that time                               → accusations with a proven bound
//
// Candidates' codes enter in the last step alone: dsp/search and dsp/reading take no code key (a test holds this).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/core/result.h"
#include "dsp/media/key_file.h"
#include "dsp/scoring/symbol_likelihoods.h"
#include "dsp/search/aligner.h"
#include "services/common/marking.h"

namespace earmark {

struct ScanOptions {
  std::optional<std::string> stream;  // search this stream alone
  double max_false_accusation = 1e-6;  // bound on accusing any innocent, over all candidates and alignments of the scan
};

enum class Verdict { kAccused, kNoAccusation, kUnknownAudio };
const char* VerdictName(Verdict verdict);  // accused, no_accusation, unknown_audio

struct StreamAlignment {
  std::string stream;
  int source = 0;  // which speaker's track
  Alignment alignment;
};

struct Accusation {
  std::string account;
  std::string stream;
  double log10_p = 0;      // chance that one given innocent account scores so high
  double log10_bound = 0;  // … that any innocent does, among all candidates and alignments tried
  double score = 0;        // natural-log units
  double clip_start_s = 0;
  double clip_end_s = 0;
};

struct ScanReport {
  Verdict verdict = Verdict::kUnknownAudio;
  std::vector<Accusation> accusations;  // strongest first
  std::vector<StreamAlignment> alignments;
  std::int64_t candidates = 0;  // accounts with a grant at the time, of all streams found
  std::int64_t trials = 0;      // scores compared: candidates, each as often as the stream repeats the same sound; log10_bound = log10_p + log10(trials)
  std::int64_t symbols_used = 0;
  std::optional<double> seconds_needed;  // of such audio in all, for an accusation; only where there is none and more would help
  std::vector<std::string> notes;        // for people: streams under another key, and the like
};

// `clip`: mono at kDetectRateHz. Deterministic for a given store. Errors are the store's; a clip that holds nothing known is a report.
Result<ScanReport> ScanClip(Store& store, const MasterKey& master, std::span<const float> clip, const ScanOptions& options,
                            const Progress& progress);

// The report as the JSON object of `scan --json`.
std::string ToJson(const ScanReport& report);

}  // namespace earmark
