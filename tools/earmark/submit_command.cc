// `earmark submit`: `earmark scan`, done by a detection daemon.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "db/text.h"
#include "dsp/media/temporary_file.h"
#include "services/common/scan/scan.h"
#include "tools/earmark/client/client.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/json_output.h"
#include "tools/earmark/report.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

using nlohmann::ordered_json;

struct SubmitState {
  std::vector<std::string> words;  // clips as the user names them: files, folders, or - for standard input
  std::string name;                // what to call the only one
  Submission submission;           // but for the clip
  std::string follow;              // a scan submitted earlier
  ServerOptions server;
  bool wait = false;
  bool json = false;
};

std::string FollowAdvice(const std::string& scan_id) { return "`earmark submit --follow " + scan_id + "` waits for it"; }

// A clip to be sent.
struct Clip {
  std::string path;
  std::string shown;  // what messages call it
  std::string name;   // what the finding calls it
};

// Of several clips each answer says which it is of.
struct Answering {
  const SubmitState& state;
  std::string clip;  // as in Clip::shown; empty: it is not known, as of a scan that is followed
  std::size_t num_clips = 1;

  void Print(ordered_json object) const {
    if (num_clips > 1) {
      object["clip"] = clip;
      std::printf("%s\n", object.dump(-1, ' ', false, ordered_json::error_handler_t::replace).c_str());
    } else {
      PrintJson(object);
    }
  }
};

int PrintQueued(const Answering& answering, const RemoteScan& scan) {
  if (answering.state.json)
    answering.Print(ordered_json{{"scan_id", scan.id}, {"state", RemoteStateName(scan.state)}});
  else if (answering.num_clips > 1)
    std::printf("%s %s\n", scan.id.c_str(), Printable(answering.clip).c_str());
  else
    std::printf("%s\n", scan.id.c_str());
  return 0;
}

// The object of `scan --json` with the finding's id. One that is no object is the server's mistake; the verdict is known all the same.
ordered_json FindingJson(const RemoteFinding& finding) {
  ordered_json report = ordered_json::parse(finding.report_json, nullptr, false);
  if (!report.is_object()) report = ordered_json{{"verdict", finding.verdict}};
  if (finding.verdict == "unreadable") report["reason"] = finding.reason;
  report["finding"] = finding.id;
  return report;
}

int PrintFinding(const Answering& answering, const RemoteFinding& finding) {
  const std::string clip = Printable(answering.clip.empty() ? finding.clip_name : answering.clip);
  if (answering.state.json) answering.Print(FindingJson(finding));
  if (finding.verdict == "unreadable")
    return Complain(
        {ErrorCode::kInvalidArgument, clip + ": " + (finding.reason.empty() ? "the clip cannot be read" : finding.reason)});
  if (answering.state.json) return 0;
  for (const std::string& note : finding.report.notes) PrintNote(answering.num_clips > 1 ? clip + ": " + note : note);
  PrintReport(clip, finding.report);
  return 0;
}

int PrintEnded(const Answering& answering, const RemoteScan& scan) {
  switch (scan.state) {
    case RemoteState::kFailed:
      return Complain({ErrorCode::kInternal, "the scan " + scan.id + " failed: " + scan.reason});
    case RemoteState::kCancelled:
      return Complain({ErrorCode::kCancelled, "the scan " + scan.id + " was cancelled"});
    default:
      break;
  }
  if (!scan.finding) return Complain({ErrorCode::kInternal, "the scan " + scan.id + " is done, but the server gave no finding"});
  return PrintFinding(answering, *scan.finding);
}

// Ctrl-C ends the waiting, not the scan: somebody else may wait for it, too, and its outcome is worth keeping.
Result<RemoteScan> AwaitScan(Client& client, const std::string& scan_id) {
  ProgressBar bar;
  auto ended = client.Await(scan_id, bar.Callback());
  if (ended) return ended;
  const bool goes_on = ended.error().code == ErrorCode::kCancelled || ended.error().code == ErrorCode::kUnavailable;
  const std::string what = ended.error().code == ErrorCode::kCancelled ? "" : ended.error().message + "; ";
  return goes_on ? Fail(ended.error().code, what + "the scan " + scan_id + " goes on; " + FollowAdvice(scan_id)) : Pass(ended);
}

Result<RemoteScan> SubmitClip(Client& client, const Submission& submission) {
  ProgressBar bar;
  return client.Submit(submission, bar.Callback());
}

// ---- which clips

// Standard input, kept where nothing is left of it. `file` must stay.
Result<Clip> ReadStandardInput(const std::string& name, FileHandle& file) {
  auto opened = OpenTemporaryFile();
  if (!opened) return Pass(opened);
  file = *std::move(opened);
  std::vector<char> block(1 << 18);
  for (;;) {
    const ssize_t got = ::read(STDIN_FILENO, block.data(), block.size());
    if (got < 0 && errno == EINTR && !Interrupted()) continue;
    if (Interrupted()) return Fail(ErrorCode::kCancelled, "cancelled; nothing was submitted");
    if (got < 0) return Fail(ErrorCode::kInvalidArgument, std::string("standard input: ") + std::strerror(errno));
    if (got == 0) break;
    for (ssize_t at = 0; at < got;) {
      const ssize_t written = ::write(file.fd(), block.data() + at, static_cast<std::size_t>(got - at));
      if (written <= 0) return Fail(ErrorCode::kResourceExhausted, "standard input: no room for it in " + TemporaryFolder());
      at += written;
    }
  }
  return Clip{.path = "/proc/self/fd/" + std::to_string(file.fd()), .shown = name, .name = name};
}

Clip ClipOf(const std::string& path, const std::string& name) {
  return {.path = path, .shown = path, .name = name.empty() ? Printable(std::filesystem::path(path).filename().string()) : name};
}

// All files below it, by name; those that begin with a dot are no clips.
Result<std::vector<Clip>> ClipsBelow(const std::string& folder) {
  std::error_code error;
  std::vector<Clip> clips;
  for (std::filesystem::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const bool is_hidden = it->path().filename().string().starts_with('.');
    if (is_hidden && it->is_directory()) it.disable_recursion_pending();
    if (!is_hidden && it->is_regular_file()) clips.push_back(ClipOf(it->path().string(), ""));
  }
  if (error) return Fail(ErrorCode::kInvalidArgument, folder + ": " + error.message());
  if (clips.empty()) return Fail(ErrorCode::kInvalidArgument, folder + ": wanted a folder with clips, got one without files");
  std::sort(clips.begin(), clips.end(), [](const Clip& a, const Clip& b) { return a.path < b.path; });
  return clips;
}

Result<std::vector<Clip>> ClipsOf(const SubmitState& state, FileHandle& input) {
  std::vector<Clip> clips;
  for (const std::string& word : state.words) {
    if (word == "-") {
      if (input.is_open()) return Fail(ErrorCode::kInvalidArgument, "submit: wanted - (standard input) once, got it twice");
      auto clip = ReadStandardInput(state.name.empty() ? "stdin" : state.name, input);
      if (!clip) return Pass(clip);
      clips.push_back(*std::move(clip));
    } else if (std::filesystem::is_directory(word)) {
      auto below = ClipsBelow(word);
      if (!below) return below;
      clips.insert(clips.end(), below->begin(), below->end());
    } else {
      clips.push_back(ClipOf(word, state.name));
    }
  }
  if (clips.size() > 1 && !state.name.empty())
    return Fail(ErrorCode::kInvalidArgument, "--name: wanted with one clip, got " + std::to_string(clips.size()));
  return clips;
}

// ---- the command

// Of several clips the gravest counts: 1 before 2 before 0.
int Graver(int a, int b) { return a == 1 || b == 1 ? 1 : std::max(a, b); }

int Follow(Client& client, const Answering& answering, const std::string& scan_id) {
  auto ended = AwaitScan(client, scan_id);
  return ended ? PrintEnded(answering, *ended) : Complain(ended.error());
}

// All are sent before any is waited for, so that the server's workers have them.
int SubmitAll(Client& client, const SubmitState& state, const std::vector<Clip>& clips) {
  int status = 0;
  std::vector<std::pair<Answering, std::string>> queued;  // the scan's id
  for (const Clip& clip : clips) {
    Submission submission = state.submission;
    submission.path = clip.path;
    submission.name = clip.name;
    const Answering answering{.state = state, .clip = clip.shown, .num_clips = clips.size()};
    auto scan = SubmitClip(client, submission);
    if (!scan) {
      status = Graver(status, Complain(scan.error()));
      if (Interrupted() || scan.error().code == ErrorCode::kUnavailable) return status;
    } else if (state.wait) {
      queued.emplace_back(answering, scan->id);
    } else {
      PrintQueued(answering, *scan);
    }
    std::fflush(stdout);
  }
  for (const auto& [answering, scan_id] : queued) {
    status = Graver(status, Follow(client, answering, scan_id));
    std::fflush(stdout);
    if (Interrupted()) return status;
  }
  return status;
}

int RunSubmit(const SubmitState& state) {
  if (state.server.server.empty()) {
    return Complain({ErrorCode::kInvalidArgument,
                     "submit: wanted --server HOST:PORT or $EARMARK_SERVER; `earmark scan` scans here, without a server"});
  }
  if (state.follow.empty() == state.words.empty())
    return Complain({ErrorCode::kInvalidArgument, "submit: wanted either a CLIP or --follow SCAN"});
  auto client = Client::Create(state.server);
  if (!client) return Complain(client.error());
  if (!state.follow.empty()) return Follow(**client, {.state = state, .clip = ""}, state.follow);
  FileHandle input;
  const auto clips = ClipsOf(state, input);
  if (!clips) return Complain(clips.error());
  return SubmitAll(**client, state, *clips);
}

void AddClipOptions(CLI::App& command, SubmitState& state) {
  command.add_option(
      "CLIP", state.words,
      "Suspect recordings: any audio or video files of a second or more, folders of such, or - for standard input");
  command.add_option("--name", state.name, "What to call the clip in its finding (default: its file's name)");
  command.add_option("--case", state.submission.case_label, "The investigation it belongs to: free text, kept with the finding");
  command.add_option("--stream", state.submission.stream, "Look in this stream alone");
  command
      .add_option(
          "--max-false-accusation", state.submission.max_false_accusation,
          "Bound on the chance that this scan accuses anybody innocent (default: the server's); at most 0.01, since the finding is kept")
      ->check(CLI::Range(0.0, kMaxKeptFalseAccusation));
}

}  // namespace

void AddSubmitCommand(CLI::App& app, Action& action) {
  auto state = std::make_shared<SubmitState>();
  state->server = DefaultServer();
  CLI::App* command = app.add_subcommand("submit", "Sends a clip to a detection server, which scans it and keeps the finding");
  AddClipOptions(*command, *state);
  command->add_flag("--wait", state->wait, "Wait for the finding and print what `earmark scan` prints");
  command->add_option("--follow", state->follow, "Wait for this scan, submitted earlier, instead of sending a clip");
  command->add_flag("--json", state->json, "Print one JSON object");
  AddServerOptions(*command, state->server);
  command->footer(
      "Examples:\n"
      "  earmark submit clip.mp4 --server 127.0.0.1:7420 --case 2026-17\n"
      "  earmark submit clip.mp4 --wait --json | jq .accusations\n"
      "  earmark submit suspects/ more.mp3 --case 2026-17 --wait\n"
      "  curl -s https://example.org/clip.mp4 | earmark submit - --name clip.mp4\n"
      "  earmark submit --follow SCAN\n\n"
      "Without --wait it prints the scan's id. With it the exit status is that of `earmark scan`: 0 whatever the verdict, 2 for a clip that\n"
      "cannot be read, 1 for a scan that failed or was cancelled; of several clips the gravest counts, 1 before 2. With several clips --json prints an\n"
      "object a line, each with \"clip\". Ctrl-C ends the waiting; the scans go on.");
  command->callback([state, &action] { action = [state] { return RunSubmit(*state); }; });
}

}  // namespace earmark::cli
