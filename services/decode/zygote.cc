#include "services/decode/zygote.h"

#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "services/decode/clip_socket.h"
#include "services/decode/exit_status.h"

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

bool IsSocket(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

// A child of this process's parent, which is to wait for it.
long ForkForParent() { return ::syscall(SYS_clone, CLONE_PARENT | SIGCHLD, nullptr, nullptr, nullptr, nullptr); }

// False: a descriptor cannot be put into its place.
bool KeepOnly(const ClipToDecode& clip) {
  return ::dup2(clip.clip.fd(), STDIN_FILENO) >= 0 && ::dup2(clip.pipe.fd(), STDOUT_FILENO) >= 0 &&
         ::close_range(STDERR_FILENO + 1, ~0U, 0) == 0;
}

}  // namespace

int ServeClips(int argc, const char* const* argv, int (*decode)(const SandboxLimits& limits)) {
  ::unsetenv("LD_BIND_NOW");
  const auto limits = ReadLimits(argc, argv);
  if (!limits || !IsSocket(STDIN_FILENO)) {
    std::fputs("earmark-decode is started by earmark-detectd\n", stderr);
    return kExitUsage;
  }
  while (const auto clip = ReceiveClip(STDIN_FILENO)) {
    const long child = ForkForParent();
    if (child == 0) return KeepOnly(*clip) ? decode(*limits) : kExitNoSandbox;
    const auto answer = static_cast<std::int32_t>(child > 0 ? child : -errno);
    if (::send(STDIN_FILENO, &answer, sizeof answer, MSG_NOSIGNAL) < 0) break;
  }
  return 0;
}

}  // namespace earmark::decode
