#include "services/detectd/settings.h"

#include <cstdio>

#include "services/common/scan/scan.h"

namespace earmark::detectd {
namespace {

Result<std::int64_t> IntegerWithin(const server::Config& config, const std::string& key, std::int64_t min, std::int64_t max) {
  const std::int64_t value = config.Integer("scan", key);
  if (value >= min && value <= max) return value;
  return Fail(ErrorCode::kInvalidArgument, "scan." + key + ": wanted " + std::to_string(min) + " to " + std::to_string(max) +
                                               ", got " + std::to_string(value));
}

}  // namespace

std::vector<server::ConfigKey> DetectdConfigKeys() {
  std::vector<server::ConfigKey> keys = server::CommonConfigKeys();
  keys.push_back({"scan", "workers", std::int64_t{1}, "How many scans run at once, 1 to 256. Each takes a core."});
  keys.push_back({"scan", "max_clip_bytes", std::int64_t{512} << 20, "Larger clips are refused."});
  keys.push_back(
      {"scan", "max_false_accusation", 1e-6,
       "Bound on the chance that a scan accuses anybody innocent, where its request names none, at most 0.01; no request may ask for a larger one."});
  keys.push_back({"scan", "lease_s", std::int64_t{10},
                  "Seconds after which the scan of a worker that fell silent is given to another, 1 to 3600."});
  return keys;
}

Result<Settings> ReadSettings(const server::Config& config) {
  const auto workers = IntegerWithin(config, "workers", 1, 256);
  if (!workers) return Pass(workers);
  const auto clip_bytes = IntegerWithin(config, "max_clip_bytes", 1, std::int64_t{1} << 40);
  if (!clip_bytes) return Pass(clip_bytes);
  const auto lease_s = IntegerWithin(config, "lease_s", 1, 3600);
  if (!lease_s) return Pass(lease_s);
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
  return Settings{.store_url = config.Text("store", "url"),
                  .key_file = config.Text("key", "file"),
                  .num_workers = static_cast<int>(*workers),
                  .max_clip_bytes = *clip_bytes,
                  .max_false_accusation = bound,
                  .lease_us = *lease_s * 1'000'000};
}

}  // namespace earmark::detectd
