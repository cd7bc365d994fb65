// What reading a clip yields: for each symbol, how likely each variant is. Nothing in here knows of anybody's code.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dsp/core/stream_format.h"

namespace earmark {

// Natural-log likelihoods of one symbol, up to a common constant. Entries from num_variants on are unused.
struct SymbolLikelihood {
  std::int64_t symbol = 0;
  std::array<float, kMaxVariants> log_likelihood{};
};

struct SymbolLikelihoods {
  int num_variants = 4;
  std::vector<SymbolLikelihood> symbols;  // ascending by symbol, each at most once
};

}  // namespace earmark
