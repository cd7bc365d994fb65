// The coherent reader: which variant's deviation from the mean is in the clip's waveform?
//
// Model, per bin f and frame t:  S(t) = g(t) · sum over taps l of h(l)·[ M(t - l) + a·D_c(t - l) ] + noise, with the clip's spectrum S, the variants'
// mean M, the deviation D_c of the variant that was sent, a complex channel h that is constant over about 2.5 s (several taps of 10 ms: rooms), a real gain
// g(t) common to all bins (compressors, level riding), the share a of the deviations that survived (one for each of four regions of bins: codecs smooth them
// away), and Gaussian noise of power W(t, f).
//
// h and g are fitted by weighted least squares, first to the mean alone; W is the local mean of what is left, and at least 60 dB below the frame's power. a is
// what makes the clip likeliest when all variants are equally likely. Then the posterior-mean deviation is counted to the source and taken out of the residual,
// and all is estimated again, twice. Nothing depends on anybody's code.
#pragma once

#include "dsp/reading/aligned_clip.h"

namespace earmark {

struct CoherentOptions {
  int num_taps = 4;  // 1 to 8
};

// Deterministic; allocates; thread-safe.
LogLikelihoodTable ReadCoherent(const ReadingSpectra& spectra, const CoherentOptions& options);

}  // namespace earmark
