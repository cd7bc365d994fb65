// Scores of accounts against finished readings. Here codes come in, and nothing that was read is changed any more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/core/result.h"
#include "dsp/media/key_file.h"
#include "services/common/scan/readings.h"
#include "services/common/scan/scan_context.h"

namespace earmark {

struct Accusation {
  std::string account;
  std::string stream;
  double log10_p = 0;       // chance that one given innocent account scores so high
  double log10_bound = 0;   // … that any innocent does, among all candidates, alignments and stretches tried
  double score = 0;         // natural-log units
  double clip_start_s = 0;  // where in the clip this account's copy is heard
  double clip_end_s = 0;
};

// What scoring one reading gave.
struct ScoredReading {
  std::int64_t candidates = 0;  // accounts with a grant at some time of the stretch
  std::int64_t symbols = 0;     // that tell something
  bool accuses = false;
  double expected_log10_p = 0;  // of whoever leaked it, by what was read
};

struct Scores {
  std::vector<ScoredReading> of;        // [reading]
  std::vector<Accusation> accusations;  // strongest first, each account once in a stream
  std::int64_t trials = 0;              // scores of all of the clip that are compared: candidates of all readings
};

// Accuses whoever scores so high that the chance of any innocent doing so, over all trials, is at most `max_false_accusation`. kCancelled; errors of the store.
Result<Scores> ScoreReadings(Store& store, const MasterKey& master, const std::vector<HypothesisReading>& readings,
                             double max_false_accusation, ScanContext& context);

}  // namespace earmark
