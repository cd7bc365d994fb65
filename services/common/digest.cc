#include "services/common/digest.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>

#include "dsp/core/sha256.h"

namespace earmark {

Result<std::string> FileDigest(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) {
    const int error = errno;
    return Fail(error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kPermissionDenied, path + ": " + std::strerror(error));
  }
  Sha256 hash;
  std::array<std::uint8_t, 65536> buffer{};
  for (std::size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), file.get())) > 0;) {
    hash.Add(std::span(buffer).first(got));
  }
  if (std::ferror(file.get()) != 0) return Fail(ErrorCode::kInvalidArgument, path + ": cannot be read");
  return hash.Hex();
}

std::string BytesDigest(std::string_view bytes) {
  Sha256 hash;
  hash.Add(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()));
  return hash.Hex();
}

std::int64_t UnixMicroseconds() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace earmark
