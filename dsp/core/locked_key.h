// A long-lived key in memory that the system keeps out of swap and core dumps.
#pragma once

#include <memory>

#include "dsp/core/secret.h"

namespace earmark {

// Copies share one page, which goes with the last of them, wiped. Takes three pages in all (two are guards), so it is for the few keys that stay: what is
// derived from them, 32 bytes an account in scoring, would be beyond what a process may lock. Where RLIMIT_MEMLOCK lets nothing be locked it works all the
// same, and may be swapped. Copying and reading: any thread. Throws std::bad_alloc.
class LockedKey {
 public:
  LockedKey() = default;      // not set: as Key()
  LockedKey(const Key& key);  // NOLINT(google-explicit-constructor): the caller's copy wipes itself

  const Key& Get() const noexcept;
  operator const Key&() const noexcept { return Get(); }  // NOLINT(google-explicit-constructor): a Key, in another place

 private:
  std::shared_ptr<const Key> key_;
};

}  // namespace earmark
