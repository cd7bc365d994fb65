#include "services/decode/sandboxed_tracks.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "dsp/media/input_file.h"
#include "services/decode/exit_status.h"
#include "services/decode/pcm_pipe.h"

namespace earmark::decode {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPollPeriod{50};
constexpr int kPipeBytes = 1 << 18;
constexpr std::chrono::milliseconds kPatienceForExit{2000};

std::string SystemText(int error) { return std::generic_category().message(error); }

Error Nonsense() { return {ErrorCode::kDataLoss, "its decoder answered what no decoder would"}; }

std::string SecondsText(std::chrono::milliseconds time) { return std::to_string(time.count() / 1000) + " s"; }

}  // namespace

// The decoder, and what it says.
class SandboxedTracks::Process {
 public:
  Process(const DecoderOptions& options, ::pid_t pid, FileHandle pipe, std::function<bool()> go_on)
      : options_(options), pid_(pid), pipe_(std::move(pipe)), go_on_(std::move(go_on)), started_(steady_clock::now()) {}
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() { Kill(); }

  const std::optional<Error>& failure() const { return failure_; }

  // The next message, as they follow one another; valid until the next call. Errors are those of failure().
  Result<const Message*> Receive() {
    if (auto read = ReadMessage(); !read) return Pass(read);
    if (!is_greeted_) {
      if (!IsHello()) return Break({ErrorCode::kInternal, options_.program + " is of another version than this program"});
      is_greeted_ = true;
      if (auto read = ReadMessage(); !read) return Pass(read);
    }
    const MessageKind kind = message_.kind;
    const bool is_within_track = kind == MessageKind::kSamples || kind == MessageKind::kEndOfTrack;
    if (kind == MessageKind::kHello || is_within_track != in_track_) return Break(Nonsense());
    in_track_ = kind == MessageKind::kTrack || kind == MessageKind::kSamples;
    return &message_;
  }

  // What is left of the track that is being told goes nowhere.
  Result<void> SkipTrack() {
    while (in_track_) {
      if (const auto message = Receive(); !message) return Pass(message);
    }
    return {};
  }

  // It is of no use any more.
  tl::unexpected<Error> Break(Error error) {
    Kill();
    in_track_ = false;
    failure_ = error;
    return tl::unexpected<Error>(std::move(error));
  }

 private:
  Result<void> ReadMessage() {
    if (failure_) return tl::unexpected<Error>(*failure_);
    std::uint8_t head_bytes[kMessageHeadBytes];
    if (auto read = Read(head_bytes); !read) return read;
    const auto head = DecodeHead(head_bytes);
    if (!head) return Break(head.error());
    message_.kind = head->kind;
    message_.payload.resize(head->payload_bytes);
    return Read(message_.payload);
  }

  bool IsHello() const {
    const std::string_view wanted = kHello;
    return message_.kind == MessageKind::kHello &&
           std::equal(wanted.begin(), wanted.end(), message_.payload.begin(), message_.payload.end());
  }

  Result<void> Read(std::span<std::uint8_t> bytes) {
    while (!bytes.empty()) {
      if (unread_.empty()) {
        if (auto more = ReadSome(); !more) return more;
      }
      const std::size_t count = std::min(bytes.size(), unread_.size());
      std::copy_n(unread_.begin(), count, bytes.begin());
      unread_ = unread_.subspan(count);
      bytes = bytes.subspan(count);
    }
    return {};
  }

  // Into unread_, one byte or more.
  Result<void> ReadSome() {
    const auto asked = steady_clock::now();
    for (;;) {
      struct pollfd pipe {
        pipe_.fd(), POLLIN, 0
      };
      const int ready = ::poll(&pipe, 1, static_cast<int>(kPollPeriod.count()));
      if (ready == 0) {
        if (go_on_ && !go_on_()) return Break({ErrorCode::kCancelled, "cancelled"});
        if (steady_clock::now() - asked > options_.max_silence)
          return Break({ErrorCode::kDataLoss, "nothing came from its decoder for " + SecondsText(options_.max_silence)});
        continue;
      }
      if (steady_clock::now() - started_ > options_.max_time)
        return Break({ErrorCode::kDataLoss, "it takes longer than " + SecondsText(options_.max_time) + " to decode"});
      const ssize_t got = ready < 0 ? -1 : ::read(pipe_.fd(), buffer_.data(), buffer_.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Break({ErrorCode::kInternal, "pipe: " + SystemText(errno)});
      if (got == 0) return Break(HowItEnded());
      unread_ = std::span(buffer_).first(static_cast<std::size_t>(got));
      return {};
    }
  }

  // It closed the pipe. Why, it can only have told by how it ends.
  Error HowItEnded() {
    const auto asked = steady_clock::now();
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) != pid_) {
      if (steady_clock::now() - asked > kPatienceForExit) return {ErrorCode::kDataLoss, "its decoder hung up, and would not end"};
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    pid_ = 0;
    return WIFSIGNALED(status) ? Killed(WTERMSIG(status)) : Exited(WEXITSTATUS(status));
  }

  Error Killed(int signal) const {
    if (signal == SIGXCPU)
      return {ErrorCode::kDataLoss,
              "it takes more than " + std::to_string(options_.limits.cpu_s) + " s of processor time to decode"};
    if (signal == SIGSYS) return {ErrorCode::kDataLoss, "it made its decoder try what no decoder does, which was stopped"};
    if (signal == SIGKILL) return {ErrorCode::kUnavailable, "its decoder was killed, as for want of memory"};
    const char* const name = ::sigdescr_np(signal);
    return {ErrorCode::kDataLoss,
            "its decoder crashed: signal " + std::to_string(signal) + (name == nullptr ? "" : std::string(", ") + name)};
  }

  Error Exited(int status) const {
    if (status == kExitMemory) {
      return {ErrorCode::kDataLoss,
              "it takes more than " + std::to_string(options_.limits.memory_bytes >> 20) + " MB of memory to decode"};
    }
    // It greets when it is locked in; what it says afterwards of its sandbox or version, the clip may have made it say.
    if (!is_greeted_ && status == kExitNoSandbox)
      return {ErrorCode::kInternal, "this system cannot lock a decoder in: seccomp is missing"};
    if (!is_greeted_ && status == kExitUsage)
      return {ErrorCode::kInternal, options_.program + " is of another version than this program"};
    return {ErrorCode::kDataLoss, "its decoder gave up with status " + std::to_string(status)};
  }

  void Kill() {
    pipe_.Close();
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
  }

  const DecoderOptions options_;
  ::pid_t pid_;
  FileHandle pipe_;
  const std::function<bool()> go_on_;
  const steady_clock::time_point started_;
  std::vector<std::uint8_t> buffer_ = std::vector<std::uint8_t>(kPipeBytes);
  std::span<const std::uint8_t> unread_;  // of buffer_
  Message message_;
  bool is_greeted_ = false;
  bool in_track_ = false;
  std::optional<Error> failure_;
};

// One track as it comes out of the pipe.
class SandboxedTracks::Track final : public AudioReader {
 public:
  // `process` must outlive it.
  Track(Process& process, TrackStart start) : process_(process), start_(std::move(start)) {}

  const AudioInfo& info() const override { return start_.info; }
  int num_channels() const override { return start_.num_channels; }

  Result<std::int64_t> Read(std::span<float> interleaved) override {
    std::size_t filled = 0;
    while (filled < interleaved.size()) {
      if (used_ == samples_.size() && !Refill()) break;
      const std::size_t count = std::min(samples_.size() - used_, interleaved.size() - filled);
      std::copy_n(samples_.begin() + static_cast<std::ptrdiff_t>(used_), count,
                  interleaved.begin() + static_cast<std::ptrdiff_t>(filled));
      used_ += count;
      filled += count;
    }
    if (filled < interleaved.size() && error_) return tl::unexpected<Error>(*error_);
    return static_cast<std::int64_t>(filled) / num_channels();
  }

 private:
  // False at the end and after an error.
  bool Refill() {
    samples_.clear();
    used_ = 0;
    if (is_over_) return false;
    const auto message = process_.Receive();
    if (!message) return End(message.error());
    const std::vector<std::uint8_t>& payload = (*message)->payload;
    const std::size_t frame_bytes = sizeof(float) * static_cast<std::size_t>(num_channels());
    if ((*message)->kind == MessageKind::kSamples && !payload.empty() && payload.size() % frame_bytes == 0) {
      samples_.resize(payload.size() / sizeof(float));
      std::memcpy(samples_.data(), payload.data(), payload.size());
      std::replace_if(
          samples_.begin(), samples_.end(), [](float sample) { return !std::isfinite(sample); }, 0.0F);
      return true;
    }
    if ((*message)->kind == MessageKind::kSamples) return End(process_.Break(Nonsense()).value());
    const auto end = DecodeTrackEnd(payload);
    if (!end) return End(process_.Break(end.error()).value());
    return End(end->error);
  }

  bool End(std::optional<Error> error) {
    is_over_ = true;
    error_ = std::move(error);
    return false;
  }

  Process& process_;
  const TrackStart start_;
  std::vector<float> samples_;
  std::size_t used_ = 0;
  bool is_over_ = false;
  std::optional<Error> error_;
};

SandboxedTracks::SandboxedTracks(std::unique_ptr<Process> process) : process_(std::move(process)) {}
SandboxedTracks::~SandboxedTracks() = default;

const std::optional<Error>& SandboxedTracks::failure() const { return process_->failure(); }

Result<std::unique_ptr<SandboxedTracks>> SandboxedTracks::Start(DecoderHost& host, int clip_fd, std::function<bool()> go_on) {
  const std::string own_path = "/proc/self/fd/" + std::to_string(clip_fd);
  const FileHandle clip(::open(own_path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!clip.is_open()) return Fail(ErrorCode::kUnavailable, "the clip cannot be handed to its decoder: " + SystemText(errno));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Fail(ErrorCode::kUnavailable, "pipe: " + SystemText(errno));
  ::fcntl(ends[1], F_SETPIPE_SZ, kPipeBytes);  // as it is where that is not granted
  FileHandle ours(ends[0]);
  const FileHandle theirs(ends[1]);
  const auto pid = host.Fork(clip.fd(), theirs.fd());
  if (!pid) return Pass(pid);
  return std::unique_ptr<SandboxedTracks>(
      new SandboxedTracks(std::make_unique<Process>(host.options(), *pid, std::move(ours), std::move(go_on))));
}

// On an empty clip, of which the decoder must say so.
Result<void> SandboxedTracks::Check(DecoderHost& host) {
  const FileHandle empty(::memfd_create("empty", MFD_CLOEXEC));
  auto tracks = Start(host, empty.fd(), {});
  if (!tracks) return Pass(tracks);
  const auto track = (*tracks)->Next();
  const auto& failure = (*tracks)->failure();
  if (failure) return tl::unexpected<Error>(*failure);
  if (!track || track->reader)
    return Fail(ErrorCode::kInternal, host.options().program + " found something to decode in nothing");
  return {};
}

std::optional<ClipTrack> SandboxedTracks::Next() {
  const auto failed = [&](const Error& error) {
    is_done_ = true;
    return ClipTrack{.number = 0, .reader = tl::unexpected<Error>(error)};
  };
  if (is_done_) return std::nullopt;
  if (auto skipped = process_->SkipTrack(); !skipped) return failed(skipped.error());
  const auto message = process_->Receive();
  if (!message) return failed(message.error());
  is_done_ = (*message)->kind == MessageKind::kDone;
  if (is_done_) return std::nullopt;
  if (++num_tracks_ > kMaxTracks) return failed(process_->Break(Nonsense()).value());
  if ((*message)->kind == MessageKind::kTrack) {
    auto start = DecodeTrackStart((*message)->payload);
    if (!start) return failed(process_->Break(start.error()).value());
    const int number = start->info.track;
    return ClipTrack{.number = number, .reader = std::make_unique<Track>(*process_, *std::move(start))};
  }
  const auto end = DecodeTrackEnd((*message)->payload);
  if (!end || !end->error) return failed(process_->Break(Nonsense()).value());
  return ClipTrack{.number = end->track, .reader = tl::unexpected<Error>(*end->error)};
}

}  // namespace earmark::decode
