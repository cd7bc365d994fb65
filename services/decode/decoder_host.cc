#include "services/decode/decoder_host.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <future>
#include <system_error>
#include <thread>
#include <utility>

#include "dsp/media/input_file.h"
#include "services/decode/clip_socket.h"

namespace earmark::decode {
namespace {

// It answers in milliseconds, and in a fraction of a second the first time.
constexpr int kPatienceMs = 30'000;

std::string SystemText(int error) { return std::generic_category().message(error); }

// What posix_spawn takes, freed.
class SpawnActions {
 public:
  SpawnActions() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  ~SpawnActions() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  // The socket, nothing else of ours: no descriptors, signals as they are by default, a process group of its own; and all libraries bound at once, since
  // each copy would have to bind them anew.
  void Prepare(int socket) {
    ::posix_spawn_file_actions_adddup2(&actions_, socket, STDIN_FILENO);
    ::posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions_, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
    sigset_t all;
    sigset_t none;
    ::sigfillset(&all);
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  }

  Result<::pid_t> Spawn(const DecoderOptions& options) {
    std::string program = options.program;
    std::string cpu_s = std::to_string(options.limits.cpu_s);
    std::string memory_bytes = std::to_string(options.limits.memory_bytes);
    char* const arguments[] = {program.data(), cpu_s.data(), memory_bytes.data(), nullptr};
    char bind_now[] = "LD_BIND_NOW=1";
    char* const environment[] = {bind_now, nullptr};
    ::pid_t pid = 0;
    const int error = ::posix_spawn(&pid, program.c_str(), &actions_, &attributes_, arguments, environment);
    if (error == 0) return pid;
    return Fail(error == ENOENT || error == EACCES ? ErrorCode::kNotFound : ErrorCode::kUnavailable,
                program + ": the decoder cannot be started: " + SystemText(error));
  }

 private:
  ::posix_spawn_file_actions_t actions_{};
  ::posix_spawnattr_t attributes_{};
};

}  // namespace

class DecoderHost::Zygote {
 public:
  static Result<std::unique_ptr<Zygote>> Start(const DecoderOptions& options) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
      return Fail(ErrorCode::kUnavailable, "socket: " + SystemText(errno));
    auto zygote = std::unique_ptr<Zygote>(new Zygote(FileHandle(ends[0])));
    const auto pid = zygote->Spawn(options, FileHandle(ends[1]));
    if (!pid) return Pass(pid);
    return zygote;
  }

  // It ends when its socket does, if it can.
  ~Zygote() {
    socket_.Close();
    if (!keeper_.joinable()) return;
    if (ended_.wait_for(std::chrono::seconds(2)) != std::future_status::ready) ::kill(pid_, SIGKILL);
    keeper_.join();
  }

  // None: it is gone, or does not answer as a zygote does.
  std::optional<std::int32_t> Ask(int clip_fd, int pipe_fd) {
    if (!SendClip(socket_.fd(), clip_fd, pipe_fd)) return std::nullopt;
    struct pollfd answer {
      socket_.fd(), POLLIN, 0
    };
    if (::poll(&answer, 1, kPatienceMs) <= 0) return std::nullopt;
    std::int32_t pid = 0;
    if (::recv(socket_.fd(), &pid, sizeof pid, 0) != sizeof pid) return std::nullopt;
    return pid;
  }

 private:
  explicit Zygote(FileHandle socket) : socket_(std::move(socket)) {}

  // Decoders end with the thread that started the zygote, which is therefore one that does nothing but wait for the zygote.
  Result<::pid_t> Spawn(const DecoderOptions& options, FileHandle theirs) {
    std::promise<Result<::pid_t>> spawned;
    auto started = spawned.get_future();
    std::promise<void> ended;
    ended_ = ended.get_future();
    keeper_ =
        std::thread([&options, theirs = std::move(theirs), spawned = std::move(spawned), ended = std::move(ended)]() mutable {
          SpawnActions actions;
          actions.Prepare(theirs.fd());
          auto pid = actions.Spawn(options);
          theirs.Close();
          const ::pid_t waited = pid.value_or(0);
          spawned.set_value(std::move(pid));
          while (waited > 0 && ::waitpid(waited, nullptr, 0) < 0 && errno == EINTR) {
          }
          ended.set_value();
        });
    auto pid = started.get();
    if (pid) pid_ = *pid;
    return pid;
  }

  FileHandle socket_;
  ::pid_t pid_ = 0;
  std::future<void> ended_;
  std::thread keeper_;
};

DecoderHost::DecoderHost(DecoderOptions options) : options_(std::move(options)) {}
DecoderHost::~DecoderHost() = default;

Result<::pid_t> DecoderHost::Fork(int clip_fd, int pipe_fd) {
  const std::lock_guard lock(mutex_);
  // One that was there before may have been killed since; a new one must answer.
  for (bool is_new = false; !is_new;) {
    is_new = !zygote_;
    if (is_new) {
      auto started = Zygote::Start(options_);
      if (!started) return Pass(started);
      zygote_ = *std::move(started);
    }
    const auto pid = zygote_->Ask(clip_fd, pipe_fd);
    if (pid && *pid > 0) return *pid;
    if (pid) return Fail(ErrorCode::kUnavailable, "the decoder cannot be started: " + SystemText(-*pid));
    zygote_.reset();
  }
  return Fail(ErrorCode::kInternal, options_.program + " is no decoder, or one of another version than this program");
}

}  // namespace earmark::decode
