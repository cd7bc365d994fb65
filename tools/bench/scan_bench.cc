// A scan as users run it: 60 s of a leaked copy against a store on disk.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "services/common/scan/scan.h"
#include "tools/bench/archive.h"
#include "tools/bench/bench.h"

namespace earmark {
namespace {

constexpr double kClipS = 60;

void ScanAndPrint(Store& store, const MasterKey& master, std::span<const float> clip, double hours, const char* what,
                  const std::string& expected) {
  ScanReport report;
  const double seconds = Measure([&] { report = OrExit(ScanClip(store, master, clip, {}, {})); });
  const std::string named = report.accusations.empty() ? "nobody" : report.accusations.front().account;
  std::printf(
      "scan       60 s of %-13s in %5.1f stream-hours, %lld candidates: %5.2f s, %5.1f x real time (goal 60); peak memory so far %.0f MB; named %s%s\n",
      what, hours, static_cast<long long>(report.candidates), seconds, kClipS / seconds, PeakMegabytes(), named.c_str(),
      named == expected ? "" : " (WRONG)");
}

}  // namespace

void BenchScan(const std::string& audio, int hours) {
  if (audio.empty()) {
    std::fprintf(stderr, "earmark_bench: scan needs --audio FILE, a recording of two minutes or more\n");
    std::exit(2);
  }
  Archive archive(audio);
  const auto clip = archive.Clip(kClipS);
  std::vector<float> unknown(clip.rbegin(), clip.rend());
  for (const double until : {0.0, 0.1 * hours, 1.0 * hours}) {
    archive.GrowTo(until);
    ScanAndPrint(*archive.store, archive.master, clip, archive.hours(), "a leak", archive.leaker);
    ScanAndPrint(*archive.store, archive.master, unknown, archive.hours(), "unknown audio", "nobody");
  }
}

}  // namespace earmark
