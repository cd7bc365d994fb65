// How clips are scanned.
#pragma once

#include <cstdint>
#include <string>

#include "services/decode/decoder_host.h"

namespace earmark::detectd {

struct WorkerOptions {
  std::string store_url;
  decode::DecoderOptions decoder;
  int num_workers = 1;
  std::int64_t lease_us = 10'000'000;
  // How long after its submission a clip of unknown sound is scanned again while a live stream is recorded: its sound may be on its way into
  // the store.
  std::int64_t settle_us = 15'000'000;
  double max_clip_hours = 12;  // of a track; a small file may hold more silence than any disk
};

}  // namespace earmark::detectd
