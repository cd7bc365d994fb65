// The envelope reader: which variant's band powers does the clip follow? It needs no phase, and so survives where the waveform does not.
//
// Model, per band b and unit u of 20 ms: the clip's power is a non-negative FIR filter (16 taps of 20 ms: a room's decay) of the mean power of the variants
// plus a constant noise floor, times a gain common to all bands of the unit (level riding), in decibels. Variant k shifts the prediction by what its own power
// differs from the mean, through the same filter. What is left over is taken as Gaussian, clipped at ±4 dB, with a scale from medians per band and per unit.
//
// The filter is found by non-negative least squares with robust reweighting. Nothing depends on anybody's code.
#pragma once

#include "dsp/reading/aligned_clip.h"

namespace earmark {

// Deterministic; allocates; thread-safe.
LogLikelihoodTable ReadEnvelope(const ReadingSpectra& spectra);

}  // namespace earmark
