#include "dsp/media/temporary_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace earmark {

std::string TemporaryFolder() {
  std::error_code unknown;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(unknown);
  return unknown ? "/tmp" : folder.string();
}

Result<FileHandle> OpenTemporaryFile() {
  const std::string folder = TemporaryFolder();
  FileHandle file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file.is_open()) return file;
  // Some file systems make files with names alone.
  std::string path = folder + "/earmark-XXXXXX";
  file = FileHandle(::mkostemp(path.data(), O_CLOEXEC));
  if (!file.is_open()) return Fail(ErrorCode::kUnavailable, folder + ": " + std::generic_category().message(errno));
  ::unlink(path.c_str());
  return file;
}

}  // namespace earmark
