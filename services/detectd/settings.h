// What the configuration of earmark-detectd says, checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dsp/core/result.h"
#include "services/common/server/config.h"
#include "services/decode/decoder_host.h"
#include "services/detectd/upload.h"

namespace earmark::detectd {

// CommonConfigKeys, [scan], and of [retention] clip_days.
std::vector<server::ConfigKey> DetectdConfigKeys();

struct Settings {
  std::string store_url;
  std::string key_file;
  int num_workers = 1;
  UploadLimits uploads;
  double max_clip_hours = 0;
  decode::DecoderOptions decoder;
  std::int64_t lease_us = 0;  // how long a scan is a worker's that does not say a word
};

// `config` has the keys of DetectdConfigKeys. kInvalidArgument: a value out of range, or one that is needed is missing.
Result<Settings> ReadSettings(const server::Config& config);

}  // namespace earmark::detectd
