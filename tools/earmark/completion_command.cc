#include <cstdio>

#include "tools/earmark/commands.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

std::vector<const CLI::App*> SubCommands(const CLI::App& of) {
  return of.get_subcommands([](const CLI::App*) { return true; });
}

std::string Words(const CLI::App& of) {
  std::string list;
  for (const CLI::App* sub : SubCommands(of)) list += sub->get_name() + " ";
  for (const CLI::Option* option : of.get_options()) {
    for (const std::string& name : option->get_lnames()) list += "--" + name + " ";
  }
  return list;
}

constexpr char kHead[] = R"(# bash completion for earmark
_earmark() {
  local cur="${COMP_WORDS[COMP_CWORD]}" words=
  case "$COMP_CWORD ${COMP_WORDS[*]:1:2}" in
)";
constexpr char kTail[] = R"(  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  if [[ $COMP_CWORD -gt 1 && $cur != -* ]]; then
    local -a files
    mapfile -t files < <(compgen -f -- "$cur")
    COMPREPLY+=("${files[@]}")
  fi
  return 0
}
complete -o filenames -F _earmark earmark
)";

}  // namespace

// Prints a bash completion script made from the very options that the parser has, so it cannot fall behind them.
void AddCompletionCommand(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("completion", "Prints a completion script for bash (zsh: after bashcompinit)");
  command->footer("Example:\n  earmark completion > /etc/bash_completion.d/earmark");
  command->callback([&app, &action] {
    action = [&app] {
      std::printf("%s    '1 '*) words='%s' ;;\n", kHead, Words(app).c_str());
      for (const CLI::App* sub : SubCommands(app)) {
        const std::string name = sub->get_name();
        for (const CLI::App* deeper : SubCommands(*sub)) {
          std::printf("    [!2]*' %s %s') words='%s' ;;\n", name.c_str(), deeper->get_name().c_str(), Words(*deeper).c_str());
        }
        std::printf("    *' %s' | *' %s '*) words='%s' ;;\n", name.c_str(), name.c_str(), Words(*sub).c_str());
      }
      std::printf("%s", kTail);
      return 0;
    };
  });
}

}  // namespace earmark::cli
