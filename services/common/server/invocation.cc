// The command line of a daemon.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "services/common/server/config.h"
#include "services/common/server/front_doors.h"

extern char** environ;

namespace earmark::server {
namespace {

struct Options {
  std::string config_file;
  std::vector<std::string> assignments;
  bool check = false;
  bool print = false;
  bool version = false;
};

void Declare(CLI::App& app, Options& options) {
  app.add_option("--config", options.config_file, "Configuration, TOML");
  app.add_option("--set", options.assignments, "Set one key, as section.key=value; may be repeated")
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--check-config", options.check,
               "Read the configuration and the files of tls, say whether they are right, and exit");
  app.add_flag("--print-config", options.print, "Print every key with the value it would have, and exit");
  app.add_flag("--version", options.version, "Print the version and exit");
  app.footer(
      "Environment: EARMARK_<SECTION>_<KEY> sets a key, such as EARMARK_LISTEN_GRPC=127.0.0.1:0. --set wins over it, and it over "
      "the file.");
}

Result<std::string> ReadFile(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return Fail(ErrorCode::kInvalidArgument, "--config: wanted a file, got the folder " + path);
  constexpr std::streamsize kMaxBytes = 1 << 20;  // a device may have no end
  std::ifstream file(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(kMaxBytes) + 1, '\0');
  file.read(text.data(), kMaxBytes + 1);
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (file.gcount() > kMaxBytes) return Fail(ErrorCode::kInvalidArgument, "--config: " + path + " is longer than 1 MB");
  if (!file.eof() || file.bad()) return Fail(ErrorCode::kNotFound, "--config: cannot read " + path);
  return text;
}

Result<Config> ReadConfig(const std::vector<ConfigKey>& schema, const Options& options) {
  Config config(schema);
  if (!options.config_file.empty()) {
    const auto text = ReadFile(options.config_file);
    if (!text) return Pass(text);
    if (const auto set = config.SetFromToml(*text, options.config_file); !set) return Pass(set);
  }
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  if (const auto set = config.SetFromEnvironment(variables); !set) return Pass(set);
  for (const std::string& assignment : options.assignments) {
    if (const auto set = config.SetFromOption(assignment); !set) return Pass(set);
  }
  return config;
}

Invocation Refuse(const ProgramInfo& program, const std::string& message) {
  std::fprintf(stderr, "%s: %s\n", program.name.c_str(), message.c_str());
  return {.config = std::nullopt, .exit_code = 2, .read_again = {}};
}

Invocation Answer(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  return {.config = std::nullopt, .exit_code = std::fflush(stdout) == 0 ? 0 : 1, .read_again = {}};
}

}  // namespace

Invocation ReadInvocation(const ProgramInfo& program, const std::vector<ConfigKey>& schema, int argc, const char* const* argv) {
  CLI::App app(program.purpose, program.name);
  Options options;
  Declare(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return Answer(app.help());
  } catch (const CLI::ParseError& error) {
    return Refuse(program, std::string(error.what()) + " (see --help)");
  }
  if (options.version) return Answer(program.name + " " + program.version + "\n");
  auto config = ReadConfig(schema, options);
  if (!config) return Refuse(program, config.error().message);
  const auto right = options.print || options.check ? CheckFrontDoors(*config) : Result<void>();
  if (options.print) {
    const Invocation printed = Answer(config->ToToml());
    return right || printed.exit_code != 0 ? printed : Refuse(program, right.error().message);
  }
  if (!right) return Refuse(program, right.error().message);
  if (options.check) return Answer("configuration is right\n");
  return {.config = std::move(*config), .exit_code = 0, .read_again = [schema, options] { return ReadConfig(schema, options); }};
}

}  // namespace earmark::server
