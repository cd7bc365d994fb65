// Clips decoded by another process: the same samples as here, and nothing that a clip does to its decoder goes further than that.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "dsp/core/stream_format.h"
#include "dsp/media/decoded_clip.h"
#include "services/decode/sandboxed_tracks.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"
#include "tests/unit/media_files.h"
#include "tests/unit/temp_folder.h"

namespace earmark::decode {
namespace {

using Catch::Matchers::Contains;
using namespace std::chrono_literals;

DecoderOptions RealDecoder() { return {.program = EARMARK_DECODE, .limits = {}}; }

// What comes of a clip.
struct Outcome {
  Result<DecodedClip> clip = Fail(ErrorCode::kInternal, "not decoded");
  std::optional<Error> failure;
  std::vector<std::vector<float>> signals;
};

Outcome DecodeBytes(const std::string& bytes, const DecoderOptions& options, double max_hours = 12,
                    const std::function<bool()>& go_on = {}) {
  const FileHandle file(::memfd_create("clip", MFD_CLOEXEC));
  REQUIRE(::write(file.fd(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  DecoderHost host(options);
  auto tracks = SandboxedTracks::Start(host, file.fd(), go_on);
  Outcome outcome;
  if (!tracks) {
    outcome.failure = tracks.error();
    return outcome;
  }
  outcome.clip = DecodedClip::Decode("the clip", **tracks, max_hours, [&](double) { return !go_on || go_on(); });
  outcome.failure = (*tracks)->failure();
  for (std::size_t i = 0; outcome.clip && i < outcome.clip->signals().size(); ++i) {
    const auto samples = outcome.clip->Samples(i).value();
    outcome.signals.emplace_back(samples.begin(), samples.end());
  }
  return outcome;
}

Outcome Attempt(const std::string& deed, DecoderOptions options = {}) {
  options.program = EARMARK_HOSTILE_DECODER;
  return DecodeBytes(deed, options, 0.1);
}

// How the process of such a decoder ended, for the record.
std::string FailureOf(const std::string& deed, const DecoderOptions& options = {}) {
  const Outcome outcome = Attempt(deed, options);
  if (!outcome.failure) return outcome.clip ? "decoded" : "told: " + outcome.clip.error().message;
  return outcome.failure->code == ErrorCode::kDataLoss ? outcome.failure->message : "code " + outcome.failure->message;
}

std::string BytesOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A file of each kind that people post, by its extension.
std::vector<std::pair<std::string, std::string>> Formats() {
  return {{"wav", ""},
          {"flac", ""},
          {"ogg", "-c:a libvorbis"},
          {"opus", "-c:a libopus"},
          {"mp3", ""},
          {"m4a", "-c:a aac"},
          {"mkv", "-map 0 -map 0 -c:a libopus"},
          {"webm", "-c:a libopus"},
          {"aiff", ""},
          {"caf", "-c:a alac"},
          {"ts", "-c:a mp2"},
          {"avi", "-c:a ac3"},
          {"wma", "-c:a wmav2"}};
}

std::string Made(const TempFolder& folder, const std::string& extension, const std::string& options) {
  std::vector<float> stereo = Noise(2 * 3 * kSampleRateHz);
  const std::string wav = WriteWav(folder.File("source.wav"), stereo, kSampleRateHz, 2);
  const std::string path = folder.File("made." + extension);
  REQUIRE(Convert(wav, options.c_str(), path));
  return BytesOf(path);
}

TEST_CASE("Decode: the sandboxed decoder gives what decoding here gives, of every format", "[decode]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  for (const auto& [extension, options] : Formats()) {
    INFO(extension);
    const std::string bytes = Made(folder, extension, options);
    const Outcome there = DecodeBytes(bytes, RealDecoder());
    CHECK_FALSE(there.failure);
    REQUIRE(there.clip);
    auto here = DecodedClip::Decode(folder.File("made." + extension), {});
    REQUIRE(here);
    REQUIRE(there.clip->signals() == here->signals());
    CHECK(there.clip->duration_s() == here->duration_s());
    CHECK(there.clip->truncated() == here->truncated());
    for (std::size_t i = 0; i < here->signals().size(); ++i) {
      const auto samples = here->Samples(i).value();
      CHECK((there.signals[i] == std::vector<float>(samples.begin(), samples.end())));
    }
  }
}

TEST_CASE("Decode: damaged files of every format end as they do here, and the decoder outlives them", "[decode]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  Random random(7);
  for (const auto& [extension, options] : Formats()) {
    const std::string bytes = Made(folder, extension, options);
    for (int trial = 0; trial < 4; ++trial) {
      INFO(extension << " " << trial);
      std::string damaged = bytes;
      // of the header, of one place in the middle, everywhere, and its second half
      const std::size_t first = trial == 1 ? bytes.size() / 2 : 0;
      const std::size_t span = trial == 0 ? 200 : trial == 1 ? 2000 : bytes.size();
      for (int i = 0; i < 60; ++i)
        damaged[std::min(bytes.size() - 1, first + static_cast<std::size_t>(random.Uniform() * static_cast<double>(span)))] =
            static_cast<char>(random.Bits());
      if (trial == 3) damaged.resize(bytes.size() / 2);
      const Outcome there = DecodeBytes(damaged, RealDecoder());
      CHECK_FALSE(there.failure);
      const std::string path = folder.File("damaged");
      std::ofstream(path, std::ios::binary) << damaged;
      auto here = DecodedClip::Decode(path, {});
      REQUIRE(there.clip.has_value() == here.has_value());
      if (here) {
        CHECK(there.clip->signals() == here->signals());
        CHECK(there.clip->truncated() == here->truncated());
      } else {
        CHECK(there.clip.error().code == here.error().code);
        CHECK_THAT(there.clip.error().message, Contains("the clip") && !Contains(path));
      }
    }
  }
}

TEST_CASE("Decode: what is no audio says so", "[decode]") {
  for (const std::string& bytes :
       {std::string("RIFF"), std::string(1000, 'x'), std::string("#EXTM3U\n/etc/passwd\n"), std::string()}) {
    const Outcome outcome = DecodeBytes(bytes, RealDecoder());
    CHECK_FALSE(outcome.failure);
    REQUIRE_FALSE(outcome.clip);
    CHECK(outcome.clip.error().code == ErrorCode::kInvalidArgument);
    CHECK_THAT(outcome.clip.error().message, Contains("the clip"));
  }
}

TEST_CASE("Decode: a decoder that was taken over can open, write and reach nothing", "[decode]") {
  if (kSanitized) return;  // there it is not locked in (sandbox.cc)
  for (const char* refused : {"open", "create", "proc", "stat", "error output"}) {
    INFO(refused);
    CHECK(FailureOf(refused) == "told: Operation not permitted");
  }
  CHECK_FALSE(std::filesystem::exists("/tmp/earmark-hostile"));
  for (const char* forbidden :
       {"socket", "unix socket", "exec", "fork", "kill parent", "signal parent", "ptrace", "limits", "code", "write clip"}) {
    INFO(forbidden);
    CHECK_THAT(FailureOf(forbidden), Contains("what no decoder does"));
  }
}

TEST_CASE("Decode: the decoder inherits the clip, for reading, and the pipe alone", "[decode]") {
  const FileHandle secret(::open("/etc/passwd", O_RDONLY));  // not to be closed on exec
  ::setenv("EARMARK_TEST_SECRET", "word", 1);
  CHECK(FailureOf("inherited") == "told: 0 descriptors, 0 words");
  ::unsetenv("EARMARK_TEST_SECRET");
}

TEST_CASE("Decode: a decoder that spins, stalls, crashes, is killed, or takes too much is ended, with the reason", "[decode]") {
  const DecoderOptions quick{.program = {}, .limits = {.cpu_s = 2, .memory_bytes = 256 << 20}, .max_silence = 20s};
  CHECK_THAT(FailureOf("spin", quick), Contains("more than 2 s of processor time"));
  CHECK_THAT(FailureOf("spin late", quick), Contains("more than 2 s of processor time"));
  DecoderOptions impatient;
  impatient.max_silence = 1500ms;
  CHECK_THAT(FailureOf("sleep", impatient), Contains("nothing came from its decoder for 1 s"));
  CHECK_THAT(FailureOf("hang up", quick), Contains("hung up") || Contains("processor time"));
  // A sanitizer takes crashes into its own hands, and maps memory as it likes.
  for (const char* deed : {"crash", "crash late"})
    CHECK_THAT(FailureOf(deed), Contains(kSanitized ? "its decoder" : "signal 11"));
  CHECK_THAT(FailureOf("abort"), Contains("signal 6"));
  CHECK_THAT(FailureOf("killed"), Contains("killed"));
  if (!kSanitized) CHECK_THAT(FailureOf("memory", quick), Contains("more than 256 MB of memory"));
  CHECK_THAT(FailureOf("status"), Contains("status 77"));
  CHECK_THAT(FailureOf("no sandbox"), Contains("gave up with status 3"));
  CHECK_THAT(FailureOf("no more"), Contains("status 0"));
  DecoderOptions short_time;
  short_time.max_time = 1ms;
  CHECK_THAT(FailureOf("flood", short_time), Contains("longer than") && !Contains("hours"));
}

TEST_CASE("Decode: more sound than is allowed is no clip; what is not a number is silence", "[decode]") {
  CHECK(FailureOf("ten seconds") == "decoded");
  CHECK_THAT(FailureOf("flood"), Contains("longer than 0.1 hours"));
  const Outcome outcome = Attempt("not a number");
  REQUIRE(outcome.clip);
  for (const float sample : outcome.signals.at(0)) REQUIRE(sample == 0);
}

TEST_CASE("Decode: what is not the protocol is believed by nobody", "[decode]") {
  for (const char* nonsense : {"huge message", "samples first", "no channels", "bad track", "half a sample"}) {
    INFO(nonsense);
    CHECK_THAT(FailureOf(nonsense), Contains("no decoder would"));
  }
  CHECK(FailureOf("nothing at all") == "told: the clip holds no audio track");
  CHECK_THAT(FailureOf("tracks without end"), Contains("no decoder would") || Contains("0.1 hours"));
  CHECK(FailureOf("escape") == "told: ?[2J?red");
  const Outcome outcome = Attempt("other version");
  REQUIRE(outcome.failure);
  CHECK(outcome.failure->code == ErrorCode::kInternal);
  CHECK_THAT(outcome.failure->message, Contains("another version"));
}

TEST_CASE("Decode: whoever waits can stop at once, and no process is left", "[decode]") {
  const auto began = std::chrono::steady_clock::now();
  int asked = 0;
  DecoderOptions options;
  options.program = EARMARK_HOSTILE_DECODER;
  const Outcome outcome = DecodeBytes("spin", options, 0.1, [&] { return ++asked < 4; });
  REQUIRE(outcome.failure);
  CHECK(outcome.failure->code == ErrorCode::kCancelled);
  CHECK(std::chrono::steady_clock::now() - began < 5s);
  CHECK((::waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD));
}

// Child processes of this one.
std::vector<::pid_t> Children() {
  std::vector<::pid_t> children;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream of_task(task.path() / "children");
    for (::pid_t pid = 0; of_task >> pid;) children.push_back(pid);
  }
  return children;
}

TEST_CASE("Decode: clips are decoded by copies of one process, which is started again if it is killed", "[decode]") {
  DecoderHost host(RealDecoder());
  CHECK(Children().empty());
  CHECK(SandboxedTracks::Check(host));
  const auto first = Children();
  REQUIRE(first.size() == 1);
  CHECK(SandboxedTracks::Check(host));
  CHECK(Children() == first);
  ::kill(first[0], SIGKILL);
  CHECK(SandboxedTracks::Check(host));
  REQUIRE(Children().size() == 1);
  CHECK(Children() != first);
}

TEST_CASE("Decode: many at once are told apart", "[decode]") {
  DecoderHost host({.program = EARMARK_HOSTILE_DECODER, .limits = {}});
  std::vector<std::string> told(8);
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < told.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 10; ++round) {
        const FileHandle file(::memfd_create("clip", MFD_CLOEXEC));
        const std::string deed = i % 2 == 0 ? "escape" : "socket";
        if (::write(file.fd(), deed.data(), deed.size()) < 0) return;
        const auto tracks = SandboxedTracks::Start(host, file.fd(), {});
        if (!tracks) return;
        const auto track = (*tracks)->Next();
        const auto& failure = (*tracks)->failure();
        told[i] = failure ? failure->message : track ? track->reader.error().message : "nothing";
      }
    });
  }
  threads.clear();
  for (std::size_t i = 0; i < told.size(); ++i) {
    INFO(i);
    if (i % 2 == 0) CHECK(told[i] == "?[2J?red");
    if (i % 2 == 1 && !kSanitized) CHECK_THAT(told[i], Contains("which was stopped"));
  }
}

TEST_CASE("Decode: a program that is none, or no decoder, is found out before any clip", "[decode]") {
  DecoderHost host(RealDecoder());
  CHECK(SandboxedTracks::Check(host));
  const auto check = [](const std::string& program) {
    DecoderHost other({.program = program, .limits = {}});
    return SandboxedTracks::Check(other).error();
  };
  CHECK(check("/nowhere/earmark-decode").code == ErrorCode::kNotFound);
  CHECK_THAT(check("/nowhere/earmark-decode").message, Contains("/nowhere/earmark-decode"));
  for (const char* other : {"/bin/true", "/bin/echo", "/bin/cat"}) CHECK(check(other).code == ErrorCode::kInternal);
}

}  // namespace
}  // namespace earmark::decode
