// What a scan has found out, for people and programs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dsp/search/aligner.h"
#include "services/common/scan/clip_signals.h"
#include "services/common/scan/scoring.h"

namespace earmark {

enum class Verdict { kAccused, kNoAccusation, kUnknownAudio };
const char* VerdictName(Verdict verdict);  // accused, no_accusation, unknown_audio

struct StreamAlignment {
  std::string stream;
  int source = 0;  // which speaker
  Alignment alignment;
  DecodedClip::Signal heard_in;  // of the clip: which track, and what of its channels
};

struct ScanReport {
  Verdict verdict = Verdict::kUnknownAudio;
  std::vector<Accusation> accusations;  // strongest first
  std::vector<StreamAlignment> alignments;
  std::int64_t candidates = 0;  // accounts with a grant at the time, of all streams found
  // candidates, each as often as the stream repeats the same sound: log10_bound is log10_p + log10(trials), and 0.004 more where
  // stretches are scored apart
  std::int64_t trials = 0;
  std::int64_t num_scored = 0;  // streams in which anybody was scored
  std::int64_t symbols_used = 0;
  // of such a clip in all, for an accusation; only where there is none and more would help
  std::optional<double> seconds_needed;
  int num_tracks = 1;              // of the clip
  std::vector<std::string> notes;  // for people: streams under another key, and the like
};

// From what was read and scored. `clip_s`: how long the clip is.
ScanReport MakeReport(const ClipSignals& clip, double clip_s, const Catalog& catalog,
                      const std::vector<HypothesisReading>& readings, Scores scores, double max_false_accusation);

// The report as the JSON object of `scan --json`.
std::string ToJson(const ScanReport& report);

}  // namespace earmark
