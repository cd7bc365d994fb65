#include <cstdio>

#include "db/text.h"
#include "dsp/media/decoded_clip.h"
#include "services/common/scan/scan.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/report.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

Result<void> Keep(Store& store, const ScanRequest& request, const DecodedClip& clip, const ScanReport& report) {
  if (request.options.max_false_accusation > kMaxKeptFalseAccusation) {
    return Fail(ErrorCode::kFailedPrecondition, "with --max-false-accusation above 0.01 it accuses nobody, whomever it names");
  }
  FindingRecord finding;
  finding.clip_name = Printable(request.clip);
  finding.clip_sha256 = clip.sha256();
  finding.verdict = VerdictName(report.verdict);
  finding.report_json = ToJson(report);
  if (report.trials > 0) finding.alpha_spent = request.options.max_false_accusation;
  finding.num_scored = report.num_scored;
  for (const Accusation& a : report.accusations) {
    finding.accusations.push_back({.account = a.account, .stream = a.stream, .log10_p = a.log10_p, .log10_bound = a.log10_bound});
  }
  auto added = store.AddFinding(finding);
  if (!added) return Pass(added);
  return {};
}

}  // namespace

Result<ScanReport> RunScan(const ScanRequest& request) {
  ProgressBar bar;
  const Progress progress = bar.Callback();
  auto clip = DecodedClip::Decode(request.clip, [&](double fraction) { return progress("decoding", fraction); });
  if (!clip) return Pass(clip);
  auto master = ReadMasterKey(request.common);
  if (!master) return Pass(master);
  auto store = OpenStore(request.common, OpenMode::kReadWrite);
  if (!store) return Pass(store);
  auto report = ScanClip(**store, *master, SignalsOf(*clip), request.options, progress);
  if (!report && report.error().code == ErrorCode::kInvalidArgument)
    return Fail(report.error().code, Printable(request.clip) + ": " + report.error().message);
  if (!report) return report;
  report->notes.insert(report->notes.end(), clip->notes().begin(), clip->notes().end());
  for (std::string& note : report->notes) note = Printable(note);  // they quote the file's name, which may be any bytes
  if (clip->truncated()) report->notes.push_back("the clip breaks off; what was there has been scanned");
  // The verdict is worth more than its record.
  if (auto kept = Keep(**store, request, *clip, *report); !kept)
    PrintNote("the finding was not recorded: " + kept.error().message);
  return report;
}

void AddScanCommand(CLI::App& app, Action& action) {
  struct State {
    ScanRequest request;
    std::string stream;
    bool force = false;
    bool json = false;
  };
  auto state = std::make_shared<State>();
  state->request.common = DefaultOptions();
  CLI::App* command = app.add_subcommand("scan", "Finds out which stream a clip is from, and names the account whose copy it is");
  command->add_option("CLIP", state->request.clip, "Suspect recording: any audio or video file; a second or more")->required();
  command->add_option("--stream", state->stream, "Look in this stream alone");
  command
      ->add_option("--max-false-accusation", state->request.options.max_false_accusation,
                   "Bound on the chance that this scan accuses anybody innocent; above 0.01 it needs --force")
      ->capture_default_str();
  command->add_flag(
      "--force", state->force,
      "Scan with --max-false-accusation above 0.01 all the same; whom it names is printed, and no finding is recorded");
  command->add_flag("--json", state->json, "Print one JSON object");
  AddStoreOption(*command, state->request.common);
  AddKeyOption(*command, state->request.common);
  command->footer(
      "Examples:\n"
      "  earmark scan clip.mp4\n"
      "  earmark scan clip.mp4 --json | jq .accusations\n"
      "  earmark scan clip.mp4 --stream town-hall --max-false-accusation 1e-9\n\n"
      "The finding is kept: see `earmark findings`. Where it cannot be, as in a store that may only be read, a line on stderr says so.\n"
      "Exit status 0 whatever the verdict; 2 where nothing could be searched.");
  command->callback([state, &action] {
    action = [state] {
      const double bound = state->request.options.max_false_accusation;
      if (bound < 1 && bound > kMaxKeptFalseAccusation && !state->force) {
        return Complain(
            {ErrorCode::kInvalidArgument,
             "--max-false-accusation above 0.01 would name innocent people too often; --force scans all the same, and records nothing"});
      }
      if (!state->stream.empty()) state->request.options.stream = state->stream;
      auto report = RunScan(state->request);
      if (!report) return Complain(report.error());
      if (state->json) {
        std::printf("%s\n", ToJson(*report).c_str());
      } else {
        for (const std::string& note : report->notes) PrintNote(note);
        PrintReport(Printable(state->request.clip), *report);
      }
      return 0;
    };
  });
}

}  // namespace earmark::cli
