// The chunks that containers of plain PCM consist of: WAV (RIFF, RIFX, RF64), AIFF, Sony's W64, CAF and AU.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "dsp/media/input_view.h"

namespace earmark {

struct PcmChunk {
  std::int64_t begin = 0;  // of its content, in bytes from the file's start
  std::int64_t size = 0;   // of its content, as the file says
};

// The first chunk of this kind ("fmt ", "data", "SSND"); none where there is none, or the file is of no such format.
std::optional<PcmChunk> FindPcmChunk(const PeekBytes& peek, std::string_view kind);

// Where the samples end, by what the file says of itself, in bytes from its start. None where it says nothing: recorders that write to a pipe, or
// were killed, leave a size behind that stands for "unknown".
std::optional<std::int64_t> PromisedEnd(const PeekBytes& peek);

// A number of `num_bytes` (2, 4 or 8) at `offset`, big-endian or little-endian; what does not fit is the largest. None past the end of the file.
enum class ByteOrder { kBig, kLittle };
std::optional<std::int64_t> NumberAt(const PeekBytes& peek, std::int64_t offset, int num_bytes, ByteOrder order);

}  // namespace earmark
