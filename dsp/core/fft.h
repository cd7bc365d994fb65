// Real FFTs of one length. The only place that knows FFTW (which is GPL-2-or-later: replacing it means replacing fft.cc alone).
#pragma once

#include <complex>
#include <span>

namespace earmark {

// Forward: X[k] = sum x[n] exp(-2 pi i k n / size), k = 0 … size/2.  Inverse includes the factor 1/size, so it undoes Forward.
//
// Creating one is thread-safe (FFTW's planner is not; a lock inside covers it) and allocates. Transforming neither allocates nor
// locks; one object serves one thread at a time, because it has its own aligned buffers.
class RealFft {
 public:
  explicit RealFft(int size);  // even, >= 2
  ~RealFft();
  RealFft(RealFft&& other) noexcept;
  RealFft(const RealFft&) = delete;
  RealFft& operator=(const RealFft&) = delete;
  RealFft& operator=(RealFft&&) = delete;

  int size() const { return size_; }
  int num_bins() const { return size_ / 2 + 1; }

  // The aligned buffers: write `time()`, call Forward, read `bins()`; or the other way round. Inverse destroys `bins()`.
  std::span<float> time() { return {time_, static_cast<std::size_t>(size_)}; }
  std::span<std::complex<float>> bins() { return {bins_, static_cast<std::size_t>(num_bins())}; }
  void Forward() noexcept;
  void Inverse() noexcept;

 private:
  int size_;
  float* time_;
  std::complex<float>* bins_;
  void* forward_;
  void* inverse_;
};

// The smallest even length >= n whose only prime factors are 2, 3 and 5: lengths that FFTW transforms fast.
int GoodFftSize(int n);

}  // namespace earmark
