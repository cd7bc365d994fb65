#include "services/detectd/settings.h"

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "dsp/media/decoded_clip.h"
#include "services/common/scan/scan.h"

namespace earmark::detectd {
namespace {

Result<std::int64_t> IntegerWithin(const server::Config& config, const std::string& key, std::int64_t min, std::int64_t max,
                                   const std::string& section = "scan") {
  const std::int64_t value = config.Integer(section, key);
  if (value >= min && value <= max) return value;
  return Fail(ErrorCode::kInvalidArgument, section + "." + key + ": wanted " + std::to_string(min) + " to " +
                                               std::to_string(max) + ", got " + std::to_string(value));
}

// Where none is named, the one beside this program.
std::string DecoderBeside(const std::string& named) {
  std::error_code unknown;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", unknown);
  return named.empty() ? (self.parent_path() / "earmark-decode").string() : named;
}

}  // namespace

std::vector<server::ConfigKey> DetectdConfigKeys() {
  std::vector<server::ConfigKey> keys = server::CommonConfigKeys();
  keys.push_back({"scan", "workers", std::int64_t{1}, "How many scans run at once, 1 to 256. Each takes a core."});
  keys.push_back({"scan", "max_clip_bytes", std::int64_t{512} << 20, "Larger clips are refused."});
  keys.push_back(
      {"scan", "max_false_accusation", 1e-6,
       "Bound on the chance that a scan accuses anybody innocent, where its request names none, at most 0.01; no request may ask for a larger one."});
  keys.push_back({"scan", "max_clip_hours", 12.0, "Clips whose sound is longer are unreadable, above 0 and at most 48."});
  keys.push_back({"scan", "decoder", std::string(), "The program earmark-decode. Empty: the one beside this program."});
  keys.push_back(
      {"scan", "decode_cpu_s", std::int64_t{600}, "Clips that take more processor time to decode are unreadable, 1 to 86400."});
  keys.push_back(
      {"scan", "decode_memory_mb", std::int64_t{1024}, "Clips that take more memory to decode are unreadable, 256 to 1048576."});
  keys.push_back({"scan", "lease_s", std::int64_t{10},
                  "Seconds after which the scan of a worker that fell silent is given to another, 1 to 3600."});
  keys.push_back(
      {"retention", "clip_days", std::int64_t{30},
       "Days for which a submitted clip is kept once it has a finding, 0 to 3650; 0: it is dropped with the end of its scan."});
  return keys;
}

Result<Settings> ReadSettings(const server::Config& config) {
  const auto workers = IntegerWithin(config, "workers", 1, 256);
  if (!workers) return Pass(workers);
  const auto clip_bytes = IntegerWithin(config, "max_clip_bytes", 1, std::int64_t{1} << 40);
  if (!clip_bytes) return Pass(clip_bytes);
  const auto lease_s = IntegerWithin(config, "lease_s", 1, 3600);
  if (!lease_s) return Pass(lease_s);
  const auto cpu_s = IntegerWithin(config, "decode_cpu_s", 1, 86400);
  if (!cpu_s) return Pass(cpu_s);
  const auto memory_mb = IntegerWithin(config, "decode_memory_mb", 256, 1 << 20);
  if (!memory_mb) return Pass(memory_mb);
  const auto clip_days = IntegerWithin(config, "clip_days", 0, 3650, "retention");
  if (!clip_days) return Pass(clip_days);
  const double hours = config.Number("scan", "max_clip_hours");
  if (!(hours > 0 && hours <= DecodedClip::kMaxHours)) {
    char text[120];
    std::snprintf(text, sizeof text, "scan.max_clip_hours: wanted above 0 and at most %g, got %g", DecodedClip::kMaxHours, hours);
    return Fail(ErrorCode::kInvalidArgument, text);
  }
  const double bound = config.Number("scan", "max_false_accusation");
  if (!(bound > 0 && bound <= kMaxKeptFalseAccusation)) {
    char text[120];
    std::snprintf(text, sizeof text, "scan.max_false_accusation: wanted a probability above 0 and at most %g, got %g",
                  kMaxKeptFalseAccusation, bound);
    return Fail(ErrorCode::kInvalidArgument, text);
  }
  if (config.Text("store", "url").empty()) {
    return Fail(ErrorCode::kInvalidArgument, "store.url: wanted sqlite:PATH or postgresql://…, got none");
  }
  if (config.Text("key", "file").empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "key.file: wanted the file with the master key, got none; `earmark keys create` makes one");
  }
  return Settings{
      .store_url = config.Text("store", "url"),
      .key_file = config.Text("key", "file"),
      .num_workers = static_cast<int>(*workers),
      .uploads = {.max_clip_bytes = *clip_bytes, .max_false_accusation = bound, .keep_clip_us = *clip_days * 86'400 * 1'000'000},
      .max_clip_hours = hours,
      .decoder = {.program = DecoderBeside(config.Text("scan", "decoder")),
                  .limits = {.cpu_s = *cpu_s, .memory_bytes = *memory_mb << 20}},
      .lease_us = *lease_s * 1'000'000};
}

}  // namespace earmark::detectd
