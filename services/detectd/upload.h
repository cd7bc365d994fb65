// What a client uploads: a header that says what it is, then the clip.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "db/job_queue.h"
#include "earmark/v1/detection.pb.h"
#include "services/detectd/clip_file.h"

namespace earmark::detectd {

struct UploadLimits {
  std::int64_t max_clip_bytes = 0;
  double max_false_accusation = 0;  // what a scan may ask for at most, and gets where it does not ask
  std::int64_t keep_clip_us = 0;    // how long clips are kept once they have a finding
};

// kInvalidArgument: a field out of its range. `max_false_accusation`: what the header may ask for at most.
Result<void> CheckHeader(const v1::SubmitScanHeader& header, double max_false_accusation);

// Gives the client's next message; false at the end.
using MessageSource = std::function<bool(v1::SubmitScanRequest&)>;

// Takes the data that follows the header, to its end. kInvalidArgument: a second header, no bytes, or not those of header.sha256;
// kResourceExhausted: more than `max_bytes`, or no room for them.
Result<ClipFile> ReceiveClip(const v1::SubmitScanHeader& header, const MessageSource& next, std::int64_t max_bytes);

// The scan that such a header and clip ask for, under a random id of 32 hex digits.
NewScan ScanFor(const v1::SubmitScanHeader& header, const ClipFile& clip, const UploadLimits& limits);

}  // namespace earmark::detectd
