// How a zygote is handed clips: over a socket that keeps messages apart, one byte with two descriptors, of the clip and of the pipe for its samples. It
// answers with the process that decodes it (std::int32_t, as this machine has it), or with a negative errno.
#pragma once

#include <optional>

#include "dsp/media/input_file.h"

namespace earmark::decode {

// False: nobody is there.
bool SendClip(int socket, int clip_fd, int pipe_fd);

struct ClipToDecode {
  FileHandle clip;
  FileHandle pipe;
};
// Waits for one. None: the other end has gone, or sends something else.
std::optional<ClipToDecode> ReceiveClip(int socket);

}  // namespace earmark::decode
