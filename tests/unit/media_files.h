// Audio files for tests: made by this library's WAV writer and the ffmpeg command, compared with what went in.
#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "dsp/media/audio_file.h"

namespace earmark {

// Noise with most of its power in the voice band, so that every codec keeps its waveform; it matches itself at one lag only.
inline std::vector<float> Noise(std::size_t num_samples, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<float> samples(num_samples);
  double first = 0;
  double second = 0;
  for (float& sample : samples) {
    first += 0.12 * (random() / 2147483648.0 - 1 - first);
    second += 0.12 * (first - second);
    sample = static_cast<float>(2.0 * second);
  }
  return samples;
}

inline std::string WriteWav(const std::string& path, const std::vector<float>& samples, int sample_rate_hz, int num_channels) {
  auto writer = WavWriter::Create(path, sample_rate_hz, num_channels);
  REQUIRE(writer);
  REQUIRE((*writer)->Write(samples));
  REQUIRE((*writer)->Finish());
  return path;
}

// Everything, in blocks of `block_frames`.
inline Result<std::vector<float>> ReadAll(const std::string& path, std::size_t block_frames, const AudioOptions& options = {}) {
  auto reader = AudioReader::Open(path, options);
  if (!reader) return Pass(reader);
  const auto num_channels = static_cast<std::size_t>((*reader)->num_channels());
  std::vector<float> samples;
  std::vector<float> block(block_frames * num_channels);
  for (;;) {
    const auto read = (*reader)->Read(block);
    if (!read) {
      CHECK((*reader)->Read(block).error().message == read.error().message);  // it keeps failing
      return Pass(read);
    }
    samples.insert(samples.end(), block.begin(), block.begin() + *read * static_cast<std::int64_t>(num_channels));
    if (*read < static_cast<std::int64_t>(block_frames)) return samples;
  }
}

struct Match {
  int lag = 0;
  double correlation = -1;
};

// The lag of `b` against `a`, up to 3000 samples, around the middle of `a`.
inline Match FindLag(const std::vector<float>& a, const std::vector<float>& b) {
  constexpr int kSpan = 3000;
  const auto begin = static_cast<int>(a.size() / 2);
  Match best;
  for (int lag = -kSpan; lag <= kSpan; ++lag) {
    if (begin + kSpan + lag > static_cast<int>(b.size())) break;
    double dot = 0, power_a = 1e-9, power_b = 1e-9;
    for (int i = begin; i < begin + kSpan; ++i) {
      const double x = a[static_cast<std::size_t>(i)], y = b[static_cast<std::size_t>(i + lag)];
      dot += x * y;
      power_a += x * x;
      power_b += y * y;
    }
    const double correlation = dot / std::sqrt(power_a * power_b);
    if (correlation > best.correlation) best = {lag, correlation};
  }
  return best;
}

inline bool Succeeds(const std::string& command) { return std::system((command + " > /dev/null 2>&1").c_str()) == 0; }

inline bool HasFfmpeg() {
  static const bool has = Succeeds("ffmpeg -version");
  if (!has) WARN("the ffmpeg command is not installed: skipped");
  return has;
}

// Makes `output` of `input`; false if this build of ffmpeg cannot.
inline bool Convert(const std::string& input, const std::string& options, const std::string& output) {
  return Succeeds("ffmpeg -nostdin -v error -y -i " + input + " " + options + " " + output);
}

template <typename T>
void CheckFails(const Result<T>& result, ErrorCode code, const std::string& fragment) {
  REQUIRE_FALSE(result);
  INFO(result.error().message);
  CHECK(result.error().code == code);
  CHECK_THAT(result.error().message, Catch::Contains(fragment) && !Catch::Contains("\n"));
}

}  // namespace earmark
