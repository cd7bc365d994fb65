#include "dsp/media/sample_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include "dsp/media/temporary_file.h"

namespace earmark {
namespace {

constexpr std::size_t kSamplesPerWrite = 65536;

tl::unexpected<Error> WriteFailure(int error, std::size_t num_written_bytes) {
  const bool is_full = error == 0 || error == ENOSPC || error == EDQUOT || error == EFBIG;
  char size[32];
  std::snprintf(size, sizeof(size), "%.1f MB", static_cast<double>(num_written_bytes) / 1e6);
  return Fail(is_full ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable,
              TemporaryFolder() + ": the decoded sound cannot be written after " + size + ": " +
                  std::generic_category().message(error == 0 ? ENOSPC : error));
}

}  // namespace

void SampleFile::Unmapper::operator()(const float* samples) const { ::munmap(const_cast<float*>(samples), size_bytes); }

Result<void> SampleFile::Append(std::span<const float> samples) {
  pending_.insert(pending_.end(), samples.begin(), samples.end());
  if (pending_.size() <= (file_.is_open() ? kSamplesPerWrite : std::max(max_resident_, kSamplesPerWrite))) return {};
  if (!file_.is_open()) {
    auto made = OpenTemporaryFile();
    if (!made) return Pass(made);
    file_ = *std::move(made);
  }
  return WritePending();
}

Result<void> SampleFile::WritePending() {
  std::span<const std::byte> bytes = std::as_bytes(std::span(pending_));
  std::size_t at = size_ * sizeof(float);
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file_.fd(), bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return WriteFailure(written < 0 ? errno : 0, at);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    at += static_cast<std::size_t>(written);
  }
  const bool was_resident = size_ == 0;
  size_ += pending_.size();
  pending_.clear();
  if (was_resident) pending_.shrink_to_fit();
  return {};
}

Result<void> SampleFile::Finish() {
  if (!file_.is_open()) return {};
  if (const auto written = WritePending(); !written) return written;
  pending_ = {};
  const std::size_t size_bytes = size_ * sizeof(float);
  void* const mapped = ::mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, file_.fd(), 0);
  if (mapped == MAP_FAILED) {
    return Fail(ErrorCode::kResourceExhausted,
                TemporaryFolder() + ": the decoded sound cannot be mapped: " + std::generic_category().message(errno));
  }
  mapped_ = {static_cast<const float*>(mapped), Unmapper(size_bytes)};
  file_.Close();  // the mapping keeps it
  return {};
}

void SampleFile::ReleaseMemory() const {
  if (mapped_ != nullptr) ::madvise(const_cast<float*>(mapped_.get()), mapped_.get_deleter().size_bytes, MADV_DONTNEED);
}

}  // namespace earmark
