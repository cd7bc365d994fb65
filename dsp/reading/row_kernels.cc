#include "dsp/reading/row_kernels.h"

#include "dsp/core/clones.h"

namespace earmark {
namespace {

constexpr std::size_t kTapsAtOnce = 4;
static_assert(ComplexRows::kPast % kTapsAtOnce == 0);

}  // namespace

EARMARK_CLONES("avx2", "default") void FilterRow(ConstRow x, const ChannelTaps& h, std::size_t num_taps, std::size_t n, Row out) {
  for (std::size_t first = 0; first < num_taps; first += kTapsAtOnce) {
    const float a0 = h.re[first], a1 = h.re[first + 1], a2 = h.re[first + 2], a3 = h.re[first + 3];
    const float b0 = h.im[first], b1 = h.im[first + 1], b2 = h.im[first + 2], b3 = h.im[first + 3];
    const bool starts = first == 0;
    const float* re = x.re - first;
    const float* im = x.im - first;
    float* out_re = out.re;
    float* out_im = out.im;
#pragma omp simd
    for (std::size_t t = 0; t < n; ++t) {
      const float* p = re + t;
      const float* q = im + t;
      out_re[t] = (starts ? 0.0F : out_re[t]) + a0 * p[0] - b0 * q[0] + a1 * p[-1] - b1 * q[-1] + a2 * p[-2] - b2 * q[-2] +
                  a3 * p[-3] - b3 * q[-3];
      out_im[t] = (starts ? 0.0F : out_im[t]) + a0 * q[0] + b0 * p[0] + a1 * q[-1] + b1 * p[-1] + a2 * q[-2] + b2 * p[-2] +
                  a3 * q[-3] + b3 * p[-3];
    }
  }
}

EARMARK_CLONES("avx2", "default") std::complex<double> WeightedProduct(const float* w, ConstRow x, ConstRow y, std::size_t n) {
  float re = 0;
  float im = 0;
#pragma omp simd reduction(+ : re, im)
  for (std::size_t t = 0; t < n; ++t) {
    re += w[t] * (x.re[t] * y.re[t] + x.im[t] * y.im[t]);
    im += w[t] * (x.im[t] * y.re[t] - x.re[t] * y.im[t]);
  }
  return {re, im};
}

EARMARK_CLONES("avx2", "default") void AddProduct(const float* factor, ConstRow x, std::size_t n, Row out) {
#pragma omp simd
  for (std::size_t t = 0; t < n; ++t) {
    out.re[t] += factor[t] * x.re[t];
    out.im[t] += factor[t] * x.im[t];
  }
}

EARMARK_CLONES("avx2", "default") void Residual(ConstRow s, const float* gain, ConstRow x, ConstRow own, std::size_t n, Row out) {
#pragma omp simd
  for (std::size_t t = 0; t < n; ++t) {
    out.re[t] = s.re[t] - gain[t] * (x.re[t] - own.re[t]);
    out.im[t] = s.im[t] - gain[t] * (x.im[t] - own.im[t]);
  }
}

EARMARK_CLONES("avx2", "default")
void AddMatch(const float* w, const float* v, ConstRow r, ConstRow p, std::size_t n, float* cross, float* power) {
#pragma omp simd
  for (std::size_t t = 0; t < n; ++t) {
    cross[t] += w[t] * (r.re[t] * p.re[t] + r.im[t] * p.im[t]);
    power[t] += v[t] * (p.re[t] * p.re[t] + p.im[t] * p.im[t]);
  }
}

}  // namespace earmark
