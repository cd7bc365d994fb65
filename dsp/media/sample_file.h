// Samples that are too many for memory.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/media/input_file.h"

namespace earmark {

// An array of floats that is written once from its beginning to its end and then read anywhere: in memory while it is short, else in a temporary file
// without a name, mapped into memory, of which the system keeps as much there as it has room for. Takes 256 kB while it is written and nothing but
// what is read afterwards. A disk that can no longer be read ends the process (SIGBUS), as with every mapped file. For one thread at a time.
class SampleFile {
 public:
  // So many samples stay in memory.
  explicit SampleFile(std::size_t max_resident) : max_resident_(max_resident) {}

  // kResourceExhausted: the disk is full, the message names the folder; kUnavailable: no file can be made there. Of no use after that.
  Result<void> Append(std::span<const float> samples);
  // Once, after the last Append, and before the first samples(). Errors as Append; kResourceExhausted also where no more can be mapped.
  Result<void> Finish();
  // Valid for the life of this object and of what it is moved to.
  std::span<const float> samples() const {
    return mapped_ == nullptr ? std::span<const float>(pending_) : std::span(mapped_.get(), size_);
  }
  // What was read need not stay in memory; it comes back when it is touched. Spans stay valid. Nothing for those in memory.
  void ReleaseMemory() const;

 private:
  struct Unmapper {
    Unmapper() noexcept : size_bytes(0) {}
    explicit Unmapper(std::size_t mapped_bytes) noexcept : size_bytes(mapped_bytes) {}
    std::size_t size_bytes;
    void operator()(const float* samples) const;
  };
  Result<void> WritePending();

  std::size_t max_resident_;
  FileHandle file_;             // none for what is in memory, and after Finish
  std::vector<float> pending_;  // not in the file
  std::size_t size_ = 0;        // in the file
  std::unique_ptr<const float, Unmapper> mapped_;
};

}  // namespace earmark
