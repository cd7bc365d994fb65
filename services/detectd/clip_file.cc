#include "services/detectd/clip_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

namespace earmark::detectd {
namespace {

int OpenNameless(const std::string& folder) {
  const int made = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (made >= 0) return made;
  // Some file systems make files with names alone.
  std::string path = folder + "/earmark-clip-XXXXXX";
  const int named = ::mkostemp(path.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(path.c_str());
  return named;
}

}  // namespace

ClipFile::ClipFile(int descriptor) : descriptor_(descriptor) { crypto_hash_sha256_init(&hash_); }

ClipFile::ClipFile(ClipFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      size_bytes_(other.size_bytes_),
      hash_(other.hash_),
      buffer_(std::move(other.buffer_)) {}

ClipFile::~ClipFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<ClipFile> ClipFile::Create() {
  std::error_code unknown;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(unknown);
  const int descriptor = OpenNameless(unknown ? "/tmp" : folder.string());
  if (descriptor < 0) return Fail(ErrorCode::kUnavailable, std::string("temporary file for a clip: ") + std::strerror(errno));
  return ClipFile(descriptor);
}

Result<void> ClipFile::Append(std::span<const std::uint8_t> bytes) {
  crypto_hash_sha256_update(&hash_, bytes.data(), bytes.size());
  while (!bytes.empty()) {
    const ::ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), size_bytes_);
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

std::string ClipFile::Sha256() const {
  crypto_hash_sha256_state state = hash_;
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256_final(&state, hash.data());
  std::array<char, 2 * crypto_hash_sha256_BYTES + 1> hex{};
  sodium_bin2hex(hex.data(), hex.size(), hash.data(), hash.size());
  return hex.data();
}

Result<std::span<const std::uint8_t>> ClipFile::Read(std::int64_t first, std::size_t most) {
  buffer_.resize(most);
  std::size_t num_read = 0;
  while (num_read < most) {
    const ::ssize_t got = ::pread(descriptor_, buffer_.data() + num_read, most - num_read, first + static_cast<std::int64_t>(num_read));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Fail(ErrorCode::kUnavailable, std::string("temporary file for a clip: ") + std::strerror(errno));
    if (got == 0) break;
    num_read += static_cast<std::size_t>(got);
  }
  return std::span<const std::uint8_t>(buffer_.data(), num_read);
}

}  // namespace earmark::detectd
