// What the benchmarks share.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "dsp/core/result.h"

namespace earmark {

// The value, or the end of the process with a line.
template <typename T>
T OrExit(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "earmark_bench: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double CpuSeconds();  // of this process so far, all threads
double Measure(const std::function<void()>& work);
double Median(std::vector<double> values);

// Up to ten minutes of the recording, or half a minute of something like speech; mono, 48 kHz, whole packets.
std::vector<float> Host(const std::string& path);

// Marking a source's own packets against decoding and encoding them again.
void BenchInPacket(const std::string& audio);

double PeakMegabytes();  // of this process so far: resident memory

// Many accounts against a minute, and against 90 minutes: 20,000 accounts, or a million out of a store, as a scan scores them.
enum class LongClip { kSample, kWhole };
void BenchScoring(LongClip long_clip);

// Reading up to 60 s of the recording, of either kind of marked packets, by its parts.
void BenchReading(const std::string& audio);

// Scans of 60 s clips against growing stores of up to `hours` stream-hours with 10,000 accounts each.
void BenchScan(const std::string& audio, int hours);

// The detection service in this process on a store of `hours` stream-hours: scans a second against the engine called directly, an idle service's answer, uploads
// against bare gRPC, calls on many findings (kWhole: a million), memory.
void BenchService(const std::string& audio, int hours, LongClip size);

// One slot after the other to many listeners on the loopback interface.
void BenchFanout();

// A live room on the loopback interface, in real time: ten seconds.
void BenchLive(const std::string& audio);

}  // namespace earmark
