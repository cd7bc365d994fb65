// A decoder that was taken over by the clip it read: locked in like earmark-decode, it does what the clip's first word says, and tells how that went as
// the reason for which a track cannot be decoded.
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <new>
#include <string>
#include <vector>

#include "services/decode/exit_status.h"
#include "services/decode/pcm_pipe.h"
#include "services/decode/sandbox.h"
#include "services/decode/zygote.h"

namespace earmark::decode {
namespace {

void Send(MessageKind kind, std::span<const std::uint8_t> payload) {
  const auto head = EncodeHead(kind, payload.size());
  if (::write(1, head.data(), head.size()) < 0 || (!payload.empty() && ::write(1, payload.data(), payload.size()) < 0))
    ::_exit(kExitPipe);
}

void Tell(const std::string& text) {
  Send(MessageKind::kNoTrack, Encode(TrackEnd{.track = 0, .error = Error{ErrorCode::kInvalidArgument, text}}));
  Send(MessageKind::kDone, {});
  ::_exit(0);
}

void TellErrno(long result) { Tell(result < 0 ? std::strerror(errno) : "succeeded"); }

void Begin(int num_channels, double duration_s) {
  TrackStart start{.info = {}, .num_channels = num_channels};
  start.info.num_tracks = 1;
  start.info.duration_s = duration_s;
  Send(MessageKind::kTrack, Encode(start));
}

void SendSilence(int num_seconds) {
  const std::vector<std::uint8_t> silence(4 * 48000);
  for (int i = 0; i < num_seconds; ++i) Send(MessageKind::kSamples, silence);
}

[[noreturn]] void Spin() {
  volatile bool forever = true;
  while (forever) {
  }
  std::abort();
}

[[noreturn]] void Crash() {
  volatile int* nowhere = nullptr;
  *nowhere = 1;
  ::_exit(0);
}

void Flood(int num_seconds) {
  Begin(1, 1);
  SendSilence(num_seconds);
  Send(MessageKind::kEndOfTrack, Encode(TrackEnd{}));
  Send(MessageKind::kDone, {});
  ::_exit(0);
}

void Allocate() {
  std::vector<char*> blocks;
  for (;;) {
    blocks.push_back(new char[std::size_t{1} << 20]);
    std::memset(blocks.back(), 1, std::size_t{1} << 20);
  }
}

// What it was given at the start: descriptors beyond the two and stderr, and words of environment.
std::string Inherited() {
  int num_open = 0;
  for (int fd = 3; fd < 1024; ++fd) num_open += ::fcntl(fd, F_GETFD) >= 0;
  int num_words = 0;
  for (char** word = environ; *word != nullptr; ++word) ++num_words;
  const bool can_write = ::write(0, "x", 1) >= 0;
  return std::to_string(num_open) + " descriptors, " + std::to_string(num_words) + " words" + (can_write ? ", may write" : "");
}

void Do(const std::string& deed, const std::string& inherited) {
  const std::map<std::string, std::function<void()>> deeds = {
      {"", [] { Tell("it is empty"); }},
      {"inherited", [&] { Tell(inherited); }},
      {"open", [] { TellErrno(::open("/etc/passwd", O_RDONLY)); }},
      {"create", [] { TellErrno(::open("/tmp/earmark-hostile", O_CREAT | O_WRONLY, 0600)); }},
      {"proc", [] { TellErrno(::open("/proc/self/mem", O_RDWR)); }},
      {"stat", [] { TellErrno(::access("/etc/passwd", R_OK)); }},
      {"error output", [] { TellErrno(::write(2, "x", 1)); }},
      {"write clip", [] { TellErrno(::syscall(SYS_pwrite64, 0, "x", 1, 0)); }},
      {"socket", [] { TellErrno(::socket(AF_INET, SOCK_STREAM, 0)); }},
      {"unix socket", [] { TellErrno(::socket(AF_UNIX, SOCK_STREAM, 0)); }},
      {"exec", [] { TellErrno(::execl("/bin/true", "true", nullptr)); }},
      {"fork", [] { TellErrno(::fork()); }},
      {"kill parent", [] { TellErrno(::kill(::getppid(), SIGTERM)); }},
      {"signal parent", [] { TellErrno(::syscall(SYS_tgkill, 1, 1, SIGTERM)); }},
      {"ptrace", [] { TellErrno(::syscall(SYS_ptrace, 0, 0, 0, 0)); }},
      {"limits", [] { TellErrno(::syscall(SYS_setrlimit, 0, nullptr)); }},
      {"code",
       [] {
         TellErrno(::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
       }},
      {"spin", [] { Spin(); }},
      {"spin late",
       [] {
         Begin(1, 60);
         SendSilence(3);
         Spin();
       }},
      {"sleep",
       [] {
         int word = 0;
         ::syscall(SYS_futex, &word, FUTEX_WAIT, 0, nullptr, nullptr, 0);
       }},
      {"crash", [] { Crash(); }},
      {"crash late",
       [] {
         Begin(1, 60);
         SendSilence(3);
         Crash();
       }},
      {"abort", [] { std::abort(); }},
      {"killed", [] { ::syscall(SYS_tgkill, ::getpid(), ::gettid(), SIGKILL); }},
      {"memory", [] { Allocate(); }},
      {"flood", [] { Flood(1'000'000); }},
      {"ten seconds", [] { Flood(10); }},
      {"hang up",
       [] {
         ::close(1);
         Spin();
       }},
      {"no more",
       [] {
         Begin(1, 60);
         SendSilence(3);
         ::_exit(0);
       }},
      {"status", [] { ::_exit(77); }},
      {"no sandbox", [] { ::_exit(kExitNoSandbox); }},
      {"huge message",
       [] {
         const auto head = EncodeHead(MessageKind::kTrack, kMaxPayloadBytes + 1);
         ::_exit(::write(1, head.data(), head.size()) < 0);
       }},
      {"nothing at all",
       [] {
         Send(MessageKind::kDone, {});
         ::_exit(0);
       }},
      {"tracks without end",
       [] {
         for (;;) {
           Begin(1, 1);
           SendSilence(1);
           Send(MessageKind::kEndOfTrack, Encode(TrackEnd{}));
         }
       }},
      {"samples first", [] { SendSilence(1); }},
      {"no channels", [] { Begin(0, 1); }},
      {"bad track", [] { Send(MessageKind::kTrack, std::vector<std::uint8_t>(7)); }},
      {"half a sample",
       [] {
         Begin(2, 1);
         Send(MessageKind::kSamples, std::vector<std::uint8_t>(12));
       }},
      {"not a number",
       [] {
         Begin(1, 1);
         Send(MessageKind::kSamples, std::vector<std::uint8_t>(4 * 48000 * 4 / 4, 0xff));
         Send(MessageKind::kEndOfTrack, Encode(TrackEnd{}));
         Send(MessageKind::kDone, {});
         ::_exit(0);
       }},
      {"escape", [] { Tell("\x1b[2J\nred"); }}};
  deeds.at(deed)();
}

int Run(const SandboxLimits& limits) {
  char deed[64] = "";
  if (::pread(0, deed, sizeof deed - 1, 0) < 0) return kExitUsage;
  const std::string hello = std::string(deed) == "other version" ? "earmark-decode 0" : kHello;
  const std::string inherited = Inherited();
  if (!EnterSandbox(limits)) return kExitNoSandbox;
  Send(MessageKind::kHello, {reinterpret_cast<const std::uint8_t*>(hello.data()), hello.size()});
  try {
    Do(deed, inherited);
  } catch (const std::bad_alloc&) {
    return kExitMemory;
  }
  return 0;
}

}  // namespace
}  // namespace earmark::decode

int main(int argc, char** argv) { ::_exit(earmark::decode::ServeClips(argc, argv, &earmark::decode::Run)); }
