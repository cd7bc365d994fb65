// What reading a hypothesis yields: how likely each variant is, symbol by symbol. Takes reading keys alone: nothing here can know anybody's code.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/reading/symbol_likelihoods.h"
#include "services/common/scan/hypotheses.h"

namespace earmark {

struct HypothesisReading {
  Hypothesis hypothesis;  // its pieces by clip time
  std::string stream;
  SymbolLikelihoods likelihoods;
  double from_stream_s = 0;
  double to_stream_s = 0;
  double clip_end_s = 0;    // of the last piece
  double clip_seconds = 0;  // that pieces cover
};

struct Readings {
  std::vector<HypothesisReading> of;
  std::vector<std::string> notes;
};

// Reads all hypotheses. One whose reference cannot be decoded is left out, with a note. kCancelled; errors of the store.
Result<Readings> ReadHypotheses(std::span<const float> clip, std::vector<Hypothesis> hypotheses, const Catalog& catalog, ReferenceReader& references,
                                ScanContext& context);

}  // namespace earmark
