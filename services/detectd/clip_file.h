// A clip on its way between a client, the store and the decoder: a temporary file without a name, hashed as it is written.
#pragma once

#include <sodium.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/result.h"

namespace earmark::detectd {

// Nothing is left of it when the process ends, however that happens. For one thread at a time; blocks for I/O.
class ClipFile {
 public:
  // In $TMPDIR or /tmp. kUnavailable: no file can be made there.
  static Result<ClipFile> Create();
  ClipFile(ClipFile&& other) noexcept;
  ClipFile& operator=(ClipFile&&) = delete;
  ~ClipFile();

  // kResourceExhausted: the disk is full; the file is of no use after that.
  Result<void> Append(std::span<const std::uint8_t> bytes);
  std::int64_t size_bytes() const { return size_bytes_; }
  // Of all that was appended, as 64 hex digits.
  std::string Sha256() const;
  // At most so many bytes from this place on; none at the end. The span is valid until the next call. kUnavailable: cannot be read.
  Result<std::span<const std::uint8_t>> Read(std::int64_t first, std::size_t most);
  // Under which this process can open it while this object lives.
  std::string Path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  explicit ClipFile(int descriptor);

  int descriptor_;
  std::int64_t size_bytes_ = 0;
  crypto_hash_sha256_state hash_;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace earmark::detectd
