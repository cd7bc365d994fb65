// A clip on its way between a client, the store and the decoder: a temporary file without a name, hashed as it is written.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/sha256.h"
#include "dsp/media/input_file.h"

namespace earmark::detectd {

// Nothing is left of it when the process ends, however that happens. For one thread at a time; blocks for I/O.
class ClipFile {
 public:
  // In $TMPDIR or /tmp. kUnavailable: no file can be made there.
  static Result<ClipFile> Create();

  // kResourceExhausted: the disk is full; the file is of no use after that.
  Result<void> Append(std::span<const std::uint8_t> bytes);
  std::int64_t size_bytes() const { return size_bytes_; }
  // Of all that was appended, as 64 hex digits.
  std::string Sha256() const { return hash_.Hex(); }
  // At most so many bytes from this place on; none at the end. The span is valid until the next call. kUnavailable: cannot be read.
  Result<std::span<const std::uint8_t>> Read(std::int64_t first, std::size_t max);
  // Valid while this object lives.
  int fd() const { return file_.fd(); }

 private:
  explicit ClipFile(FileHandle file) : file_(std::move(file)) {}

  FileHandle file_;
  std::int64_t size_bytes_ = 0;
  earmark::Sha256 hash_;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace earmark::detectd
