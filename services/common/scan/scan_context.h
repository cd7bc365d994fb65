// How long work tells its caller how far it is, and asks whether to go on.
#pragma once

#include "dsp/core/result.h"
#include "services/common/progress.h"

namespace earmark {

// One scan's, used by its thread alone.
class ScanContext {
 public:
  // `progress` may be empty; kept by reference.
  explicit ScanContext(const Progress& progress) : progress_(progress) {}
  ScanContext(const ScanContext&) = delete;
  ScanContext& operator=(const ScanContext&) = delete;

  // Stage and fraction from here on; `stage` is a literal. kCancelled: the caller wants no more.
  Result<void> Report(const char* stage, double fraction) {
    stage_ = stage;
    fraction_ = fraction;
    return GoOn() ? Result<void>() : Fail(ErrorCode::kCancelled, "cancelled");
  }
  // Whether the caller wants to go on; from inside a step, many times a second.
  bool GoOn() const { return !progress_ || progress_(stage_, fraction_); }

 private:
  const Progress& progress_;
  const char* stage_ = "searching";
  double fraction_ = 0;
};

}  // namespace earmark
