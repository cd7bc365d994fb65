// Which variant one listener gets, told ahead of the room's clock to a relay that chooses itself.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "dsp/core/stream_format.h"
#include "dsp/tracing/trace_code.h"
#include "services/sidecar/called_source.h"
#include "services/sidecar/live_source.h"

namespace earmark {

// One listener's code, from a symbol on. One object serves one thread at a time; `presence` may be set by any.
class ChoiceReader {
 public:
  static constexpr std::int64_t kLeadUs = 5'000'000;  // how far ahead of the room's clock it reads
  static constexpr std::int64_t kStepUs = 500'000;    // and how much of that may be missing before there is a block
  // how far behind the clock it begins, at most: packets that are still on their way
  static constexpr std::int64_t kBackUs = 5'000'000;

  struct Block {
    std::int64_t first_symbol = 0;
    std::vector<std::uint8_t> variants;  // one a symbol, of at most kLeadUs + kBackUs
  };

  // `from_symbol`: 0 or more.
  ChoiceReader(const TraceCode& code, const StreamFormat& format, const RoomClock& clock,
               std::shared_ptr<const std::atomic<Presence>> presence, std::int64_t from_symbol);

  // Of the grant.
  Presence presence() const { return *presence_; }
  // The symbols that follow the last block; none: not yet due.
  std::optional<Block> Next();

 private:
  std::int64_t SymbolAt(std::int64_t stream_us) const;

  TraceCode code_;
  StreamFormat format_;
  RoomClock clock_;
  std::shared_ptr<const std::atomic<Presence>> presence_;
  std::int64_t next_symbol_;
};

}  // namespace earmark
