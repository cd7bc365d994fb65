// Tells a stream that somebody is marking right now from one whose `mark` was killed half-way.
#pragma once

#include <optional>
#include <string>

#include "dsp/core/result.h"
#include "dsp/media/input_file.h"

namespace earmark::cli {

// Held while a stream is being registered: a locked, empty file beside the store, PATH.marking-<hash of the stream's name>, removed at the end. The
// system frees the lock when a process dies, whatever it dies of, so a file that is there and not locked is proof of a `mark` that was killed.
// Stores that are not files have no such lock.
class MarkingLock {
 public:
  // kFailedPrecondition: another process on this machine is marking this stream.
  static Result<MarkingLock> Acquire(const std::string& store_url, const std::string& stream_id);
  MarkingLock(MarkingLock&& other) noexcept;
  MarkingLock& operator=(MarkingLock&&) = delete;
  ~MarkingLock();

  bool found_abandoned() const { return found_abandoned_; }

 private:
  MarkingLock() = default;

  std::string path_;  // empty where there is nothing to remove
  FileHandle handle_;
  bool found_abandoned_ = false;
};

}  // namespace earmark::cli
