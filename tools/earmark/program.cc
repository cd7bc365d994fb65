#include "tools/earmark/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

#include "dsp/media/input_file.h"

extern char** environ;  // NOLINT(readability-identifier-naming)

namespace earmark::cli {
namespace {

class SpawnActions {
 public:
  SpawnActions() { posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

std::string LastLine(const FileHandle& file) {
  std::string text = PeekFile(file, 0, 65536);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

}  // namespace

Result<void> RunProgram(const std::vector<std::string>& words, const std::string& install) {
  const FileHandle errors(::memfd_create("errors", MFD_CLOEXEC));  // a pipe would need a reader
  if (!errors.is_open()) return Fail(ErrorCode::kResourceExhausted, "no file for what " + words[0] + " prints");
  SpawnActions actions;
  posix_spawn_file_actions_addopen(actions.get(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(actions.get(), STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(actions.get(), errors.fd(), STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failed = posix_spawnp(&child, arguments[0], actions.get(), nullptr, arguments.data(), environ);
  if (failed == ENOENT)
    return Fail(ErrorCode::kFailedPrecondition, "the program '" + words[0] + "' is not installed; " + install);
  if (failed != 0) return Fail(ErrorCode::kInternal, words[0] + " cannot be started: " + std::generic_category().message(failed));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFSIGNALED(status))
    return Fail(ErrorCode::kInternal, words[0] + " was ended by signal " + std::to_string(WTERMSIG(status)));
  return Fail(ErrorCode::kInternal, words[0] + " failed: " + LastLine(errors));
}

}  // namespace earmark::cli
