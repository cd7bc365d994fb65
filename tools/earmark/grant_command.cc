// `earmark grant` and `earmark revoke`: who may get a copy of a stream that is marked already.
#include <charconv>
#include <cmath>
#include <cstdio>

#include "db/text.h"
#include "services/common/registration.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/json_output.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

struct GrantState {
  CommonOptions common = DefaultOptions();
  std::string stream;
  std::vector<std::string> accounts;
  std::string from;
  std::string to;
  bool json = false;
};

// Microseconds of stream time.
Result<std::int64_t> ParseSeconds(const std::string& option, const std::string& text) {
  constexpr double kMaxSeconds = 1e9;
  double seconds = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + text.size() || !(seconds >= 0 && seconds <= kMaxSeconds)) {
    return Fail(ErrorCode::kInvalidArgument,
                option + ": wanted seconds from the start of the stream, such as 90 or 12.5, got '" + text + "'");
  }
  return std::llround(seconds * 1e6);
}

// Without --from and --to the whole stream, however long.
Result<Grant> GrantedTime(const GrantState& state) {
  Grant time;
  if (!state.from.empty()) {
    auto from_us = ParseSeconds("--from", state.from);
    if (!from_us) return Pass(from_us);
    time.from_stream_us = *from_us;
  }
  if (!state.to.empty()) {
    auto to_us = ParseSeconds("--to", state.to);
    if (!to_us) return Pass(to_us);
    time.to_stream_us = *to_us;
  }
  if (time.from_stream_us >= time.to_stream_us)
    return Fail(ErrorCode::kInvalidArgument, "--to: wanted more than --from, got " + state.to + " s");
  return time;
}

int RunGrant(const GrantState& state) {
  auto time = GrantedTime(state);
  if (!time) return Complain(time.error());
  auto store = OpenStore(state.common, OpenMode::kReadWrite);
  if (!store) return Complain(store.error());
  auto added = GrantListeners(**store, state.stream, state.accounts, time->from_stream_us, time->to_stream_us);
  if (!added) return Complain(added.error());
  if (state.json)
    PrintJson({{"stream", state.stream}, {"added", *added}});
  else
    std::printf("stream %s: %lld more listener%s may get a copy\n", Printable(state.stream).c_str(),
                static_cast<long long>(*added), *added == 1 ? "" : "s");
  return 0;
}

int RunRevoke(const GrantState& state) {
  auto store = OpenStore(state.common, OpenMode::kReadWrite);
  if (!store) return Complain(store.error());
  auto revoked = RevokeListeners(**store, state.stream, state.accounts);
  if (!revoked) return Complain(revoked.error());
  if (state.json)
    PrintJson({{"stream", state.stream}, {"revoked", *revoked}});
  else
    std::printf("stream %s: %lld listener%s revoked; copies that are out stay traceable\n", Printable(state.stream).c_str(),
                static_cast<long long>(*revoked), *revoked == 1 ? "" : "s");
  return 0;
}

// What both commands take.
std::shared_ptr<GrantState> AddStreamAndAccounts(CLI::App& command, Action& action, const std::string& who,
                                                 int (*run)(const GrantState&)) {
  auto state = std::make_shared<GrantState>();
  command.add_option("STREAM", state->stream, "Name of the stream")->required();
  command.add_option("ACCOUNT", state->accounts, who)->required();
  command.add_flag("--json", state->json, "Print one JSON object");
  AddStoreOption(command, state->common);
  AddKeyOption(command, state->common);
  command.callback([state, &action, run] { action = [state, run] { return run(*state); }; });
  return state;
}

}  // namespace

void AddGrantCommand(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("grant", "Adds listeners to a stream that was marked from a file, or lets revoked ones in again");
  auto state = AddStreamAndAccounts(*command, action, "Who may get a copy, too; no effect on those who may already", RunGrant);
  command->add_option("--from", state->from, "Seconds of the stream at which the grant begins; its start unless given");
  command->add_option("--to", state->to, "Seconds of the stream at which the grant ends; its end unless given");
  command->footer(
      "Examples:\n"
      "  earmark grant town-hall carol dave\n"
      "  earmark grant town-hall erin --from 600 --to 1500.5     (erin's copy holds that part alone)\n\n"
      "A copy holds what was granted and no more, in whole packets of 20 ms: outside of it a scan does not take the account for a listener. Parts that touch are\n"
      "one; for parts with a gap between them `earmark mark` makes no copy. A grant is not made shorter by another one: revoke it first.\n"
      "Copies that are out stay traceable. Listeners of a live room are added by its relay, with Grant of the sidecar's API.");
}

void AddRevokeCommand(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("revoke", "Lets no more copies of a stream be made for some of its listeners");
  AddStreamAndAccounts(*command, action, "Who gets no copy any more; all of them have a grant, or nobody's is revoked",
                       RunRevoke);
  command->footer(
      "Example:\n"
      "  earmark revoke town-hall carol dave\n\n"
      "Copies that are out stay traceable: scans look for these accounts as before. `earmark grant` lets them in again; a list that `earmark mark` gets does not.\n"
      "Listeners of a live room are revoked by its relay, with Revoke of the sidecar's API.");
}

}  // namespace earmark::cli
