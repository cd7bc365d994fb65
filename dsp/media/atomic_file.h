// Files that appear whole or not at all.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "dsp/core/result.h"
#include "dsp/media/input_file.h"

namespace earmark {

// A file written under a temporary name in the folder of its final one. It gets its name in one step, after its bytes have
// reached the disk; if that never happens, nothing is left behind (a killed process leaves a ".earmark-*.tmp" that may be
// deleted). A symbolic link is followed: what it points to is written. Not thread-safe; blocks for I/O.
class AtomicFile {
 public:
  // `mode` is the permissions, less the umask. kNotFound: no such folder, or a symbolic link to nothing; kPermissionDenied;
  // kInvalidArgument: the path is a folder, or a device, pipe or socket, which a rename would replace.
  static Result<std::unique_ptr<AtomicFile>> Create(const std::string& path, mode_t mode);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // For libraries that write by themselves, until one of the two below is called.
  int fd() const { return handle_.fd(); }
  // All of the bytes. kResourceExhausted: disk full, quota or file size limit.
  Result<void> Write(std::span<const std::uint8_t> bytes);

  // Gives the file its name, replacing what had it.
  Result<void> Replace();
  // Gives the file its name; kAlreadyExists if something has it, which is left alone.
  Result<void> LinkAsNew();

  // The error for a write that failed with `error` (an errno value), naming the final path.
  tl::unexpected<Error> WriteFailure(int error) const;

 private:
  AtomicFile(std::string path, std::string final_path, std::string temporary_path, FileHandle handle);
  Result<void> Sync();
  Result<void> SyncFolder() const;

  const std::string path_;        // as the caller wrote it, for messages
  const std::string final_path_;  // symbolic links resolved
  std::string temporary_path_;    // empty once there is nothing to remove
  FileHandle handle_;
};

}  // namespace earmark
