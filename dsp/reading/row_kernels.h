// The inner loops of the coherent reader, along the frames of one bin. Each is compiled for the usual x86-64 and for AVX2; which is run, the processor decides.
#pragma once

#include <array>
#include <complex>
#include <cstddef>

#include "dsp/reading/complex_rows.h"

namespace earmark {

// A channel's taps; those that are not used are 0.
struct ChannelTaps {
  std::array<float, ComplexRows::kPast> re{};
  std::array<float, ComplexRows::kPast> im{};
};

// out[t] = sum over l < num_taps of h[l]·x[t - l]. Reads up to kPast frames before x.
void FilterRow(ConstRow x, const ChannelTaps& h, std::size_t num_taps, std::size_t n, Row out);

// Sum of w[t]·x[t]·conj(y[t]).
std::complex<double> WeightedProduct(const float* w, ConstRow x, ConstRow y, std::size_t n);

// out[t] += factor[t]·x[t].
void AddProduct(const float* factor, ConstRow x, std::size_t n, Row out);

// out[t] = s[t] - gain[t]·(x[t] - own[t]).
void Residual(ConstRow s, const float* gain, ConstRow x, ConstRow own, std::size_t n, Row out);

// cross[t] += w[t]·Re(r[t]·conj(p[t])), power[t] += v[t]·|p[t]|².
void AddMatch(const float* w, const float* v, ConstRow r, ConstRow p, std::size_t n, float* cross, float* power);

}  // namespace earmark
