// `earmark demo`: the whole story, told with the very calls that `mark` and `scan` are.
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "dsp/media/audio_file.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/json_output.h"
#include "tools/earmark/program.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr double kClipSeconds = 4;
constexpr double kMinSeconds = 60;  // of recording
constexpr double kMaxSeconds = 3600;
constexpr char kStream[] = "town-hall";
constexpr char kFfmpegAdvice[] = "it makes the leaked clip: apt-get install ffmpeg";

struct DemoOptions {
  std::string audio;
  int num_listeners = 10000;
  std::string work_dir;
  bool json = false;
};

// Where the demo's files are: a folder of the user's, which stays, or one of its own, which goes.
class WorkFolder {
 public:
  static Result<WorkFolder> Create(const std::string& wanted) {
    std::error_code error;
    if (wanted.empty()) {
      std::string name = (fs::temp_directory_path(error) / "earmark-demo-XXXXXX").string();
      if (mkdtemp(name.data()) == nullptr)
        return Fail(ErrorCode::kPermissionDenied, name + ": no temporary folder can be made; name one with --work-dir");
      return WorkFolder(name, true);
    }
    fs::create_directories(wanted, error);
    if (error || !fs::is_empty(wanted, error) || error) {
      return Fail(ErrorCode::kInvalidArgument,
                  wanted + ": --work-dir wants a folder that is new or empty" + (error ? ": " + error.message() : ""));
    }
    return WorkFolder(wanted, false);
  }
  WorkFolder(WorkFolder&& other) noexcept : path_(std::exchange(other.path_, {})), temporary_(other.temporary_) {}
  WorkFolder& operator=(WorkFolder&&) = delete;
  ~WorkFolder() {
    std::error_code ignored;
    if (temporary_ && !path_.empty()) fs::remove_all(path_, ignored);
  }

  std::string File(const std::string& name) const { return (fs::path(path_) / name).string(); }

 private:
  WorkFolder(std::string path, bool temporary) : path_(std::move(path)), temporary_(temporary) {}

  std::string path_;
  bool temporary_;
};

Result<std::string> FindAudio(const std::string& given) {
  if (!given.empty()) return given;
  if (const char* named = std::getenv("EARMARK_DEMO_AUDIO"); named != nullptr && *named != '\0') return std::string(named);
  std::vector<std::string> found;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator("corpus/demo", ignored)) {
    if (entry.path().extension() == ".wav") found.push_back(entry.path().string());
  }
  if (found.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "no recording to play the demo with: run tools/demo, which fetches one, or give a minute of speech with --audio");
  }
  return *std::min_element(found.begin(), found.end());
}

// A random place where somebody speaks: among the stretches of kClipSeconds, one of those in which nearly the whole time is speech.
double ChooseStart(std::span<const float> samples, std::mt19937_64& random) {
  constexpr std::size_t kFrame = kSampleRateHz / 50;
  constexpr std::size_t kClipFrames = static_cast<std::size_t>(kClipSeconds * 50);
  constexpr std::size_t kStep = 5;
  std::vector<double> level_db;
  for (std::size_t at = 0; at + kFrame <= samples.size(); at += kFrame) {
    double power = 1e-12;
    for (const float x : samples.subspan(at, kFrame)) power += static_cast<double>(x) * x / kFrame;
    level_db.push_back(10 * std::log10(power));
  }
  std::vector<double> sorted = level_db;
  std::sort(sorted.begin(), sorted.end());
  const double speech_db = sorted[sorted.size() * 9 / 10] - 25;
  std::vector<std::pair<std::ptrdiff_t, std::size_t>> stretches;  // frames with speech, first frame
  for (std::size_t first = 0; first + kClipFrames <= level_db.size(); first += kStep) {
    const auto begin = level_db.begin() + static_cast<std::ptrdiff_t>(first);
    stretches.emplace_back(std::count_if(begin, begin + kClipFrames, [&](double level) { return level > speech_db; }), first);
  }
  const std::ptrdiff_t max = std::max_element(stretches.begin(), stretches.end())->first;
  std::vector<std::size_t> good;
  for (const auto& [active, first] : stretches) {
    if (static_cast<double>(active) >= 0.9 * static_cast<double>(max)) good.push_back(first);
  }
  return static_cast<double>(good[std::uniform_int_distribution<std::size_t>(0, good.size() - 1)(random)]) / 50;
}

// A number as people write it: 10,000.
std::string Grouped(std::int64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

class Stopwatch {
 public:
  double Seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count(); }

 private:
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

class Demo {
 public:
  Demo(const DemoOptions& options, const WorkFolder& folder, std::string audio)
      : options_(options), folder_(folder), audio_(std::move(audio)), random_(std::random_device{}()) {}

  // The number of things that came out wrong.
  Result<int> Run() {
    for (const auto step :
         {&Demo::Prepare, &Demo::FillRoom, &Demo::Leak, &Demo::NameLeaker, &Demo::TryUnmarked, &Demo::TryWrongKey}) {
      if (auto done = (this->*step)(); !done) return Pass(done);
      if (Interrupted()) return Fail(ErrorCode::kCancelled, "cancelled");
    }
    return Conclude();
  }

 private:
  template <typename... Values>
  void Say(const char* format, Values... values) const {
    if (options_.json) return;
    std::printf(format, values...);  // NOLINT(clang-diagnostic-format-nonliteral): every call has a literal
    std::fflush(stdout);
  }
  void Heading(const char* text) const { Say("%s\n", Bold(text).c_str()); }

  void Judge(const char* name, bool right, const ScanReport& report) {
    num_wrong_ += right ? 0 : 1;
    json_[name] = {{"right", right}, {"report", ordered_json::parse(ToJson(report))}};
    Say("   %s\n\n", right ? Green("right").c_str() : Red("WRONG").c_str());
  }

  CommonOptions Room(const std::string& name) const {
    return {.store = "sqlite:" + folder_.File(name + ".db"), .key_file = folder_.File(name + ".key")};
  }

  MarkRequest Request(const CommonOptions& room, const std::string& out) const {
    MarkRequest request;
    request.input = audio_;
    request.stream_id = kStream;
    request.listeners_file = folder_.File("listeners.txt");
    request.account = leaker_;
    request.output = folder_.File(out);
    request.common = room;
    return request;
  }

  // Whatever could go wrong is found before the long work.
  Result<void> Prepare() {
    if (auto there = RunProgram({"ffmpeg", "-version"}, kFfmpegAdvice); !there) return there;
    auto clip = ReadMonoClip(audio_, kMaxSeconds);
    if (!clip) return Pass(clip);
    seconds_ = static_cast<double>(clip->samples.size()) / kSampleRateHz;
    if (seconds_ < kMinSeconds) {
      return Fail(ErrorCode::kInvalidArgument, audio_ + ": the demo wants a recording of " +
                                                   std::to_string(static_cast<int>(kMinSeconds)) + " s or more, got " +
                                                   std::to_string(static_cast<int>(seconds_)) + " s");
    }
    start_s_ = ChooseStart(clip->samples, random_);
    const auto name = [](int i) {
      char text[32];
      std::snprintf(text, sizeof text, "listener-%05d", i);
      return std::string(text);
    };
    std::ofstream listeners(folder_.File("listeners.txt"));
    for (int i = 1; i <= options_.num_listeners; ++i) listeners << name(i) << "\n";
    listeners.close();
    if (!listeners) return Fail(ErrorCode::kResourceExhausted, folder_.File("listeners.txt") + ": cannot be written");
    leaker_ = name(std::uniform_int_distribution<int>(1, options_.num_listeners)(random_));
    return {};
  }

  Result<void> FillRoom() {
    const CommonOptions room = Room("store");
    if (auto made = CreateKeyFile(room.key_file); !made) return Pass(made);
    Heading(("1. A room with " + Grouped(options_.num_listeners) + " listeners").c_str());
    Say("   The recording: %s, %.0f s of it. Every listener is to get a copy of their own.\n", audio_.c_str(), seconds_);
    const Stopwatch watch;
    auto marked = RunMark(Request(room, "copy.opus"));
    if (!marked) return Pass(marked);
    const double took_s = watch.Seconds();
    std::error_code ignored;
    const auto bytes = static_cast<std::int64_t>(fs::file_size(folder_.File("store.db"), ignored));
    Say("   Marked in %.1f s, %.0f times as fast as it plays, on one core: encoded once (Opus,\n"
        "   32 kb/s), and a listener costs a few bytes changed every 20 ms. Kept to recognise the copies\n"
        "   by, encrypted: %.1f MB.\n\n",
        took_s, seconds_ / took_s, static_cast<double>(bytes) / 1e6);
    json_["listeners"] = options_.num_listeners;
    json_["recording"] = {{"file", audio_}, {"seconds", seconds_}};
    json_["mark_seconds"] = took_s;
    json_["store_bytes"] = bytes;
    return {};
  }

  // 4 s out of `copy`, as people would post them.
  Result<std::string> PostClip(const std::string& copy, const std::string& clip) const {
    char start[32];
    std::snprintf(start, sizeof start, "%.2f", start_s_);
    const std::string out = folder_.File(clip);
    auto made =
        RunProgram({"ffmpeg", "-nostdin", "-v", "error", "-y", "-ss", start, "-t", std::to_string(static_cast<int>(kClipSeconds)),
                    "-i", folder_.File(copy), "-c:a", "aac", "-b:a", "48k", out},
                   kFfmpegAdvice);
    if (!made) return Pass(made);
    return out;
  }

  Result<void> Leak() {
    Heading("2. One of them leaks four seconds");
    auto leak = PostClip("copy.opus", "leak.mp4");
    if (!leak) return Pass(leak);
    leak_ = *leak;
    std::error_code ignored;
    Say("   %s, picked at random, posts second %.1f to %.1f of their copy: transcoded to\n   AAC at 48 kb/s, in an MP4 of %.0f kB.\n\n",
        leaker_.c_str(), start_s_, start_s_ + kClipSeconds, static_cast<double>(fs::file_size(leak_, ignored)) / 1e3);
    json_["leak"] = {{"account", leaker_}, {"start_s", start_s_}, {"seconds", kClipSeconds}};
    return {};
  }

  Result<ScanReport> Scan(const std::string& clip, const CommonOptions& room) const {
    ScanRequest request;
    request.clip = clip;
    request.common = room;
    return RunScan(request);
  }

  void SayPlace(const ScanReport& report) const {
    for (const StreamAlignment& a : report.alignments) {
      Say("   The sound is that of stream '%s' from second %.2f on; %lld marks were read.\n", a.stream.c_str(),
          a.alignment.stream_start_s - a.alignment.clip_start_s, static_cast<long long>(report.symbols_used));
    }
  }

  void SayVerdict(const ScanReport& report) const {
    for (const std::string& note : report.notes) Say("   %s.\n", note.c_str());
    if (report.alignments.empty()) Say("   The sound is that of no stream that can be read.\n");
    if (report.accusations.empty()) Say("   Nobody is named.\n");
    for (const Accusation& a : report.accusations) {
      Say("   Named: %s. The chance that a copy of somebody else looks like\n   this is 10^%.1f for one innocent listener, and below 10^%.1f for any of the %s.\n",
          Bold(a.account).c_str(), a.log10_p, a.log10_bound, Grouped(report.candidates).c_str());
    }
  }

  Result<void> NameLeaker() {
    Heading("3. Who was it?");
    const Stopwatch watch;
    auto report = Scan(leak_, Room("store"));
    if (!report) return Pass(report);
    Say("   Scanned in %.1f s.\n", watch.Seconds());
    SayPlace(*report);
    SayVerdict(*report);
    Judge("leaked_copy", report->accusations.size() == 1 && report->accusations[0].account == leaker_, *report);
    return {};
  }

  Result<void> TryUnmarked() {
    Heading("4. The same four seconds without a mark: same encoder, same MP4");
    MarkRequest request = Request(Room("store"), "plain.opus");
    request.plain = true;
    request.account.clear();
    if (auto marked = RunMark(request); !marked) return Pass(marked);
    auto clip = PostClip("plain.opus", "plain.mp4");
    if (!clip) return Pass(clip);
    auto report = Scan(*clip, Room("store"));
    if (!report) return Pass(report);
    SayPlace(*report);
    SayVerdict(*report);
    Judge("unmarked_audio", report->accusations.empty(), *report);
    return {};
  }

  // Twice: a wrong key cannot open what is kept; and the same room, marked anew under it, has nothing to do with the leaked copy.
  Result<void> TryWrongKey() {
    Heading("5. The leaked clip again, with a wrong key");
    const CommonOptions other_room = Room("other");
    if (auto made = CreateKeyFile(other_room.key_file); !made) return Pass(made);
    CommonOptions wrong = Room("store");
    wrong.key_file = other_room.key_file;
    const auto sealed = Scan(leak_, wrong);
    const bool refused = !sealed && sealed.error().code == ErrorCode::kFailedPrecondition;
    if (!sealed && !refused) return Pass(sealed);
    ScanReport told = sealed ? *sealed : ScanReport();
    if (refused) told.notes.push_back(sealed.error().message);
    for (const std::string& note : told.notes) Say("   %s.\n", note.c_str());
    Judge("wrong_key", refused, told);
    Heading(
        ("6. And in another room: same recording, same " + Grouped(options_.num_listeners) + " accounts, but that key").c_str());
    if (auto marked = RunMark(Request(other_room, "other.opus")); !marked) return Pass(marked);
    auto other = Scan(leak_, other_room);
    if (!other) return Pass(other);
    SayPlace(*other);
    SayVerdict(*other);
    Judge("other_room", other->accusations.empty(), *other);
    return {};
  }

  int Conclude() {
    json_["all_right"] = num_wrong_ == 0;
    if (options_.json) PrintJson(json_);
    if (num_wrong_ == 0) {
      Say("%s: the leaker was named, and without mark or key nobody was.\n", Green("All right").c_str());
    } else {
      Say("%s: %d of the 4 scans came out wrong.\n", Red("Not right").c_str(), num_wrong_);
    }
    if (!options_.work_dir.empty()) Say("Everything is kept in %s.\n", options_.work_dir.c_str());
    return num_wrong_;
  }

  const DemoOptions& options_;
  const WorkFolder& folder_;
  const std::string audio_;
  std::mt19937_64 random_;
  double seconds_ = 0;
  double start_s_ = 0;
  std::string leaker_;
  std::string leak_;
  int num_wrong_ = 0;
  ordered_json json_;
};

int RunDemo(const DemoOptions& options) {
  auto audio = FindAudio(options.audio);
  if (!audio) return Complain(audio.error());
  auto folder = WorkFolder::Create(options.work_dir);
  if (!folder) return Complain(folder.error());
  auto num_wrong = Demo(options, *folder, *audio).Run();
  if (!num_wrong) return Complain(num_wrong.error());
  if (*num_wrong > 0) PrintError("the demo did not come out right");
  return *num_wrong == 0 ? 0 : 1;
}

}  // namespace

void AddDemoCommand(CLI::App& app, Action& action) {
  auto options = std::make_shared<DemoOptions>();
  CLI::App* command =
      app.add_subcommand("demo", "Plays the whole story: a room, a leak, the listener who did it, and that nobody else is named");
  command->add_option("--audio", options->audio,
                      "A recording of a minute or more (or $EARMARK_DEMO_AUDIO, or corpus/demo/*.wav)");
  command->add_option("--listeners", options->num_listeners, "How many listeners the room has")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_option("--work-dir", options->work_dir,
                      "Keep store, key and clips in this new or empty folder (default: a temporary one, removed)");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->footer(
      "Examples:\n"
      "  earmark demo\n"
      "  earmark demo --audio talk.mp3 --listeners 100000 --work-dir story\n\n"
      "Needs the program ffmpeg. Exit status 0 if the leaker was named and nobody else ever was, 1 if not.");
  command->callback([options, &action] { action = [options] { return RunDemo(*options); }; });
}

}  // namespace earmark::cli
