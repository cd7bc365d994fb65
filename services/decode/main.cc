// earmark-decode: decodes a clip from descriptor 0 into descriptor 1, locked in. Started by earmark-detectd; of no use to people.
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <new>
#include <optional>
#include <string_view>

#include "services/decode/decoder.h"
#include "services/decode/exit_status.h"
#include "services/decode/sandbox.h"

namespace earmark::decode {
namespace {

std::optional<SandboxLimits> ReadLimits(int argc, const char* const* argv) {
  const auto number = [](std::string_view text) -> std::int64_t {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? value : 0;
  };
  if (argc != 3) return std::nullopt;
  const SandboxLimits limits{.cpu_s = number(argv[1]), .memory_bytes = number(argv[2])};
  if (limits.cpu_s <= 0 || limits.memory_bytes <= 0) return std::nullopt;
  return limits;
}

int Run(int argc, const char* const* argv) {
  InputFile clip{.handle = FileHandle(STDIN_FILENO), .status = {}};
  const auto limits = ReadLimits(argc, argv);
  if (!limits || ::fstat(STDIN_FILENO, &clip.status) != 0 || !S_ISREG(clip.status.st_mode)) {
    std::fputs("earmark-decode is started by earmark-detectd\n", stderr);
    return kExitUsage;
  }
  if (const auto entered = EnterSandbox(*limits); !entered) {
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

int main(int argc, char** argv) { ::_exit(earmark::decode::Run(argc, argv)); }
