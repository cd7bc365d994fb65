// earmark_bench [marking|in-packet|search|scoring|fanout|live|scan …] [--audio FILE] [--hours N] [--whole]: measures the parts whose cost is promised, one thread. All but scan, which
// fills a store of 6 GB in the temporary folder, if none is named.
//
// Every figure stands next to what it is compared with, measured alternately in the same run, because machines are noisy. CPU time, not wall time.
#include "tools/bench/bench.h"

#include <opus/opus.h>
#include <sodium.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "dsp/core/stream_keys.h"
#include "dsp/marking/stream_marker.h"
#include "dsp/search/fingerprint_index.h"
#include "dsp/tracing/code_key.h"

namespace earmark {
namespace {

// What marking costs against what it cannot do without: one decode of the host and q bare encodes.
void BenchMarking(const std::string& audio) {
  const std::vector<float> host = Host(audio);
  const double seconds = static_cast<double>(host.size()) / kSampleRateHz;
  StreamFormat format;
  const StreamKeys keys = DeriveStreamKeys(NewRandomKey(), "bench", {});
  std::vector<double> ratios;
  std::vector<double> marks;
  for (int round = 0; round < 5; ++round) {
    // The host arrives as Opus packets, as from a relay.
    auto source = VariantEncoder::Create({.num_encoders = 1, .num_channels = 1, .bitrate_bps = 64000});
    std::vector<std::vector<std::uint8_t>> packets;
    for (std::size_t at = 0; at < host.size(); at += kPacketSamples) {
      auto slot = source->Encode([&](int) { return std::span(host).subspan(at, kPacketSamples); });
      packets.emplace_back(slot->packets[0].begin(), slot->packets[0].end());
    }
    const auto decode_all = [&](const std::function<void(std::span<const float>)>& visit) {
      int error = 0;
      OpusDecoder* decoder = opus_decoder_create(kSampleRateHz, 1, &error);
      std::vector<float> block(kPacketSamples);
      for (const auto& packet : packets) {
        if (opus_decode_float(decoder, packet.data(), static_cast<opus_int32>(packet.size()), block.data(), kPacketSamples, 0) <
            0)
          std::exit(1);
        visit(block);
      }
      opus_decoder_destroy(decoder);
    };
    auto bare =
        VariantEncoder::Create({.num_encoders = format.num_variants, .num_channels = 1, .bitrate_bps = format.bitrate_bps});
    const double bound =
        Measure([&] { decode_all([&](std::span<const float> block) { (void)bare->Encode([&](int) { return block; }); }); });
    auto marker = StreamMarker::Create(format, keys);
    const double mark = Measure([&] { decode_all([&](std::span<const float> block) { (void)marker->Process(block); }); });
    ratios.push_back(mark / bound);
    marks.push_back(mark);
  }
  std::printf(
      "marking    %.0f s mono, 4 variants at 32 kb/s: %.0f x real time; %.3f x the cost of one decode and 4 bare encodes (goal 1.25)\n",
      seconds, seconds / Median(marks), Median(ratios));
}

// A probe of 4 s against 10, 100 and 1,000 hours of random fingerprints, next to merely reading those words from memory.
void BenchSearch() {
  std::mt19937_64 random(2);
  std::vector<float> clip(4 * 24000);
  std::normal_distribution<float> noise(0, 0.1F);
  for (float& x : clip) x = noise(random);
  const ClipFingerprint fingerprint = FingerprintClip(clip, 24000);
  for (int hours : {10, 100, 1000}) {
    FingerprintIndex index;
    std::vector<std::uint64_t> hour(static_cast<std::size_t>(3600 / kFingerprintWordS));
    for (int h = 0; h < hours; ++h) {
      for (auto& word : hour) word = random();
      index.Add(h, 0, hour);
    }
    index.Finish();
    std::vector<double> times;
    std::vector<double> quick;
    for (int round = 0; round < 3; ++round) {
      times.push_back(Measure([&] { (void)index.Search(fingerprint, 12, 4); }));
      quick.push_back(Measure([&] { (void)index.Search(fingerprint, 12, 4, FingerprintIndex::kQuickBits); }));
    }
    std::vector<std::uint64_t> words(static_cast<std::size_t>(index.num_words()), 1);
    std::uint64_t sum = 0;
    const double read = Measure([&] {
      for (std::uint64_t w : words) sum += w;
    });
    std::printf(
        "search     4 s of clip in %4d stream-hours (%5.0f MB): %.3f s, quickly %.3f s; %.0f and %.0f x reading them once%s\n",
        hours, static_cast<double>(index.num_words()) * 8e-6, Median(times), Median(quick), Median(times) / read,
        Median(quick) / read, sum == 0 ? " " : "");
  }
}

}  // namespace
}  // namespace earmark

int main(int argc, char** argv) {
  if (sodium_init() < 0) return 1;
  std::vector<std::string> names;
  std::string audio;
  int hours = 100;
  auto long_clip = earmark::LongClip::kSample;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--audio") == 0 && i + 1 < argc)
      audio = argv[++i];
    else if (std::strcmp(argv[i], "--hours") == 0 && i + 1 < argc)
      hours = std::max(1, std::atoi(argv[++i]));
    else if (std::strcmp(argv[i], "--whole") == 0)
      long_clip = earmark::LongClip::kWhole;
    else
      names.emplace_back(argv[i]);
  }
  const auto wanted = [&](const char* name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  };
  if (wanted("marking")) earmark::BenchMarking(audio);
  if (wanted("in-packet")) earmark::BenchInPacket(audio);
  if (wanted("search")) earmark::BenchSearch();
  if (wanted("reading")) earmark::BenchReading(audio);
  if (wanted("scoring")) earmark::BenchScoring(long_clip);
  if (wanted("fanout")) earmark::BenchFanout();
  if (wanted("live")) earmark::BenchLive(audio);
  if (std::find(names.begin(), names.end(), "scan") != names.end()) earmark::BenchScan(audio, hours);
  if (std::find(names.begin(), names.end(), "service") != names.end()) earmark::BenchService(audio, hours, long_clip);
  return 0;
}
