#include <sodium.h>

#include <cstdio>

#include "dsp/core/core_dumps.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/terminal.h"

namespace {

std::string UsageMessage(const CLI::App& app, int argc, char** argv, const std::string& what) {
  const auto chosen = app.get_subcommands();
  if (!chosen.empty()) return what + " (see `earmark " + chosen.front()->get_name() + " --help`)";
  if (argc > 1 && argv[1][0] != '-') return "there is no command '" + std::string(argv[1]) + "' (see `earmark --help`)";
  return what + " (see `earmark --help`)";
}

}  // namespace

int main(int argc, char** argv) {
  using namespace earmark::cli;
  if (sodium_init() < 0) {
    PrintError("the system gives no random numbers; libsodium cannot start");
    return 1;
  }
  earmark::LeaveNoCoreDumps();
  CatchInterrupts();
  CLI::App app(
      "Finds out who leaked a private live stream: marks every listener's copy, and names the account whose copy a recording is.");
  app.name("earmark");
  app.set_version_flag("--version", "earmark " EARMARK_VERSION);
  app.require_subcommand(1);
  app.fallthrough(false);
  app.footer(
      "Examples:\n"
      "  earmark mark talk.wav --stream town-hall --listeners accounts.txt --for alice --out alice.opus\n"
      "  earmark scan clip.mp4\n"
      "  earmark scan clip.mp4 --json | jq .verdict\n"
      "  earmark streams\n\n"
      "`earmark COMMAND --help` tells more. Exit status: 0 done (whatever was found), 2 bad usage or unreadable input, 1 anything else.");
  Action action;
  AddDemoCommand(app, action);
  AddMarkCommand(app, action);
  AddGrantCommand(app, action);
  AddRevokeCommand(app, action);
  AddScanCommand(app, action);
  AddSubmitCommand(app, action);
  AddLeaksCommand(app, action);
  AddTokenCommand(app, action);
  AddStreamsCommand(app, action);
  AddAccountsCommand(app, action);
  AddFindingsCommand(app, action);
  AddKeysCommand(app, action);
  AddDbCommand(app, action);
  AddCompletionCommand(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    PrintError(UsageMessage(app, argc, argv, error.what()));
    return 2;
  }
  const int status = action();
  if (status != 0 && Interrupted()) DieOfInterrupt();
  if (std::fflush(stdout) != 0) return 1;
  return status;
}
