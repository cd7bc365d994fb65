// What reading a hypothesis yields: how likely each variant is, symbol by symbol. Takes reading keys alone: nothing here can know anybody's code.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/reading/symbol_likelihoods.h"
#include "services/common/scan/hypotheses.h"

namespace earmark {

// One symbol at one place of the clip. A clip may hold the same symbol at several, and not of the same account's copy.
struct HeardSymbol {
  double clip_s = 0;  // its middle
  SymbolLikelihood likelihood;
};

// A stretch of clip time.
struct ClipStretch {
  double from_s = 0;
  double to_s = 0;
};

struct HypothesisReading {
  Hypothesis hypothesis;  // its pieces by clip time
  std::string stream;
  int num_variants = 4;
  std::vector<HeardSymbol> symbols;  // by clip time
  double from_stream_s = 0;
  double to_stream_s = 0;
  ClipStretch clip;         // from the first piece's start to the last one's end
  double clip_seconds = 0;  // that pieces cover
};

// All that was heard in a stretch, or in all of the clip, symbol by symbol.
SymbolLikelihoods HeardIn(const HypothesisReading& reading, const ClipStretch& stretch);
SymbolLikelihoods HeardInAll(const HypothesisReading& reading);

// Stretches of a reading that are scored apart from the whole, since a recording may hold one account's copy here and another's there: of three seconds, twice that, and so
// on below three quarters of it all, each overlapping the next by half. The shortest are left out where there would be more than `most`.
std::vector<ClipStretch> StretchesToScore(const HypothesisReading& reading, std::size_t max);

struct Readings {
  std::vector<HypothesisReading> of;
  std::vector<std::string> notes;
};

// Reads all hypotheses. One whose reference cannot be decoded is left out, with a note. kCancelled; errors of the store and of the clip's signals.
Result<Readings> ReadHypotheses(const ClipSignals& clip, std::vector<Hypothesis> hypotheses, const Catalog& catalog,
                                ReferenceReader& references, ScanContext& context);

}  // namespace earmark
