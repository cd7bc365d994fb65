#include "dsp/media/input_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace earmark {
namespace {

tl::unexpected<Error> OpenFailure(const std::string& path, int error) {
  switch (error) {
    case ENOENT:
      return Fail(ErrorCode::kNotFound, path + ": no such file");
    case EACCES:
    case EPERM:
      return Fail(ErrorCode::kPermissionDenied,
                  path + ": may not be read by this user; check the permissions of the file and its folders");
    case EMFILE:
    case ENFILE:
      return Fail(ErrorCode::kResourceExhausted, path + ": too many files are open");
    case ENXIO:
      return Fail(ErrorCode::kInvalidArgument, path + " is a socket or device, not a file");
    default:
      return Fail(ErrorCode::kInvalidArgument, path + ": cannot be opened: " + std::generic_category().message(error));
  }
}

const char* KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe (FIFO)";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

FileHandle& FileHandle::operator=(FileHandle&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = other.Release();
  }
  return *this;
}

void FileHandle::Close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

int FileHandle::Release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

Result<InputFile> OpenInputFile(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer. It changes nothing for regular files.
  InputFile file{FileHandle(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)), {}};
  if (!file.handle.is_open() || ::fstat(file.handle.fd(), &file.status) != 0) return OpenFailure(path, errno);
  if (!S_ISREG(file.status.st_mode)) {
    return Fail(ErrorCode::kInvalidArgument, path + " is " + KindOf(file.status.st_mode) + ", not a file");
  }
  return file;
}

std::string PeekFile(const FileHandle& file, std::int64_t offset, std::size_t max_bytes) {
  std::string bytes(max_bytes, '\0');
  const ssize_t num_read = ::pread(file.fd(), bytes.data(), max_bytes, offset);
  bytes.resize(num_read > 0 ? static_cast<std::size_t>(num_read) : 0);
  return bytes;
}

}  // namespace earmark
