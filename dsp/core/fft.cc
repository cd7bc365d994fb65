#include "dsp/core/fft.h"

#include <fftw3.h>

#include <mutex>
#include <utility>

namespace earmark {
namespace {

std::mutex& PlannerMutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

RealFft::RealFft(int size)
    : size_(size),
      time_(fftwf_alloc_real(static_cast<std::size_t>(size))),
      bins_(reinterpret_cast<std::complex<float>*>(fftwf_alloc_complex(static_cast<std::size_t>(size / 2 + 1)))) {
  std::lock_guard lock(PlannerMutex());
  auto* bins = reinterpret_cast<fftwf_complex*>(bins_);
  // ESTIMATE: planning takes microseconds and does not depend on what else the machine is doing, so results repeat.
  forward_ = fftwf_plan_dft_r2c_1d(size, time_, bins, FFTW_ESTIMATE);
  inverse_ = fftwf_plan_dft_c2r_1d(size, bins, time_, FFTW_ESTIMATE);
  std::fill(time().begin(), time().end(), 0.0F);
}

RealFft::RealFft(RealFft&& other) noexcept
    : size_(other.size_),
      time_(std::exchange(other.time_, nullptr)),
      bins_(std::exchange(other.bins_, nullptr)),
      forward_(std::exchange(other.forward_, nullptr)),
      inverse_(std::exchange(other.inverse_, nullptr)) {}

RealFft::~RealFft() {
  if (time_ == nullptr) return;
  std::lock_guard lock(PlannerMutex());
  fftwf_destroy_plan(static_cast<fftwf_plan>(forward_));
  fftwf_destroy_plan(static_cast<fftwf_plan>(inverse_));
  fftwf_free(time_);
  fftwf_free(bins_);
}

void RealFft::Forward() noexcept { fftwf_execute(static_cast<fftwf_plan>(forward_)); }

void RealFft::Inverse() noexcept {
  fftwf_execute(static_cast<fftwf_plan>(inverse_));
  const float scale = 1.0F / static_cast<float>(size_);
  for (float& x : time()) x *= scale;
}

int GoodFftSize(int n) {
  for (int size = n + (n & 1);; size += 2) {
    int rest = size;
    for (int prime : {2, 3, 5}) {
      while (rest % prime == 0) rest /= prime;
    }
    if (rest == 1) return size;
  }
}

}  // namespace earmark
