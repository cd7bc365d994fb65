// Dropping what has been kept for long enough.
#pragma once

#include <cstdint>
#include <functional>

#include "db/store.h"
#include "dsp/core/result.h"

namespace earmark {

struct Expired {
  std::int64_t num_streams = 0;
  std::int64_t num_clips = 0;
};

// Drops all streams and clips whose time is over, one in a transaction, until none is left or `go_on` says false; adds them up in `expired` as it goes. Any
// number of callers may do so at once. Errors are the store's.
Result<void> Expire(Store& store, Expired& expired, const std::function<bool()>& go_on);

}  // namespace earmark
