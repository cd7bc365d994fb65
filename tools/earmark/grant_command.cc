// `earmark grant`: more listeners for a stream that is marked already.
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
  bool json = false;
};

int RunGrant(const GrantState& state) {
  auto store = OpenStore(state.common, OpenMode::kReadWrite);
  if (!store) return Complain(store.error());
  auto added = GrantWholeStream(**store, state.stream, state.accounts);
  if (!added) return Complain(added.error());
  if (state.json) PrintJson({{"stream", state.stream}, {"added", *added}});
  else std::printf("stream %s: %lld more listener%s may get a copy\n", Printable(state.stream).c_str(), static_cast<long long>(*added), *added == 1 ? "" : "s");
  return 0;
}

}  // namespace

void AddGrantCommand(CLI::App& app, Action& action) {
  auto state = std::make_shared<GrantState>();
  CLI::App* command = app.add_subcommand("grant", "Adds listeners to a stream that was marked from a file");
  command->add_option("STREAM", state->stream, "Name of the stream")->required();
  command->add_option("ACCOUNT", state->accounts, "Who may get a copy, too; no effect on those who may already")->required();
  command->add_flag("--json", state->json, "Print one JSON object");
  AddStoreOption(*command, state->common);
  AddKeyOption(*command, state->common);
  command->footer(
      "Example:\n"
      "  earmark grant town-hall carol dave\n\n"
      "Copies that are out stay traceable. Listeners of a live room are added by its relay, with Grant of the sidecar's API.");
  command->callback([state, &action] { action = [state] { return RunGrant(*state); }; });
}

}  // namespace earmark::cli
