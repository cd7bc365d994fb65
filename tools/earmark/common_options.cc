#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tools/earmark/commands.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsAbsolute(const std::string& path) { return path.starts_with('/'); }

// Empty: there is none. A key or a store in whatever folder is the current one would soon be lost.
std::string DataFolder() {
  const std::string xdg = Environment("XDG_DATA_HOME");
  if (IsAbsolute(xdg)) return xdg + "/earmark";
  const std::string home = Environment("HOME");
  return IsAbsolute(home) ? home + "/.local/share/earmark" : "";
}

Result<void> RequirePlace(const std::string& place, const std::string& what, const std::string& how) {
  if (!place.empty() || !DataFolder().empty()) return {};
  return Fail(ErrorCode::kInvalidArgument,
              "HOME is not set, so there is no usual place for the " + what + "; give it with " + how);
}

}  // namespace

CommonOptions DefaultOptions() {
  CommonOptions options{.store = Environment("EARMARK_STORE"), .key_file = Environment("EARMARK_KEY")};
  const std::string folder = DataFolder();
  if (folder.empty()) return options;
  if (options.store.empty()) options.store = "sqlite:" + folder + "/store.db";
  if (options.key_file.empty()) options.key_file = folder + "/master.key";
  return options;
}

void AddStoreOption(CLI::App& command, CommonOptions& common) {
  command.add_option("--store", common.store, "Store URL, sqlite:PATH or postgresql://USER@HOST/DATABASE (or $EARMARK_STORE)")
      ->default_str(PrintableStoreUrl(common.store));
}

void AddKeyOption(CLI::App& command, CommonOptions& common) {
  command.add_option("--key", common.key_file, "Master key file, made on first use of `mark` (or $EARMARK_KEY)")
      ->capture_default_str();
}

ServerOptions DefaultServer() {
  return {.server = Environment("EARMARK_SERVER"),
          .token_file = {},
          .token = Environment("EARMARK_TOKEN"),
          .ca_file = {},
          .insecure = false};
}

void AddServerOptions(CLI::App& command, ServerOptions& server) {
  command.add_option("--server", server.server, "gRPC address of earmark-detectd, HOST:PORT (or $EARMARK_SERVER)");
  command.add_option("--token-file", server.token_file,
                     "File that holds the access token (or the token itself in $EARMARK_TOKEN)");
  CLI::Option* ca =
      command.add_option("--ca", server.ca_file, "Certificate authority of the server, PEM; needed unless it is on this machine");
  CLI::Option* cert =
      command.add_option("--client-cert", server.cert_file, "Our certificate, PEM, for servers that want one")->needs(ca);
  CLI::Option* key = command.add_option("--client-key", server.key_file, "The private key of --client-cert, PEM")->needs(cert);
  cert->needs(key);
  command
      .add_flag("--insecure", server.insecure,
                "Speak without TLS; only to a server on this machine, where that is the rule anyway")
      ->excludes(ca);
}

void LetStoreWin(const CLI::App& command, ServerOptions& server) {
  if (command.count("--store") == 0) return;
  if (command.count("--server") > 0) throw CLI::ExcludesError("--server", "--store");
  server.server.clear();
}

Result<void> RequireStorePlace(const CommonOptions& common) {
  return RequirePlace(common.store, "store", "--store or $EARMARK_STORE");
}
Result<void> RequireKeyPlace(const CommonOptions& common) {
  return RequirePlace(common.key_file, "master key", "--key or $EARMARK_KEY");
}

Result<std::unique_ptr<Store>> OpenStore(const CommonOptions& common, OpenMode mode) {
  if (auto place = RequireStorePlace(common); !place) return Pass(place);
  return earmark::OpenStore(common.store, mode);
}

Result<MasterKey> ReadMasterKey(const CommonOptions& common) {
  if (auto place = RequireKeyPlace(common); !place) return Pass(place);
  auto key = ReadKeyFile(common.key_file);
  if (!key && key.error().code == ErrorCode::kNotFound) {
    return Fail(ErrorCode::kNotFound,
                common.key_file + ": there is no master key; give the one that the streams were marked under with --key");
  }
  return key;
}

Result<MasterKey> MakeMasterKey(const CommonOptions& common) {
  if (auto place = RequireKeyPlace(common); !place) return Pass(place);
  auto key = CreateKeyFile(common.key_file);
  if (!key) return key;
  PrintNote("made the master key " + std::filesystem::absolute(common.key_file).string() +
            ": back it up; without it no copy can be traced any more");
  return key;
}

}  // namespace earmark::cli
