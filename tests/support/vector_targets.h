// Runs what uses Highway with one kind of vectors after the other.
#pragma once

#include <hwy/targets.h>

#include <catch2/catch.hpp>
#include <cstdint>

namespace earmark {

// All of the processor's kinds of vectors in turn, also the narrower ones, which would otherwise not be used here.
template <typename Check>
void WithEachTarget(const Check& check) {
  const std::int64_t all = hwy::SupportedTargets();
  for (std::int64_t rest = all; rest != 0; rest &= rest - 1) {
    hwy::SetSupportedTargetsForTest(rest & -rest);
    hwy::GetChosenTarget().DeInit();
    INFO("vectors of target " << hwy::TargetName(rest & -rest));
    check();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().DeInit();
}

}  // namespace earmark
