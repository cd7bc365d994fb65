#include "tools/earmark/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "db/text.h"

namespace earmark::cli {
namespace {

std::atomic<int> caught_signal{0};

extern "C" void OnInterrupt(int number) { caught_signal = number; }

std::string Coloured(const char* code, const std::string& text) {
  static const bool colours = isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  return colours ? "\033[" + std::string(code) + "m" + text + "\033[0m" : text;
}

// A store URL may be where a message quotes it, as in a word that was not expected: its password is nobody's to read.
std::string WithoutPasswords(std::string text) {
  for (std::size_t at = text.find("://"); at != std::string::npos; at = text.find("://", at + 3)) {
    const std::size_t end = std::min(text.find_first_of(" /'", at + 3), text.size());
    const std::size_t host = text.rfind('@', end);
    const std::size_t colon = text.find(':', at + 3);
    if (host != std::string::npos && colon < host) text.replace(colon, host - colon, ":…");
  }
  return text;
}

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second Ctrl-C ends the process at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGHUP, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);  // `earmark … | head` ends with a write error, not a death
}

bool Interrupted() { return caught_signal != 0; }

void DieOfInterrupt() {
  std::fflush(nullptr);
  signal(caught_signal, SIG_DFL);
  raise(caught_signal);
}

ProgressBar::ProgressBar()
    : terminal_(isatty(STDERR_FILENO) != 0), started_(std::chrono::steady_clock::now()), last_drawn_(started_) {}

ProgressBar::~ProgressBar() {
  if (drawn_) std::fputs("\r\033[K", stderr);
}

Progress ProgressBar::Callback() {
  return [this](const char* stage, double fraction) {
    if (terminal_) Draw(stage, fraction);
    return !Interrupted();
  };
}

void ProgressBar::Draw(const char* stage, double fraction) {
  using namespace std::chrono_literals;
  const auto now = std::chrono::steady_clock::now();
  if (now - started_ < 2s || now - last_drawn_ < 100ms) return;
  last_drawn_ = now;
  drawn_ = true;
  if (fraction < 0) {
    std::fprintf(stderr, "\r\033[K%s …", stage);
    return;
  }
  constexpr int kWidth = 30;
  const int filled = std::clamp(static_cast<int>(fraction * kWidth), 0, kWidth);
  const double elapsed_s = std::chrono::duration<double>(now - started_).count();
  std::fprintf(stderr, "\r\033[K%-10s [%s%s] %3.0f %%", stage, std::string(static_cast<std::size_t>(filled), '#').c_str(),
               std::string(static_cast<std::size_t>(kWidth - filled), ' ').c_str(), 100 * fraction);
  if (fraction > 0.02) std::fprintf(stderr, "  %.0f s left", std::ceil(elapsed_s * (1 - fraction) / fraction));
}

std::string Padded(const std::string& text, std::size_t columns) {
  const std::string shown = Printable(text);
  return shown + std::string(columns - std::min(columns, PrintedWidth(shown)), ' ');
}

std::string Bold(const std::string& text) { return Coloured("1", text); }
std::string Red(const std::string& text) { return Coloured("1;31", text); }
std::string Green(const std::string& text) { return Coloured("1;32", text); }
std::string Yellow(const std::string& text) { return Coloured("33", text); }

void PrintError(const std::string& message) {
  std::fprintf(stderr, "earmark: %s\n", Printable(WithoutPasswords(message)).c_str());
}
void PrintNote(const std::string& message) { std::fprintf(stderr, "note: %s\n", Printable(WithoutPasswords(message)).c_str()); }

int ExitStatus(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kUnauthenticated:
    case ErrorCode::kPermissionDenied:
    case ErrorCode::kDataLoss:
      return 2;
    case ErrorCode::kCancelled:
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kUnavailable:
    case ErrorCode::kInternal:
      return 1;
  }
  return 1;
}

int Complain(const Error& error) {
  PrintError(error.message);
  return ExitStatus(error);
}

}  // namespace earmark::cli
