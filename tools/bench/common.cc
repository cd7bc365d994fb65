#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>

#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"
#include "tools/bench/bench.h"

namespace earmark {

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Measure(const std::function<void()>& work) {
  const double start = CpuSeconds();
  work();
  return CpuSeconds() - start;
}

double PeakMegabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1000;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

namespace {

// Half a minute of something like speech: noise bursts under a syllabic envelope over a gliding harmonic tone.
std::vector<float> SyntheticHost(int num_packets) {
  std::mt19937 random(1);
  std::normal_distribution<float> noise(0, 0.05F);
  std::vector<float> host(static_cast<std::size_t>(num_packets) * kPacketSamples);
  double phase = 0;
  for (std::size_t n = 0; n < host.size(); ++n) {
    const double t = static_cast<double>(n) / kSampleRateHz;
    const double envelope = std::pow(0.5 + 0.5 * std::sin(2 * M_PI * 3.7 * t), 2);
    phase += 2 * M_PI * (140 + 30 * std::sin(2 * M_PI * 0.6 * t)) / kSampleRateHz;
    double voice = 0;
    for (int h = 1; h < 20; ++h) voice += std::sin(h * phase) / h;
    host[n] = static_cast<float>(envelope * 0.15 * voice) + static_cast<float>(envelope) * noise(random);
  }
  return host;
}

}  // namespace

std::vector<float> Host(const std::string& path) {
  if (path.empty()) return SyntheticHost(1500);
  auto clip = ReadMonoClip(path, 600);
  if (!clip) {
    std::fprintf(stderr, "earmark_bench: %s\n", clip.error().message.c_str());
    std::exit(2);
  }
  clip->samples.resize(clip->samples.size() / kPacketSamples * kPacketSamples);
  return clip->samples;
}

}  // namespace earmark
