// The SILK layer of an Opus frame: RFC 6716, section 4.2, parsed but not synthesised.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "dsp/opus/range_decoder.h"

namespace earmark {

// What SILK itself works at: 8, 12, 16 kHz. Hybrid frames, whatever their bandwidth, are kWide.
enum class SilkBandwidth : std::uint8_t { kNarrow, kMedium, kWide };
enum class SilkSignal : std::uint8_t { kInactive, kUnvoiced, kVoiced };

// Of a decoder that has just started, has lost a packet, changed the SILK bandwidth, or comes to a side channel that was left out before: the gain index
// that SubframeLevels takes as the one before.
inline constexpr int kSilkGainAfterReset = 10;
// Decibels that one step of a gain index is.
inline constexpr double kSilkGainStepDb = 86.0 / 63;

struct SilkOptions {
  int num_channels = 1;  // 1, 2: as the packet has it
  SilkBandwidth bandwidth = SilkBandwidth::kWide;
  int duration_ms = 20;  // of the Opus frame: 10, 20, 40, 60; hybrid 10, 20
  bool hybrid = false;
};

// The gain of a SILK frame (10 or 20 ms) whose first subframe's is coded for itself, not as a difference.
struct SilkGain {
  int channel = 0;      // 0 mid (or mono), 1 side
  int frame_index = 0;  // of the SILK frame in the Opus frame: 0 … 2
  SilkSignal signal = SilkSignal::kInactive;
  // of voiced frames: how much long-term prediction takes over, mean of the subframes' filters, in 128ths, rounded up; 0 … 133
  int ltp_gain = 0;
  int msb = 0;  // 0 … 7
  int lsb = 0;  // 0 … 7, all equally likely
  // The decoder just before `lsb` was read: with these ExchangeSymbol puts another in its place.
  std::uint32_t range = 0;
  int num_front_bytes = 0;
  int num_subframes = 0;           // 2, 4
  std::array<int, 3> deltas = {};  // -4 … 36, of subframes 1 … num_subframes - 1 against the one before

  int index() const noexcept { return 8 * msb + lsb; }  // 0 … 63, as sent
};

struct SilkLayer {
  // Mid: of the first SILK frame alone. Side: of the first that is coded, and of each that follows one which was left out. So three at most.
  int num_gains = 0;
  std::array<SilkGain, 3> gains = {};
};

// Takes from `decoder`, which is at the frame's start, all symbols of the SILK layer: the flags, LBRR frames (which are passed over), and the regular
// frames. Then it stands where a hybrid frame's CELT part begins (its redundancy flag: §4.5.1.1), or where a SILK-only frame's redundant CELT frame would.
//
// Nothing is kept from one Opus frame to the next: no distribution depends on an earlier one (only values do: of gains, lags, spectra). Real-time safe.
//
// Nothing is returned for options that Opus does not have, for frames of less than two bytes (nothing was sent), and for damaged ones as far as that shows: a
// hybrid frame has all bytes that are read; a SILK-only one may lack a few at its end that were zeros, because libopus leaves those out. How far the
// decoder is then is not defined. Whatever the bytes, a parse is bounded: at most some 50,000 symbols.
std::optional<SilkLayer> ParseSilk(RangeDecoder& decoder, const SilkOptions& options) noexcept;

// The levels (0 … 63, kSilkGainStepDb each) of a frame's subframes as a decoder comes to them. `previous` is the level of the last subframe coded in the
// same channel, in whatever packet. Two rules make a level other than `index` and sums of `deltas`: the first is at least previous - 16, and big deltas
// (above previous + 8) count double and lead to a level that does not depend on the one before.
std::array<int, 4> SubframeLevels(const SilkGain& gain, int previous) noexcept;

}  // namespace earmark
