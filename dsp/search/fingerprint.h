// The search key of a stream: one 64-bit word for every 80 ms of stream time.
//
// Frames of 42.7 ms (Hann) every 10 ms; power densities E(b) of 65 bands from 200 to 3,400 Hz, evenly spaced on a mel-like scale (inside what telephones
// carry); levels L(b) = log(E(b) + 0.1·G) with G the recent mean density, so that quiet bands and pauses do not make noise bits; slopes
// d(b) = L(b) - L(b+1), which no gain or gentle filter changes. Bit b of word w is the sign of
//
//     sum of d(b) over frames 8w-2 … 8w+7   minus   sum of d(b) over frames 8w-12 … 8w-3
//
// where frame f ends with sample 480·(f+1) (at 48 kHz): a word depends on the past alone and is ready when its 80 ms are over. For a clip the words are
// computed at every frame (8 phases), and only bits whose sums are well away from zero count. docs/decisions/0003-fingerprint.md has the measurements.
// The idea of signs of band-energy differences is Haitsma and Kalker's (ISMIR 2002).
#pragma once

#include <array>
#include <complex>
#include <cstdint>
#include <span>
#include <vector>

#include "dsp/core/fft.h"

namespace earmark {

inline constexpr double kFingerprintWordS = 0.08;
inline constexpr int kPacketsPerFingerprintWord = 4;
inline constexpr int kFingerprintPhases = 8;

namespace internal {

inline constexpr int kSlopes = 64;
using Slopes = std::array<float, kSlopes>;

// Band power densities of frames, at 48 or 24 kHz with the same result.
class FingerprintFrames {
 public:
  explicit FingerprintFrames(int sample_rate_hz);
  int hop_samples() const { return sample_rate_hz_ / 100; }
  // The densities of the frame that ends after these hop_samples() samples.
  using Densities = std::array<float, kSlopes + 1>;
  const Densities& Process(std::span<const float> hop) noexcept;

 private:
  int sample_rate_hz_;
  RealFft fft_;
  std::vector<float> window_;
  std::vector<float> history_;
  struct BandWeight {
    int bin;
    int band;
    float weight;
  };
  std::vector<BandWeight> weights_;
  Densities densities_{};
};

}  // namespace internal

// Makes the words of a stream as it runs. Process allocates only when the list of words grows; not real-time safe.
class FingerprintExtractor {
 public:
  explicit FingerprintExtractor(int sample_rate_hz);  // 48000 or 24000
  // Mono samples, any number.
  void Process(std::span<const float> mono);
  // The words that became ready since the last call.
  std::vector<std::uint64_t> TakeWords();

 private:
  void AddFrame(std::span<const float> hop);

  internal::FingerprintFrames frames_;
  std::vector<float> pending_;
  std::array<internal::Slopes, 20> slopes_{};  // of the last 20 frames, a ring
  std::int64_t num_frames_ = 0;
  float level_ = 0;
  std::vector<std::uint64_t> words_;
};

struct ClipWord {
  std::uint64_t bits = 0;
  std::uint64_t mask = 0;    // bits that count
  std::uint64_t strong = 0;  // of these, about a third that is least likely to be wrong
};

struct ClipFingerprint {
  // [phase][word]; word j of a phase is what a stream that began with the clip, PhaseOffset less j words earlier, would have.
  std::vector<std::vector<ClipWord>> phases;
  static constexpr int kFirstWord = 2;  // earlier ones would reach back before the clip
  double PhaseOffset(int phase) const { return kFirstWord * kFingerprintWordS + phase * 0.01; }
};

// `clip`: mono at 24 or 48 kHz, at least a third of a second (shorter gives no words).
ClipFingerprint FingerprintClip(std::span<const float> clip, int sample_rate_hz);

// As stored: little-endian words.
std::vector<std::uint8_t> EncodeFingerprint(std::span<const std::uint64_t> words);
std::vector<std::uint64_t> DecodeFingerprint(std::span<const std::uint8_t> bytes);

}  // namespace earmark
