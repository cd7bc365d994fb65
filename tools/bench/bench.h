// What the benchmarks share.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace earmark {

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

// One slot after the other to many listeners on the loopback interface.
void BenchFanout();

// A live room on the loopback interface, in real time: ten seconds.
void BenchLive(const std::string& audio);

}  // namespace earmark
