// earmark-decode: decodes clips from descriptor 0 into descriptor 1, each in a process of its own that is locked in. Started by earmark-detectd; of no
// use to people.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <new>

#include "services/decode/decoder.h"
#include "services/decode/exit_status.h"
#include "services/decode/sandbox.h"
#include "services/decode/zygote.h"

namespace earmark::decode {
namespace {

int Decode(const SandboxLimits& limits) {
  InputFile clip{.handle = FileHandle(STDIN_FILENO), .status = {}};
  if (::fstat(STDIN_FILENO, &clip.status) != 0 || !S_ISREG(clip.status.st_mode)) return kExitUsage;
  if (const auto entered = EnterSandbox(limits); !entered) {
    std::fprintf(stderr, "earmark-decode: %s\n", entered.error().message.c_str());
    return kExitNoSandbox;
  }
  try {
    return DecodeInto(STDOUT_FILENO, std::move(clip)) ? 0 : kExitPipe;
  } catch (const std::bad_alloc&) {
    return kExitMemory;
  }
}

}  // namespace
}  // namespace earmark::decode

int main(int argc, char** argv) { ::_exit(earmark::decode::ServeClips(argc, argv, &earmark::decode::Decode)); }
