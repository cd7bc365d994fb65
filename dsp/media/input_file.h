// Opening files that somebody else chose.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "dsp/core/result.h"

namespace earmark {

// A file descriptor that closes itself.
class FileHandle {
 public:
  FileHandle() = default;
  explicit FileHandle(int fd) : fd_(fd) {}
  FileHandle(FileHandle&& other) noexcept : fd_(other.Release()) {}
  FileHandle& operator=(FileHandle&& other) noexcept;
  ~FileHandle() { Close(); }

  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void Close();

 private:
  int Release();

  int fd_ = -1;
};

// A regular file, open for reading at its start, and what the system said of it when it was opened.
struct InputFile {
  FileHandle handle;
  struct stat status;
};

// Opens a regular file and nothing else; never waits, not even for a FIFO. kNotFound; kPermissionDenied; kInvalidArgument for a
// folder, FIFO, socket or device.
Result<InputFile> OpenInputFile(const std::string& path);

// At most `max_bytes` of the file from `offset` on, wherever its reading position is. Empty if it cannot be read.
std::string PeekFile(const FileHandle& file, std::int64_t offset, std::size_t max_bytes);

}  // namespace earmark
