// `earmark submit`: `earmark scan`, done by a detection daemon.
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "db/text.h"
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
  Submission submission;
  std::string follow;  // a scan submitted earlier
  ServerOptions server;
  bool wait = false;
  bool json = false;
};

std::string FollowAdvice(const std::string& scan_id) { return "`earmark submit --follow " + scan_id + "` waits for it"; }

int PrintQueued(const SubmitState& state, const RemoteScan& scan) {
  if (state.json)
    PrintJson(ordered_json{{"scan_id", scan.id}, {"state", RemoteStateName(scan.state)}});
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

int PrintFinding(const SubmitState& state, const RemoteFinding& finding) {
  const std::string clip = state.submission.path.empty() ? Printable(finding.clip_name) : state.submission.path;
  const bool unreadable = finding.verdict == "unreadable";
  if (state.json) PrintJson(FindingJson(finding));
  if (unreadable)
    return Complain({ErrorCode::kInvalidArgument, finding.reason.empty() ? clip + ": the clip cannot be read" : finding.reason});
  if (state.json) return 0;
  for (const std::string& note : finding.report.notes) PrintNote(note);
  PrintReport(clip, finding.report);
  return 0;
}

int PrintEnded(const SubmitState& state, const RemoteScan& scan) {
  switch (scan.state) {
    case RemoteState::kFailed:
      return Complain({ErrorCode::kInternal, "the scan " + scan.id + " failed: " + scan.reason});
    case RemoteState::kCancelled:
      return Complain({ErrorCode::kCancelled, "the scan " + scan.id + " was cancelled"});
    default:
      break;
  }
  if (!scan.finding) return Complain({ErrorCode::kInternal, "the scan " + scan.id + " is done, but the server gave no finding"});
  return PrintFinding(state, *scan.finding);
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

int RunSubmit(const SubmitState& state) {
  if (state.server.server.empty()) {
    return Complain({ErrorCode::kInvalidArgument,
                     "submit: wanted --server HOST:PORT or $EARMARK_SERVER; `earmark scan` scans here, without a server"});
  }
  if (state.follow.empty() == state.submission.path.empty()) {
    return Complain({ErrorCode::kInvalidArgument, "submit: wanted either a CLIP or --follow SCAN"});
  }
  auto client = Client::Create(state.server);
  if (!client) return Complain(client.error());
  std::string scan_id = state.follow;
  if (scan_id.empty()) {
    auto queued = SubmitClip(**client, state.submission);
    if (!queued) return Complain(queued.error());
    if (!state.wait) return PrintQueued(state, *queued);
    scan_id = queued->id;
  }
  auto ended = AwaitScan(**client, scan_id);
  return ended ? PrintEnded(state, *ended) : Complain(ended.error());
}

void AddClipOptions(CLI::App& command, SubmitState& state) {
  command.add_option("CLIP", state.submission.path, "Suspect recording: any audio or video file; a second or more");
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
      "  earmark submit --follow SCAN\n\n"
      "Without --wait it prints the scan's id. With it the exit status is that of `earmark scan`: 0 whatever the verdict, 2 for a clip that\n"
      "cannot be read, 1 for a scan that failed or was cancelled. Ctrl-C ends the waiting; the scan goes on.");
  command->callback([state, &action] {
    action = [state] {
      SubmitState run = *state;
      run.submission.name = Printable(std::filesystem::path(run.submission.path).filename().string());
      return RunSubmit(run);
    };
  });
}

}  // namespace earmark::cli
