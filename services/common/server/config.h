// Configuration of a daemon: a TOML file, the environment and options, checked against a declared list of keys.
//
// What is set last wins: built-in default, then the file, then EARMARK_<SECTION>_<KEY>, then --set section.key=value. Nothing is
// ignored: a key that does not exist is an error that names the nearest one that does.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "dsp/core/result.h"

namespace earmark::server {

// A switch is a variant of its own, so that `true` and the text "true" do not mix.
using ConfigValue = std::variant<std::string, std::int64_t, double, bool>;

// What may be shown of a value.
enum class Privacy {
  kPublic,
  kUrl,     // a URL that may hold a password, which is not shown
  kSecret,  // not shown at all
};

// One key that a program understands. Its default says which type it has.
struct ConfigKey {
  std::string section;
  std::string key;
  ConfigValue fallback;
  std::string help;  // one line
  Privacy privacy = Privacy::kPublic;
};

// The values of all keys of a schema. Immutable; safe from any thread.
class Config {
 public:
  explicit Config(std::vector<ConfigKey> schema);

  // The value of a key of the schema; asking for another key or type is a defect of the caller and aborts.
  const std::string& Text(std::string_view section, std::string_view key) const;
  std::int64_t Integer(std::string_view section, std::string_view key) const;
  double Number(std::string_view section, std::string_view key) const;
  bool Switch(std::string_view section, std::string_view key) const;

  // The keys, section.key, whose values are others than in `other`, which has the same schema.
  std::vector<std::string> KeysUnlike(const Config& other) const;

  // All keys with their values and help as TOML that can be read again, secrets masked.
  std::string ToToml() const;

  // Sets keys from TOML text; `origin` names it in messages. kInvalidArgument: syntax, unknown section or key, wrong type; with
  // the line.
  Result<void> SetFromToml(std::string_view text, const std::string& origin);
  // Sets keys from variables NAME=VALUE; those that do not begin with EARMARK_ and a section of the schema are somebody else's.
  Result<void> SetFromEnvironment(std::span<const std::string> variables);
  // Sets one key from `section.key=value`. The value is written as in TOML; quotes around text may be left out.
  Result<void> SetFromOption(const std::string& assignment);

 private:
  const ConfigValue& At(std::string_view section, std::string_view key) const;
  Result<const ConfigKey*> Find(const std::string& section, const std::string& key, const std::string& where) const;
  Result<void> SetFromText(const ConfigKey& key, const std::string& text, const std::string& where);

  std::vector<ConfigKey> schema_;
  std::map<std::string, ConfigValue, std::less<>> values_;  // by section.key
};

// The keys that all daemons have: store, key, listen, auth, tls, log, retention. A daemon adds its own.
std::vector<ConfigKey> CommonConfigKeys();

// What the command line of a daemon asked for.
struct Invocation {
  // Absent: everything is answered already (--help, --version, --check-config, --print-config); exit with `exit_code`.
  std::optional<Config> config;
  int exit_code = 0;
  // Reads file, environment and command line once more. kInvalidArgument, kNotFound: with the message that a start would give.
  std::function<Result<Config>()> read_again;
};

struct ProgramInfo {
  std::string name;     // earmark-sidecar
  std::string version;  // 0.1.0
  std::string purpose;  // one line for --help
};

// Reads the command line, --config FILE, the environment and --set, and answers --help, --version, --check-config and
// --print-config on stdout; the latter two also check what CheckFrontDoors does. Mistakes are told in one line on stderr: exit code 2.
Invocation ReadInvocation(const ProgramInfo& program, const std::vector<ConfigKey>& schema, int argc, const char* const* argv);

}  // namespace earmark::server
