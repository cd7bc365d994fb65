// One symbol of a range-coded frame in place of another, without coding anything again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace earmark {

// Where a symbol stands that is one of eight equally likely ones: what the RangeDecoder said just before it was read.
struct SymbolPlace {
  std::uint32_t range = 0;
  int num_front_bytes = 0;
};

// New values of a few bytes of a frame.
struct BytePatch {
  int first = 0;  // index of the first one
  int count = 0;  // 0 if nothing changes
  std::array<std::uint8_t, 8> bytes = {};

  std::span<const std::uint8_t> view() const noexcept { return std::span(bytes).first(static_cast<std::size_t>(count)); }
};

// `frame` with symbol `to` in place of `from`. Both symbols are as wide as each other, so behind them the decoder is in the same state, and everything else
// decodes as before: only the number that the bytes spell (RFC 6716, section 4.1) is larger by (to - from) symbol widths.
//
// Nothing is returned if
// - a symbol is not in 1 … 7: the first one of a table, 0, has the remainder of the division as well, so it is nearly always wider;
// - bytes would have to change that the frame does not have (zeros at its end that were left out), or more than eight (a carry: once in 2^32 frames).
//
// A frame's raw bits (at its end) are not to be touched: the caller looks that the patch ends before them. For two symbols of one frame, exchange the second
// in the frame that the first patch gave; its place stays the same. Real-time safe.
std::optional<BytePatch> ExchangeSymbol(std::span<const std::uint8_t> frame, const SymbolPlace& place, int from, int to) noexcept;

}  // namespace earmark
