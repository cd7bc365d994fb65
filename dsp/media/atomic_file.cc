#include "dsp/media/atomic_file.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "dsp/core/hex.h"

namespace earmark {
namespace {

tl::unexpected<Error> Failure(const std::string& path, int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Fail(ErrorCode::kResourceExhausted,
                  path + ": cannot be written: " + std::generic_category().message(error) + "; make room and try again");
    case EACCES:
    case EPERM:
    case EROFS:
      return Fail(ErrorCode::kPermissionDenied,
                  path + ": cannot be written: " + std::generic_category().message(error) + "; check its folder");
    case ENOENT:
    case ENOTDIR:
      return Fail(ErrorCode::kNotFound, path + ": its folder does not exist");
    default:
      return Fail(ErrorCode::kInvalidArgument, path + ": cannot be written: " + std::generic_category().message(error));
  }
}

// The path with its symbolic link, if it is one, resolved; fails for what must not be replaced.
Result<std::string> FinalPath(const std::string& path) {
  std::error_code ignored;
  std::string resolved = path;
  if (std::filesystem::is_symlink(path, ignored)) {
    std::error_code error;
    resolved = std::filesystem::canonical(path, error).string();
    if (error) return Fail(ErrorCode::kNotFound, path + " is a symbolic link to nothing; mend or remove it");
  }
  const std::filesystem::file_status status = std::filesystem::status(resolved, ignored);
  if (std::filesystem::is_directory(status)) return Fail(ErrorCode::kInvalidArgument, path + " is a folder; give a file name");
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    return Fail(ErrorCode::kInvalidArgument, path + " is a device, pipe or socket; give the name of a file");
  }
  return resolved;
}

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

// Short and independent of the final name, which may already be as long as the file system allows.
std::string TemporaryPath(const std::string& final_path) {
  unsigned char random[8];
  randombytes_buf(random, sizeof(random));
  return FolderOf(final_path) + "/.earmark-" + ToHex(random) + ".tmp";
}

}  // namespace

AtomicFile::AtomicFile(std::string path, std::string final_path, std::string temporary_path, FileHandle handle)
    : path_(std::move(path)),
      final_path_(std::move(final_path)),
      temporary_path_(std::move(temporary_path)),
      handle_(std::move(handle)) {}

AtomicFile::~AtomicFile() {
  if (!temporary_path_.empty()) ::unlink(temporary_path_.c_str());
}

Result<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& path, mode_t mode) {
  if (sodium_init() < 0) return Fail(ErrorCode::kInternal, "libsodium cannot start");
  Result<std::string> final_path = FinalPath(path);
  if (!final_path) return Pass(final_path);
  std::string temporary_path = TemporaryPath(*final_path);
  // 64 random bits do not collide by chance, so O_EXCL failing is an error like any other.
  FileHandle handle(::open(temporary_path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!handle.is_open()) return Failure(path, errno);
  return std::unique_ptr<AtomicFile>(new AtomicFile(path, *std::move(final_path), std::move(temporary_path), std::move(handle)));
}

Result<void> AtomicFile::Write(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t num_written = ::write(fd(), bytes.data(), bytes.size());
    if (num_written < 0 && errno == EINTR) continue;
    if (num_written < 0) return WriteFailure(errno);
    bytes = bytes.subspan(static_cast<std::size_t>(num_written));
  }
  return {};
}

Result<void> AtomicFile::Replace() {
  if (Result<void> synced = Sync(); !synced) return synced;
  if (::rename(temporary_path_.c_str(), final_path_.c_str()) != 0) return WriteFailure(errno);
  temporary_path_.clear();
  return SyncFolder();
}

Result<void> AtomicFile::LinkAsNew() {
  if (Result<void> synced = Sync(); !synced) return synced;
  if (::link(temporary_path_.c_str(), final_path_.c_str()) != 0) {
    if (errno == EEXIST) return Fail(ErrorCode::kAlreadyExists, path_ + " exists already and is left as it is");
    return WriteFailure(errno);
  }
  ::unlink(temporary_path_.c_str());
  temporary_path_.clear();
  return SyncFolder();
}

tl::unexpected<Error> AtomicFile::WriteFailure(int error) const { return Failure(path_, error); }

Result<void> AtomicFile::Sync() {
  if (::fsync(fd()) != 0) return WriteFailure(errno);
  handle_.Close();
  return {};
}

// Without this the name itself may be lost in a power cut.
Result<void> AtomicFile::SyncFolder() const {
  const FileHandle folder(::open(FolderOf(final_path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A folder that may be written but not read, and file systems that cannot sync folders, are nothing to fail for.
  if (!folder.is_open() || ::fsync(folder.fd()) == 0 || errno == EINVAL) return {};
  return WriteFailure(errno);
}

}  // namespace earmark
