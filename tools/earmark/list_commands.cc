#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "db/text.h"
#include "services/common/digest.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/json_output.h"
#include "tools/earmark/report.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

using nlohmann::ordered_json;

// Options of a listing, kept alive by the action that uses them.
struct ListState {
  CommonOptions common = DefaultOptions();
  std::string stream;
  std::string account;
  std::string verdict;
  std::string name;  // of what to remove
  std::string since;
  std::int64_t after = 0;
  int limit = 100;
  bool json = false;
  bool yes = false;  // remove without asking
};

std::optional<std::string> Optional(const std::string& text) { return text.empty() ? std::nullopt : std::optional(text); }

const char* KindName(ReferenceKind kind) {
  switch (kind) {
    case ReferenceKind::kVariantPackets:
      return "variant_packets";
    case ReferenceKind::kHostPackets:
      return "host_packets";
    case ReferenceKind::kSourcePackets:
      return "source_packets";
  }
  return "unknown";
}

std::string Listeners(std::int64_t count) { return std::to_string(count) + (count == 1 ? " listener" : " listeners"); }

std::string Listeners(const ListenerCount& count) {
  return Listeners(count.num_listeners) + (count.num_revoked > 0 ? " (" + std::to_string(count.num_revoked) + " revoked)" : "");
}

ordered_json StreamJson(const StreamRecord& s, const ListenerCount& listeners) {
  ordered_json stream{{"stream", s.id},
                      {"created", Utc(s.created_unix_us)},
                      {"seconds", static_cast<double>(s.num_packets) / kPacketsPerSecond},
                      {"state", s.state == StreamState::kComplete ? "complete" : "recording"},
                      {"listeners", listeners.num_listeners},
                      {"revoked", listeners.num_revoked},
                      {"variants", s.format.num_variants},
                      {"packets_per_symbol", s.format.packets_per_symbol},
                      {"channels", s.format.num_channels},
                      {"kind", KindName(s.format.kind)},
                      {"bitrate_bps", s.format.bitrate_bps == 0 ? ordered_json() : ordered_json(s.format.bitrate_bps)},
                      {"erased_slots", s.num_erased_slots},
                      {"key_id", s.key_id}};
  if (s.format.kind == ReferenceKind::kSourcePackets) stream["strength"] = s.format.strength;
  return stream;
}

void PrintStream(const StreamRecord& s, const ListenerCount& listeners) {
  const bool patched = s.format.kind == ReferenceKind::kSourcePackets;
  std::string coding = std::to_string(s.format.bitrate_bps) + " bit/s";
  if (s.format.bitrate_bps == 0) coding = patched ? "source's packets" : "as long as the source's packets";
  if (s.format.kind == ReferenceKind::kHostPackets) coding = "PCM";
  if (patched) coding += ", strength " + std::to_string(s.format.strength);
  std::printf("%s %s %9.1f s  %s, %d variants, %s%s\n", Padded(s.id, 32).c_str(), Utc(s.created_unix_us).c_str(),
              static_cast<double>(s.num_packets) / kPacketsPerSecond, Listeners(listeners).c_str(), s.format.num_variants,
              coding.c_str(), s.state == StreamState::kComplete ? "" : "  (not complete)");
}

int ListStreams(const ListState& state) {
  auto store = OpenStore(state.common, OpenMode::kReadWrite);
  if (!store) return Complain(store.error());
  auto streams = (*store)->ListStreams();
  if (!streams) return Complain(streams.error());
  auto listeners = (*store)->CountListeners();
  if (!listeners) return Complain(listeners.error());
  ordered_json list = ordered_json::array();
  for (const StreamRecord& s : *streams) {
    const ListenerCount& count = (*listeners)[s.id];  // of zeros where there are none
    if (state.json)
      list.push_back(StreamJson(s, count));
    else
      PrintStream(s, count);
  }
  if (state.json)
    PrintJson(list);
  else if (streams->empty())
    std::printf("no streams; `earmark mark` registers one\n");
  return 0;
}

// "1.5 hours", or what a shorter time is best told in.
std::string HowLong(double seconds) {
  const bool hours = seconds >= 3600;
  const bool minutes = !hours && seconds >= 60;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s",
                hours     ? seconds / 3600
                : minutes ? seconds / 60
                          : seconds,
                hours     ? "hours"
                : minutes ? "minutes"
                          : "seconds");
  return text;
}

// What is lost with a stream, for whoever is about to remove it.
Result<std::string> LossOf(Store& store, const std::string& stream_id) {
  auto stream = store.GetStream(stream_id);
  if (!stream) return Pass(stream);
  auto accounts = store.ListAccounts(stream_id);
  if (!accounts) return Pass(accounts);
  return "its reference of " + HowLong(static_cast<double>(stream->num_packets) / kPacketsPerSecond) + " and the grants of " +
         Listeners(static_cast<std::int64_t>(accounts->size())) +
         " are lost, and copies of it that are out can no longer be traced, not even if it is marked again";
}

// kFailedPrecondition: there is nobody to ask; kCancelled: the answer was no.
Result<void> AskToRemove(const std::string& stream_id, const std::string& loss) {
  if (isatty(STDIN_FILENO) == 0) {
    return Fail(ErrorCode::kFailedPrecondition,
                "stream '" + stream_id + "' was not removed: " + loss + "; --yes removes it without asking");
  }
  PrintNote("if stream '" + stream_id + "' is removed, " + loss);
  std::fputs("Remove it? Type yes: ", stderr);
  char answer[16] = {};
  const bool answered = std::fgets(answer, sizeof answer, stdin) != nullptr;
  if (!answered || std::string(answer) != "yes\n")
    return Fail(ErrorCode::kCancelled, "stream '" + stream_id + "' was not removed");
  return {};
}

int RemoveStream(const ListState& state) {
  auto store = OpenStore(state.common, OpenMode::kReadWrite);
  if (!store) return Complain(store.error());
  auto loss = LossOf(**store, state.name);
  if (!loss) return Complain(loss.error());
  if (!state.yes) {
    if (auto agreed = AskToRemove(state.name, *loss); !agreed) return Complain(agreed.error());
  }
  if (auto removed = (*store)->RemoveStream(state.name); !removed) return Complain(removed.error());
  if (state.json)
    PrintJson(ordered_json{{"removed", state.name}});
  else
    std::printf("removed stream %s with its reference and grants; findings stay\n", Printable(state.name).c_str());
  return 0;
}

int ListAccounts(const ListState& state) {
  auto store = OpenStore(state.common, OpenMode::kReadWrite);
  if (!store) return Complain(store.error());
  std::optional<std::string_view> stream;
  if (!state.stream.empty()) {
    auto known = (*store)->GetStream(state.stream);
    if (!known) return Complain(known.error());
    stream = state.stream;
  }
  auto accounts = (*store)->ListAccounts(stream);
  if (!accounts) return Complain(accounts.error());
  if (state.json) {
    ordered_json list = ordered_json::array();
    for (const AccountSummary& a : *accounts)
      list.push_back({{"account", a.account}, {"grants", a.num_grants}, {"accusations", a.num_accusing_clips}});
    PrintJson(list);
    return 0;
  }
  for (const AccountSummary& a : *accounts) {
    std::printf("%s %lld grants, accused by %lld clips\n", Padded(a.account, 32).c_str(), static_cast<long long>(a.num_grants),
                static_cast<long long>(a.num_accusing_clips));
  }
  return 0;
}

Result<FindingFilter> FilterOf(const ListState& state) {
  FindingFilter filter;
  filter.account = Optional(state.account);
  filter.stream = Optional(state.stream);
  filter.verdict = Optional(state.verdict);
  filter.after_id = state.after;
  filter.limit = state.limit;
  filter.order = FindingOrder::kNewestFirst;
  if (state.since.empty()) return filter;
  auto since = ParseMoment(state.since, "--since", UnixMicroseconds());
  if (!since) return Pass(since);
  filter.since_unix_us = *since;
  return filter;
}

void PrintFinding(const FindingRecord& f) {
  std::printf("%-5lld %s  %-13s %s", static_cast<long long>(f.id), Utc(f.created_unix_us).c_str(), f.verdict.c_str(),
              Printable(f.clip_name).c_str());
  for (const AccusationRecord& a : f.accusations)
    std::printf("  %s in %s (10^%.1f)", Bold(Printable(a.account)).c_str(), Printable(a.stream).c_str(), a.log10_bound);
  std::printf("\n");
  const auto report = ordered_json::parse(f.report_json, nullptr, false);
  if (!report.is_object() || !report.contains("notes")) return;
  for (const auto& note : report["notes"]) {
    if (note.is_string()) std::printf("      note: %s\n", Printable(note.get<std::string>()).c_str());
  }
}

void PrintFindingsJson(const std::vector<FindingRecord>& findings) {
  ordered_json list = ordered_json::array();
  for (const FindingRecord& f : findings) {
    list.push_back({{"id", f.id},
                    {"created", Utc(f.created_unix_us)},
                    {"clip", f.clip_name},
                    {"sha256", f.clip_sha256},
                    {"report", ordered_json::parse(f.report_json, nullptr, false)}});
  }
  PrintJson(list);
}

int ListFindings(const ListState& state) {
  auto filter = FilterOf(state);
  if (!filter) return Complain(filter.error());
  auto store = OpenStore(state.common, OpenMode::kReadWrite);
  if (!store) return Complain(store.error());
  if (state.after > 0) {
    if (auto known = (*store)->GetFinding(state.after); !known) return Complain(known.error());
  }
  auto findings = (*store)->ListFindings(*filter);
  if (!findings) return Complain(findings.error());
  if (state.json)
    PrintFindingsJson(*findings);
  else
    for (const FindingRecord& f : *findings) PrintFinding(f);
  if (static_cast<int>(findings->size()) < state.limit) return 0;
  filter->after_id = findings->back().id;
  filter->limit = 1;
  auto next = (*store)->ListFindings(*filter);
  if (!next) return Complain(next.error());
  if (!next->empty()) PrintNote("there are more findings; --after " + std::to_string(filter->after_id) + " goes on from here");
  return 0;
}

int ShowKey(const ListState& state) {
  auto key = ReadMasterKey(state.common);
  if (!key) return Complain(key.error());
  if (state.json)
    PrintJson(ordered_json{{"file", state.common.key_file}, {"key_id", key->id}});
  else
    std::printf("%s: master key %s\n", state.common.key_file.c_str(), key->id.c_str());
  return 0;
}

int CreateKey(const ListState& state) {
  auto key = MakeMasterKey(state.common);
  if (!key) return Complain(key.error());
  return ShowKey(state);
}

std::shared_ptr<ListState> AddList(CLI::App& command, Action& action, int (*run)(const ListState&)) {
  auto state = std::make_shared<ListState>();
  command.add_flag("--json", state->json, "Print JSON");
  // All of them take both, needed or not, so that a script can pass the same options everywhere.
  AddStoreOption(command, state->common);
  AddKeyOption(command, state->common);
  command.callback([state, &command, &action, run] {
    if (!command.get_subcommands().empty()) return;  // `streams remove`: CLI11 calls this after the sub-command's own
    action = [state, run] { return run(*state); };
  });
  return state;
}

}  // namespace

void AddStreamsCommand(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("streams", "Lists the streams in the store, or removes one");
  command->footer(
      "Examples:\n  earmark streams\n  earmark streams --json\n  earmark streams remove town-hall         (says what is lost, and asks)");
  AddList(*command, action, ListStreams);
  CLI::App* remove = command->add_subcommand(
      "remove", "Removes a stream with its reference and grants, so that its copies can no longer be traced; findings stay");
  auto state = AddList(*remove, action, RemoveStream);
  remove->add_option("STREAM", state->name, "Name of the stream")->required();
  remove->add_flag("--yes", state->yes, "Do not ask; needed where there is no terminal to ask on");
}

void AddAccountsCommand(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("accounts", "Lists accounts, with how many grants they have and how many different clips accuse them");
  command->footer("Examples:\n  earmark accounts\n  earmark accounts --stream town-hall --json");
  auto state = AddList(*command, action, ListAccounts);
  command->add_option("--stream", state->stream, "Only accounts with a grant for this stream");
}

void AddFindingsCommand(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("findings", "Lists what scans have found, newest first");
  command->footer(
      "Examples:\n  earmark findings\n  earmark findings --since 7d\n  earmark findings --account alice --json\n  earmark findings --after 1200       (those that come after finding 1200 in the list)\n\n"
      "Where there are more than --limit, a line on stderr says how to go on.");
  auto state = AddList(*command, action, ListFindings);
  command->add_option("--account", state->account, "Only findings that accuse this account");
  command->add_option("--stream", state->stream, "Only findings with an accusation in this stream");
  command->add_option("--verdict", state->verdict, "Only this verdict")
      ->check(CLI::IsMember({"accused", "no_accusation", "unknown_audio", "unreadable"}));
  command->add_option("--since", state->since,
                      "Only findings made at this time or later: 2026-05-31, 2026-05-31T18:00:00Z, or 7d, 12h ago");
  command
      ->add_option("--after", state->after,
                   "Go on after the finding of this id: those that come after it in the list, which are older")
      ->check([](const std::string& text) {
        return !text.empty() && text.find_first_not_of('0') != std::string::npos && text[0] != '-'
                   ? ""
                   : "wanted the id of a finding, 1 or more, got " + text;
      });
  command->add_option("--limit", state->limit, "At most so many")->check(CLI::Range(1, 10000))->capture_default_str();
}

void AddKeysCommand(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("keys", "Shows the master key's public id, or makes a key");
  command->footer("Examples:\n  earmark keys\n  earmark keys create --key /etc/earmark/master.key");
  AddList(*command, action, ShowKey);
  CLI::App* create = command->add_subcommand("create", "Makes a new key file (never overwrites one)");
  AddList(*create, action, CreateKey);
}

}  // namespace earmark::cli
