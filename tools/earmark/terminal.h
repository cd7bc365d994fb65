// What the command line says to people: progress, colours, errors. All of it goes to stderr or follows the terminal; results go to stdout.
#pragma once

#include <chrono>
#include <string>

#include "services/common/marking.h"

namespace earmark::cli {

// A progress bar on stderr, drawn only if stderr is a terminal and the work has taken over two seconds. Also the place where Ctrl-C ends up: the
// callback returns false after it, so that work stops and tidies up.
class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  Progress Callback();

 private:
  void Draw(const char* stage, double fraction);

  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point last_drawn_;
};

// SIGINT, SIGTERM and SIGHUP set a flag instead of ending the process; a second one ends it at once. Call once at start.
void CatchInterrupts();
bool Interrupted();
// Ends the process by the signal that was caught, now that everything is tidy: shells and scripts can tell, and stop too.
void DieOfInterrupt();

// `text` in a colour if stdout is a terminal (and NO_COLOR is not set).
std::string Bold(const std::string& text);
std::string Red(const std::string& text);
std::string Green(const std::string& text);
std::string Yellow(const std::string& text);

// `text` as it may be shown (db/text.h), and blanks up to so many columns.
std::string Padded(const std::string& text, std::size_t columns);

// "earmark: <message>" on stderr, one line whatever the message holds.
void PrintError(const std::string& message);
void PrintNote(const std::string& message);

// Exit status for an error: 2 for what the user can mend (bad usage, unreadable input), 1 for anything else.
int ExitStatus(const Error& error);
// Prints the error and returns its exit status.
int Complain(const Error& error);

}  // namespace earmark::cli
