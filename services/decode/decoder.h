// Decoding all tracks of a clip into a pipe (pcm_pipe.h): what earmark-decode does once it is in its sandbox.
#pragma once

#include "dsp/core/result.h"
#include "dsp/media/input_file.h"

namespace earmark::decode {

// Ends when everything was told. Error: the pipe cannot be written to.
Result<void> DecodeInto(int pipe_fd, InputFile clip);

}  // namespace earmark::decode
