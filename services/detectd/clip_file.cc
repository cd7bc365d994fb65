#include "services/detectd/clip_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "dsp/media/temporary_file.h"

namespace earmark::detectd {

Result<ClipFile> ClipFile::Create() {
  auto file = OpenTemporaryFile();
  if (!file) return Fail(file.error().code, "temporary file for a clip: " + file.error().message);
  return ClipFile(*std::move(file));
}

Result<void> ClipFile::Append(std::span<const std::uint8_t> bytes) {
  hash_.Add(bytes);
  while (!bytes.empty()) {
    const ::ssize_t written = ::pwrite(file_.fd(), bytes.data(), bytes.size(), size_bytes_);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const bool full = written == 0 || errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
      return Fail(full ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
                  std::string("temporary file for a clip: ") + (written == 0 ? "no room" : std::strerror(errno)));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    size_bytes_ += written;
  }
  return {};
}

Result<std::span<const std::uint8_t>> ClipFile::Read(std::int64_t first, std::size_t max) {
  buffer_.resize(max);
  std::size_t num_read = 0;
  while (num_read < max) {
    const ::ssize_t got =
        ::pread(file_.fd(), buffer_.data() + num_read, max - num_read, first + static_cast<std::int64_t>(num_read));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Fail(ErrorCode::kUnavailable, std::string("temporary file for a clip: ") + std::strerror(errno));
    if (got == 0) break;
    num_read += static_cast<std::size_t>(got);
  }
  return std::span<const std::uint8_t>(buffer_.data(), num_read);
}

}  // namespace earmark::detectd
