// Scores of many accounts' trace codes. This is where codes come into a scan, and the only place.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/advance.h"
#include "dsp/core/result.h"
#include "dsp/core/secret.h"
#include "dsp/scoring/score.h"
#include "dsp/tracing/code_key.h"

namespace earmark {

// The accounts of one stream. Their keys are derived once, however many tables they are scored by; 32 bytes an account. Thread-safe.
class AccountScorer {
 public:
  AccountScorer(const CodeKey& code_key, std::span<const std::string> accounts);

  // In the accounts' order. Works through the symbols two kilobytes of keystream at a time, all accounts for each, so that look-ups stay in the processor's caches.
  // Beside the scores it allocates 4 kB for every keystream block that the table has symbols in. Steps: as MakeScoreTable gives them (MakeCodeScores has the limit).
  // kCancelled: `advance` has said so, which is asked every few milliseconds.
  Result<std::vector<std::int32_t>> Score(const ScoreTable& table, const Advance& advance = {}) const;

 private:
  std::vector<Key> keys_;
};

}  // namespace earmark
