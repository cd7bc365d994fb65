// Where in the stored streams could a clip be from? Search by fingerprint, and test and follow by waveform. Nothing here knows of codes.
#pragma once

#include <vector>

#include "dsp/core/result.h"
#include "dsp/search/aligner.h"
#include "services/common/scan/catalog.h"
#include "services/common/scan/clip_signals.h"
#include "services/common/scan/reference_reader.h"
#include "services/common/scan/scan_context.h"

namespace earmark {

// A stretch of clip on one source of a stream.
struct SourcePiece {
  int source = 0;          // of the catalog
  std::size_t signal = 0;  // of the clip: where it is heard best
  Alignment alignment;
  bool is_firm = true;  // not far weaker than what it was found with: else it may be a mere echo of it
};

// One way in which the clip could be part of a stream. There are several where a stream repeats the very same sound: each is read and scored by itself, and the bound
// counts them all.
struct Hypothesis {
  // of one audio track and of one source or several of the same stream, by clip time; never empty. No two of one source share
  // clip time
  std::vector<SourcePiece> pieces;
};

// Pieces without those that hardly stand out of chance, or are splinters between others: these are read for what they are worth, but not told as facts next to others that
// do stand out. By clip time; never empty.
std::vector<SourcePiece> CertainPieces(const Hypothesis& hypothesis);

// Of one stream's, the sharpest first. kCancelled; errors of the reader and of the clip's signals.
Result<std::vector<Hypothesis>> FindHypotheses(const ClipSignals& clip, const Catalog& catalog, ReferenceReader& references,
                                               ScanContext& context);

}  // namespace earmark
