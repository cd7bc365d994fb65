#include "tools/earmark/marking_lock.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <utility>

namespace earmark::cli {
namespace {

constexpr std::string_view kFilePrefix = "sqlite:";

std::string LockPath(const std::string& store_path, const std::string& stream_id) {
  std::array<unsigned char, crypto_generichash_BYTES_MIN> hash{};
  crypto_generichash(hash.data(), hash.size(), reinterpret_cast<const unsigned char*>(stream_id.data()), stream_id.size(), nullptr, 0);
  std::array<char, 17> hex{};
  sodium_bin2hex(hex.data(), hex.size(), hash.data(), 8);
  return store_path + ".marking-" + hex.data();
}

// True if `path` is still the file behind `handle`: whoever held the lock before may have removed it while we waited to look.
bool IsStill(const std::string& path, const FileHandle& handle) {
  struct stat by_handle = {};
  struct stat by_path = {};
  return ::fstat(handle.fd(), &by_handle) == 0 && ::stat(path.c_str(), &by_path) == 0 && by_handle.st_ino == by_path.st_ino &&
         by_handle.st_dev == by_path.st_dev;
}

}  // namespace

MarkingLock::MarkingLock(MarkingLock&& other) noexcept
    : path_(std::exchange(other.path_, {})), handle_(std::move(other.handle_)), found_abandoned_(other.found_abandoned_) {}

MarkingLock::~MarkingLock() {
  if (!path_.empty()) ::unlink(path_.c_str());  // before the lock goes with the handle
}

Result<MarkingLock> MarkingLock::Acquire(const std::string& store_url, const std::string& stream_id) {
  MarkingLock lock;
  if (store_url.compare(0, kFilePrefix.size(), kFilePrefix) != 0) return lock;
  const std::string path = LockPath(store_url.substr(kFilePrefix.size()), stream_id);
  for (;;) {
    FileHandle handle(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    const bool is_new = handle.is_open();
    if (!is_new) handle = FileHandle(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!handle.is_open()) {
      if (errno == ENOENT) continue;  // removed in between
      return lock;                    // a file system without room or rights for it: the store itself will say so
    }
    if (::flock(handle.fd(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return lock;
      return Fail(ErrorCode::kFailedPrecondition,
                  "stream '" + stream_id + "' is being marked by another process just now; wait until it is done, or choose another --stream");
    }
    if (!IsStill(path, handle)) continue;
    lock.path_ = path;
    lock.handle_ = std::move(handle);
    lock.found_abandoned_ = !is_new;
    return lock;
  }
}

}  // namespace earmark::cli
