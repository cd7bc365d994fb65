#include <cstdio>

#include "tools/earmark/commands.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {

// Prints a bash completion script made from the very options that the parser has, so it cannot fall behind them.
void AddCompletionCommand(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("completion", "Prints a completion script for bash (zsh: after bashcompinit)");
  command->footer("Example:\n  earmark completion > /etc/bash_completion.d/earmark");
  command->callback([&app, &action] {
    action = [&app] {
      const auto words = [](const CLI::App* of) {
        std::string list;
        for (const CLI::App* sub : of->get_subcommands([](const CLI::App*) { return true; })) list += " " + sub->get_name();
        for (const CLI::Option* option : of->get_options()) {
          for (const std::string& name : option->get_lnames()) list += " --" + name;
        }
        return list;
      };
      std::printf("# bash completion for earmark\n_earmark() {\n  local cur=\"${COMP_WORDS[COMP_CWORD]}\" words=\"\"\n  case \"${COMP_WORDS[1]}\" in\n");
      for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
        std::printf("    %s) words=\"%s\" ;;\n", sub->get_name().c_str(), words(sub).c_str());
      }
      std::printf(
          "  esac\n  [ \"$COMP_CWORD\" -eq 1 ] && words=\"%s\"\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "  [ \"$COMP_CWORD\" -gt 1 ] && [[ \"$cur\" != -* ]] && COMPREPLY+=($(compgen -f -- \"$cur\"))\n}\n"
          "complete -o filenames -F _earmark earmark\n",
          words(&app).c_str());
      return 0;
    };
  });
}

}  // namespace earmark::cli
