// Sound for tests: no recording is in the repository, so speech and music are imitated, from a seed.
//
// If the environment variable EARMARK_CORPUS names a folder of WAV files, SpeechLike and MusicLike return stretches of those instead (file `seed` modulo
// their number): the same tests on real sound, to be run by hand.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <numbers>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/resample.h"
#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"
#include "tests/support/random.h"

namespace earmark {

inline double Rms(std::span<const float> x) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * v;
  return std::sqrt(sum / static_cast<double>(std::max<std::size_t>(1, x.size())));
}

inline std::vector<float> Scaled(std::span<const float> x, double gain) {
  std::vector<float> out(x.begin(), x.end());
  for (float& v : out) v = static_cast<float>(v * gain);
  return out;
}

inline std::vector<float> WithRms(std::span<const float> x, double rms) { return Scaled(x, rms / std::max(1e-12, Rms(x))); }

inline std::vector<float> Difference(std::span<const float> a, std::span<const float> b) {
  std::vector<float> out(std::min(a.size(), b.size()));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = a[i] - b[i];
  return out;
}

// Normalised correlation, -1 … 1.
inline double Correlation(std::span<const float> a, std::span<const float> b) {
  double ab = 0;
  double aa = 1e-30;
  double bb = 1e-30;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

// Level of `reference` over that of what `other` differs by.
inline double SnrDb(std::span<const float> reference, std::span<const float> other) {
  return 20 * std::log10(Rms(reference) / std::max(1e-12, Rms(Difference(reference, other))));
}

inline std::vector<float> WhiteNoise(std::size_t num_samples, double rms, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> out(num_samples);
  for (float& v : out) v = static_cast<float>(rms * random.Gaussian());
  return out;
}

inline std::vector<float> WithNoise(std::span<const float> x, double snr_db, std::uint64_t seed) {
  auto out = WhiteNoise(x.size(), Rms(x) * std::pow(10, -snr_db / 20), seed);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] += x[i];
  return out;
}

inline std::vector<float> Interleaved(std::span<const float> left, std::span<const float> right) {
  std::vector<float> out;
  for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
    out.push_back(left[i]);
    out.push_back(right[i]);
  }
  return out;
}

// Two-pole resonator of unit gain at its centre, or so.
class Resonator {
 public:
  void Tune(double centre_hz, double width_hz) {
    const double r = std::exp(-std::numbers::pi * width_hz / kSampleRateHz);
    a1_ = 2 * r * std::cos(2 * std::numbers::pi * centre_hz / kSampleRateHz);
    a2_ = -r * r;
    gain_ = (1 - r) * std::sqrt(1 - 2 * r * std::cos(4 * std::numbers::pi * centre_hz / kSampleRateHz) + r * r);
  }
  double Process(double x) {
    const double y = gain_ * x + a1_ * y1_ + a2_ * y2_;
    y2_ = y1_;
    return y1_ = y;
  }

 private:
  double a1_ = 0;
  double a2_ = 0;
  double gain_ = 1;
  double y1_ = 0;
  double y2_ = 0;
};

// One-pole low-pass.
inline std::vector<float> LowPassed(std::span<const float> x, double cutoff_hz, int rate_hz, int times = 4) {
  std::vector<float> out(x.begin(), x.end());
  const double keep = std::exp(-2 * std::numbers::pi * cutoff_hz / rate_hz);
  for (int i = 0; i < times; ++i) {
    double y = 0;
    for (float& v : out) v = static_cast<float>(y = (1 - keep) * v + keep * y);
  }
  return out;
}

// A stretch of a file of the corpus, where there is one.
inline std::optional<std::vector<float>> FromCorpus(double seconds, std::uint64_t seed) {
  const char* folder = std::getenv("EARMARK_CORPUS");
  if (folder == nullptr) return std::nullopt;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".wav") paths.push_back(entry.path().string());
  }
  if (paths.empty()) return std::nullopt;
  std::sort(paths.begin(), paths.end());
  auto clip = ReadMonoClip(paths[seed % paths.size()], 3600);
  if (!clip) return std::nullopt;
  const auto wanted = static_cast<std::size_t>(seconds * kSampleRateHz);
  std::vector<float> out;
  while (!clip->samples.empty() && out.size() < wanted) out.insert(out.end(), clip->samples.begin(), clip->samples.end());
  out.resize(wanted);
  return out;
}

// A voice, or something like it: pulses or noise through moving formants, syllables, pauses, a quiet room. Mono, 48 kHz, -20 dBFS.
inline std::vector<float> SpeechLike(double seconds, std::uint64_t seed) {
  if (auto real = FromCorpus(seconds, seed)) return *real;
  Random random(seed);
  const auto num_samples = static_cast<std::size_t>(seconds * kSampleRateHz);
  std::vector<float> out;
  out.reserve(num_samples + kSampleRateHz);
  std::array<Resonator, 5> formants;
  const double base_pitch_hz = random.Uniform(95, 210);
  double phase = 0;
  double tilted = 0;
  for (int syllable = 0; out.size() < num_samples; ++syllable) {
    if (random.Uniform() < 0.14) out.insert(out.end(), static_cast<std::size_t>(random.Uniform(0.12, 0.4) * kSampleRateHz), 0.0F);
    const auto length = static_cast<std::size_t>(random.Uniform(0.09, 0.3) * kSampleRateHz);
    const bool voiced = random.Uniform() < 0.75;
    const double pitch_from = base_pitch_hz * random.Uniform(0.8, 1.3);
    const double pitch_to = pitch_from * random.Uniform(0.85, 1.15);
    const double loud = std::pow(10, random.Uniform(-9, 0) / 20);
    std::array<double, 5> strength{};
    if (voiced) {
      formants[0].Tune(random.Uniform(280, 800), 80);
      formants[1].Tune(random.Uniform(900, 2300), 110);
      formants[2].Tune(random.Uniform(2400, 3300), 160);
      formants[3].Tune(random.Uniform(3500, 4800), 260);
      formants[4].Tune(random.Uniform(6000, 9500), 1500);
      strength = {1, random.Uniform(0.3, 0.8), random.Uniform(0.15, 0.4), 0.15, 0.1};
    } else {
      for (std::size_t i = 0; i < formants.size(); ++i) {
        formants[i].Tune(random.Uniform(1200, 9500), 900);
        strength[i] = random.Uniform(0.3, 1);
      }
    }
    for (std::size_t n = 0; n < length; ++n) {
      const double at = static_cast<double>(n) / static_cast<double>(length);
      const double envelope = std::min({1.0, at * 8, (1 - at) * 4});
      double source = 0;
      if (voiced) {
        phase += (pitch_from + (pitch_to - pitch_from) * at) / kSampleRateHz;
        if (phase >= 1) {
          phase -= 1;
          source = 12;
        }
        tilted = source + 0.6 * tilted;  // a glottal pulse is not quite a click
        source = tilted + 0.25 * random.Gaussian();
      } else {
        source = random.Gaussian();
      }
      double y = 0;
      for (std::size_t i = 0; i < formants.size(); ++i) y += strength[i] * formants[i].Process(source);
      out.push_back(static_cast<float>(loud * envelope * y));
    }
  }
  out.resize(num_samples);
  out = WithRms(out, 0.1);
  for (float& v : out) v = std::clamp(v + static_cast<float>(3e-4 * random.Gaussian()), -0.98F, 0.98F);
  return out;
}

// Chords of decaying notes over a soft noise beat. Mono, 48 kHz, -20 dBFS.
inline std::vector<float> MusicLike(double seconds, std::uint64_t seed) {
  if (auto real = FromCorpus(seconds, seed + 1)) return *real;
  Random random(seed);
  const auto num_samples = static_cast<std::size_t>(seconds * kSampleRateHz);
  std::vector<float> out(num_samples, 0.0F);
  for (double start = 0; start < seconds; start += 0.24) {
    const auto first = static_cast<std::size_t>(start * kSampleRateHz);
    const int notes = 1 + static_cast<int>(random.Below(3));
    for (int note = 0; note < notes; ++note) {
      const double pitch_hz = 110 * std::pow(2, static_cast<double>(random.Below(37)) / 12);
      const double decay_s = random.Uniform(0.2, 0.7);
      for (int harmonic = 1; harmonic <= 10 && harmonic * pitch_hz < 12000; ++harmonic) {
        const double amplitude = random.Uniform(0.3, 1) / harmonic;
        const double step = 2 * std::numbers::pi * harmonic * pitch_hz * random.Uniform(0.9995, 1.0005) / kSampleRateHz;
        // A rotating phasor in place of a sine per sample.
        double re = amplitude;
        double im = 0;
        const double fall = std::exp(-harmonic * 0.4 / (decay_s * kSampleRateHz) - 0.6 / (decay_s * kSampleRateHz));
        const double c = fall * std::cos(step);
        const double s = fall * std::sin(step);
        const std::size_t end = std::min(num_samples, first + 2 * static_cast<std::size_t>(kSampleRateHz));
        for (std::size_t n = first; n < end; ++n) {
          const double attack = std::min(1.0, static_cast<double>(n - first) / 200);
          out[n] += static_cast<float>(attack * im);
          const double next = c * re - s * im;
          im = s * re + c * im;
          re = next;
        }
      }
    }
    const double hit = random.Uniform(0.05, 0.5);
    for (std::size_t n = first; n < std::min(num_samples, first + 6000); ++n) {
      out[n] += static_cast<float>(hit * std::exp(-static_cast<double>(n - first) / 1200) * random.Gaussian());
    }
  }
  out = WithRms(out, 0.1);
  for (float& v : out) v = std::clamp(v, -0.98F, 0.98F);
  return out;
}

}  // namespace earmark
