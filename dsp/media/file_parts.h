// Recordings that were joined end to end into one file.
#pragma once

#include <vector>

#include "dsp/media/input_view.h"

namespace earmark {

// The stretches of an Ogg or Matroska (WebM) file that each begin with headers of their own, one after the other, from the
// file's beginning to its end; a single one for a file that is whole and for every other format. At most 4096: the last one
// reaches to the end. Reads the file once, except where a Matroska file says that it is in one piece; no more than a few hundred
// kilobytes of it are in memory. That something can be decoded there is not certain.
std::vector<ByteRange> FindParts(const InputFile& file);

}  // namespace earmark
