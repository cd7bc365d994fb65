#include "tools/earmark/commands.h"
namespace earmark::cli { void AddDemoCommand(CLI::App&, Action&) {} }
