#include "services/sidecar/choice_reader.h"

#include <algorithm>
#include <utility>

namespace earmark {

ChoiceReader::ChoiceReader(const TraceCode& code, const StreamFormat& format, const RoomClock& clock,
                           std::shared_ptr<const std::atomic<Presence>> presence, std::int64_t from_symbol)
    : code_(code),
      format_(format),
      clock_(clock),
      presence_(std::move(presence)),
      next_symbol_(std::max(from_symbol, SymbolAt(clock.NowUs() - kBackUs))) {}

std::int64_t ChoiceReader::SymbolAt(std::int64_t stream_us) const {
  return std::max<std::int64_t>(0, stream_us) / (1'000'000 / kPacketsPerSecond) / format_.packets_per_symbol;
}

std::optional<ChoiceReader::Block> ChoiceReader::Next() {
  const std::int64_t now_us = clock_.NowUs();
  if (next_symbol_ > SymbolAt(now_us + kLeadUs - kStepUs)) return std::nullopt;
  Block block{.first_symbol = next_symbol_, .variants = {}};
  // Whoever has not read for long catches up block by block.
  const std::int64_t end = std::min(SymbolAt(now_us + kLeadUs) + 1, next_symbol_ + SymbolAt(kLeadUs + kBackUs));
  for (; next_symbol_ < end; ++next_symbol_) {
    block.variants.push_back(static_cast<std::uint8_t>(code_.VariantAt(next_symbol_)));
  }
  return block;
}

}  // namespace earmark
