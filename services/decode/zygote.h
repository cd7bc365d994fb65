// A decoder's main: waits for clips, and decodes each in a copy of itself.
#pragma once

#include "services/decode/sandbox.h"

namespace earmark::decode {

// As DecoderHost starts it: a socket (clip_socket.h) as descriptor 0, SECONDS and BYTES as arguments. In a copy, with the clip as descriptor 0, the pipe as
// descriptor 1 and no others but descriptor 2, it returns what `decode` does: how that process is to exit. In the zygote itself it returns when the socket
// ends, or at once, with kExitUsage, where it was started by somebody else. Processes must have one thread.
int ServeClips(int argc, const char* const* argv, int (*decode)(const SandboxLimits& limits));

}  // namespace earmark::decode
