#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "db/text.h"
#include "tools/earmark/commands.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

std::vector<const CLI::App*> SubCommands(const CLI::App& of) {
  return of.get_subcommands([](const CLI::App*) { return true; });
}

bool IsHidden(const CLI::Option& option) { return option.get_group().empty(); }

std::string Words(const CLI::App& of) {
  std::string list;
  for (const CLI::App* sub : SubCommands(of)) list += sub->get_name() + " ";
  for (const CLI::Option* option : of.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (!IsHidden(*option)) list += "--" + name + " ";
    }
  }
  return list;
}

// What the script offers for a value: streams, accounts, files, the words there are to choose from, or nothing.
std::string ValuesFor(const CLI::Option& option) {
  const std::set<std::string> files{"IN",    "CLIP",         "--listeners", "--out",   "--all-to",
                                    "--key", "--token-file", "--ca",        "--audio", "--work-dir"};
  const std::string name = option.get_positional() ? option.get_name(true) : "--" + option.get_lnames().front();
  if (name == "STREAM" || name == "--stream") return "streams";
  if (name == "ACCOUNT" || name == "--account" || name == "--for") return "accounts";
  if (files.contains(name)) return "files";
  const std::string type = option.get_type_name();  // of a choice "TEXT:{opus,none}"
  const std::size_t open = type.find('{');
  if (open == std::string::npos) return "";
  std::string words = type.substr(open + 1, type.find('}') - open - 1);
  for (char& c : words) c = c == ',' ? ' ' : c;
  return words;
}

void PrintCase(const std::string& pattern, const std::string& command, const CLI::App& of) {
  std::string values;
  for (const CLI::Option* option : of.get_options()) {
    if (option->get_positional()) values += ValuesFor(*option) + " ";
  }
  std::printf("    %s) command='%s' words='%s' values='%s' ;;\n", pattern.c_str(), command.c_str(), Words(of).c_str(),
              values.c_str());
}

void PrintValueCases(const std::string& command, const CLI::App& of) {
  for (const CLI::Option* option : of.get_options()) {
    if (option->get_positional() || IsHidden(*option) || option->get_expected_max() == 0) continue;
    for (const std::string& name : option->get_lnames())
      std::printf("    '%s --%s') words= values='%s' ;;\n", command.c_str(), name.c_str(), ValuesFor(*option).c_str());
  }
}

// Names come out of the store by a hidden option of `completion`, one a line, and are offered as they are.
constexpr char kHead[] = R"(# bash completion for earmark
_earmark() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" command= words= values= value
  local -a of=() more
  case "$COMP_CWORD ${COMP_WORDS[*]:1:2}" in
)";
constexpr char kMiddle[] = R"(  esac
  case "$command $prev" in
)";
constexpr char kTail[] = R"(  esac
  COMPREPLY=()
  [[ $cur == -* || -z ${values// } ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  [[ $cur == -* ]] && return 0
  [[ ${COMP_LINE-} =~ \ --store[=\ ]+([^ ]+) ]] && of+=(--store "${BASH_REMATCH[1]}")
  if [[ ${COMP_LINE-} =~ \ --stream[=\ ]+([^ ]+) ]]; then
    of+=(--stream "${BASH_REMATCH[1]}")
  elif [[ $values == 'streams accounts ' ]]; then
    [[ $COMP_CWORD == 2 ]] && values=streams || { values=accounts; of+=(--stream "${COMP_WORDS[2]}"); }
  fi
  for value in $values; do
    case $value in
      files) mapfile -t more < <(compgen -f -- "$cur") ;;
      streams | accounts)
        compopt +o filenames 2>/dev/null || true  # which would take a name for a folder's where there is such a folder
        mapfile -t more < <("${COMP_WORDS[0]}" completion --names "$value" --prefix "$cur" "${of[@]}" 2>/dev/null)
        [[ ${#more[@]} == 0 ]] || mapfile -t more < <(printf '%q\n' "${more[@]}") ;;
      *) mapfile -t more < <(compgen -W "$value" -- "$cur") ;;
    esac
    COMPREPLY+=("${more[@]}")
  done
  return 0
}
complete -o filenames -F _earmark earmark
)";

void PrintScript(const CLI::App& app) {
  std::printf("%s", kHead);
  PrintCase("'1 '*", "", app);
  for (const CLI::App* sub : SubCommands(app)) {
    const std::string name = sub->get_name();
    for (const CLI::App* deeper : SubCommands(*sub)) {
      const std::string both = name + " " + deeper->get_name();
      PrintCase("[!2]*' " + both + "' | 2[0-9]*' " + both + "'", both, *deeper);
    }
    PrintCase("*' " + name + "' | *' " + name + " '*", name, *sub);
  }
  std::printf("%s", kMiddle);
  for (const CLI::App* sub : SubCommands(app)) {
    for (const CLI::App* deeper : SubCommands(*sub)) PrintValueCases(sub->get_name() + " " + deeper->get_name(), *deeper);
    PrintValueCases(sub->get_name(), *sub);
  }
  std::printf("%s", kTail);
}

struct CompletionState {
  std::string names;  // "streams" or "accounts": prints these instead of the script
  std::string prefix;
  std::string stream;
  CommonOptions common = DefaultOptions();
};

// Whoever presses a key wants names or nothing: what fails is not told.
void PrintNames(const CompletionState& state) {
  constexpr int kMax = 500;
  auto store = OpenStore(state.common, OpenMode::kReadWrite);
  if (!store) return;
  std::vector<std::string> names;
  if (state.names == "streams") {
    auto streams = (*store)->ListStreams();
    if (!streams) return;
    for (const StreamRecord& stream : *streams) names.push_back(stream.id);
  } else {
    auto accounts = (*store)->ListAccounts(state.stream.empty() ? std::nullopt : std::optional<std::string_view>(state.stream));
    if (!accounts) return;
    for (const AccountSummary& account : *accounts) names.push_back(account.account);
  }
  int num_printed = 0;
  for (const std::string& name : names) {
    if (!name.starts_with(state.prefix) || Printable(name) != name) continue;
    std::printf("%s\n", name.c_str());
    if (++num_printed == kMax) return;
  }
}

}  // namespace

// Prints a bash completion script made from the very options that the parser has, so it cannot fall behind them.
void AddCompletionCommand(CLI::App& app, Action& action) {
  const auto state = std::make_shared<CompletionState>();
  CLI::App* command = app.add_subcommand("completion", "Prints a completion script for bash (zsh: after bashcompinit)");
  command->footer("Example:\n  earmark completion > /etc/bash_completion.d/earmark");
  command->add_option("--names", state->names)->check(CLI::IsMember({"streams", "accounts"}))->group("");
  command->add_option("--prefix", state->prefix)->group("");
  command->add_option("--stream", state->stream)->group("");
  command->add_option("--store", state->common.store)->group("");
  command->callback([&app, &action, state] {
    action = [&app, state] {
      if (state->names.empty())
        PrintScript(app);
      else
        PrintNames(*state);
      return 0;
    };
  });
}

}  // namespace earmark::cli
