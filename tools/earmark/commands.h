// The sub-commands. Each adds itself to the application and runs when it was chosen; its result is the exit status.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "db/store.h"
#include "dsp/media/key_file.h"
#include "services/common/all_copies.h"
#include "services/common/copy_request.h"
#include "services/common/marking.h"
#include "services/common/scan/scan.h"
#include "tools/earmark/client/client.h"

namespace earmark::cli {

// Options that every command has.
struct CommonOptions {
  std::string store;     // store URL
  std::string key_file;  // master key
};

// Where things are when nobody says: $EARMARK_STORE, $EARMARK_KEY, else files under $XDG_DATA_HOME/earmark or ~/.local/share/earmark. Empty where neither of
// these folders is known: never the current one.
CommonOptions DefaultOptions();
void AddStoreOption(CLI::App& command, CommonOptions& common);
void AddKeyOption(CLI::App& command, CommonOptions& common);

// $EARMARK_SERVER and $EARMARK_TOKEN.
ServerOptions DefaultServer();
void AddServerOptions(CLI::App& command, ServerOptions& server);
// Of a command that has been parsed and may ask either: with --store it is the store, whatever $EARMARK_SERVER says. Both options: a CLI::ParseError.
void LetStoreWin(const CLI::App& command, ServerOptions& server);

// kInvalidArgument: nobody said where the store, or the key, is, and there is no usual place.
Result<void> RequireStorePlace(const CommonOptions& common);
Result<void> RequireKeyPlace(const CommonOptions& common);

// The store at common.store. kInvalidArgument: no place; otherwise OpenStore's errors.
Result<std::unique_ptr<Store>> OpenStore(const CommonOptions& common, OpenMode mode);

// The key at common.key_file, which must be there already. kNotFound says what key is missing; kInvalidArgument: no place.
Result<MasterKey> ReadMasterKey(const CommonOptions& common);

// A new key at common.key_file, announced on stderr: it must be backed up. kAlreadyExists; kInvalidArgument: no place; otherwise CreateKeyFile's errors.
Result<MasterKey> MakeMasterKey(const CommonOptions& common);

// What to run once the command line is parsed: returns the exit status.
using Action = std::function<int()>;

void AddMarkCommand(CLI::App& app, Action& action);
void AddGrantCommand(CLI::App& app, Action& action);
void AddRevokeCommand(CLI::App& app, Action& action);
void AddScanCommand(CLI::App& app, Action& action);
void AddSubmitCommand(CLI::App& app, Action& action);
void AddLeaksCommand(CLI::App& app, Action& action);
void AddTokenCommand(CLI::App& app, Action& action);
void AddStreamsCommand(CLI::App& app, Action& action);
void AddAccountsCommand(CLI::App& app, Action& action);
void AddFindingsCommand(CLI::App& app, Action& action);
void AddKeysCommand(CLI::App& app, Action& action);
void AddDbCommand(CLI::App& app, Action& action);
void AddCompletionCommand(CLI::App& app, Action& action);
void AddDemoCommand(CLI::App& app, Action& action);

// ---- the pieces that commands share

struct MarkRequest : CopyRequest {
  std::string listeners_file;
  std::string all_to;  // the folder for everybody's copies; then account is empty, and output ends as their names do
  bool plain = false;  // no mark, nothing registered
  CommonOptions common;
};
struct MarkOutcome {
  bool registered = false;  // the stream was new
  std::int64_t num_packets = 0;
  std::int64_t num_erased_slots = 0;
  std::int64_t num_listeners = 0;
  std::int64_t num_added = 0;  // listeners that a known stream did not have yet
  double lost_share = 0;       // as RegisterSummary has it; of a new stream
  CopySet written;             // one copy, unless all are wanted
};
Result<MarkOutcome> RunMark(const MarkRequest& request);

struct ScanRequest {
  std::string clip;
  ScanOptions options;
  CommonOptions common;
};
// Scans and keeps the finding in the store; where it is not kept, a note on stderr says why.
Result<ScanReport> RunScan(const ScanRequest& request);

}  // namespace earmark::cli
