// Whether a recording is there to its end, by what its container says of it.
#pragma once

#include <cstdint>

#include "dsp/media/input_view.h"

namespace earmark {

// Whether stream number `index` (counted from 0, in the order in which they begin) of the Ogg file has no page that says that it is its last. What a broken
// download lacks, but also what a program that was killed, or saved a radio stream, had no occasion to write. False where there is too much damage to tell.
bool LacksOggEnd(const PeekBytes& peek, int index);

// Whether an element of the Matroska or WebM file reaches beyond `num_bytes`, its end. Segments and clusters that do not say how long they are, as a browser or a
// live server writes them, end where the file does. False where there is something else than elements.
bool LacksMatroskaEnd(const PeekBytes& peek, std::int64_t num_bytes);

// Whether the WAV, AIFF, W64, CAF or AU file promises more samples than its `num_bytes` hold, by more than sloppy writers leave out. Who decodes
// it quietly takes what is there. False for other files.
bool LacksPcmEnd(const PeekBytes& peek, std::int64_t num_bytes);

}  // namespace earmark
