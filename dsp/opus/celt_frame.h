// The front of a CELT frame: what it says about bands' levels, and where. RFC 6716, section 4.3, up to and with the fine energy (§4.3.2.2).
//
// A band's level is coded in steps of 6.02 dB (coarse, in the range coder), and in fine steps as raw bits, uncompressed, at the end of the frame: first
// band first, first channel first, from the last bit of the frame backwards. How many fine bits a band has follows from the bit allocation, which is why all
// that stands before it is parsed. Changing fine bits changes the band's level, and nothing else in the frame.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "dsp/opus/celt_tables.h"
#include "dsp/opus/opus_frames.h"
#include "dsp/opus/range_decoder.h"

namespace earmark {

struct CeltLayout {
  int num_channels = 1;     // 1 or 2, as coded
  int frame_size_log2 = 3;  // 0 … 3: 2.5, 5, 10, 20 ms
  int first_band = 0;       // 17 in hybrid frames
  int end_band = celt::kNumBands;
};

// Of the CELT frames in a packet that is not SILK alone.
CeltLayout CeltLayoutOf(const OpusFrames& packet) noexcept;

struct CeltFront {
  CeltLayout layout;
  bool silence = false;  // nothing else is set then
  bool transient = false;
  bool intra = false;    // levels are not predicted from the frame before
  int pitch_period = 0;  // of the pitch filter, in samples at 48 kHz
  int pitch_gain = 0;    // 0: there is none; 1 … 8
  // [channel][band]: what is added to the prediction, in steps of 6.02 dB
  std::array<std::array<std::int16_t, celt::kNumBands>, 2> coarse{};
  std::array<std::uint8_t, celt::kNumBands> num_fine_bits{};  // a channel; 0 … 8
  // of channel 0: raw bits of the frame that stand before it
  std::array<std::uint16_t, celt::kNumBands> first_fine_bit{};
  int num_coded_bands = 0;  // bands from here on have no shape of their own, and are filled with noise or folded spectrum
};

// `decoder`: at the start of the CELT part; behind what was read afterwards. std::nullopt: the frame breaks off, or is damaged. Does not allocate; at most some
// 1,500 symbols are read, whatever the bytes are.
std::optional<CeltFront> ParseCeltFront(const CeltLayout& layout, RangeDecoder& decoder) noexcept;

// Raw bits of a frame: number `first` counts from the last byte's lowest bit. `count` <= 8; they lie within the frame.
int ReadRawBits(std::span<const std::uint8_t> frame, int first, int count) noexcept;
void WriteRawBits(std::span<std::uint8_t> frame, int first, int count, int value) noexcept;

// Bands' levels as a decoder has them: §4.3.2.1. Small, copied freely.
class CeltLevels {
 public:
  // Goes on by one frame; `frame` holds the fine bits.
  void Advance(const CeltFront& front, std::span<const std::uint8_t> frame) noexcept;
  // Root mean square of a band's MDCT bins (of two channels: of both), in dB; a sine of full scale gives about 0 to 3 in a frame of 20 ms.
  float LevelDb(int band) const noexcept { return level_db_[static_cast<std::size_t>(band)]; }

 private:
  std::array<std::array<float, celt::kNumBands>, 2> level_{};  // [channel][band] log2 of amplitude over the mean level
  std::array<float, celt::kNumBands> level_db_{};
};

}  // namespace earmark
