// Marks a source's own Opus packets by moving the levels that they code: no decoding, no encoding, no delay, and not a byte more.
//
// Variants 2j and 2j+1 move each band by carrier j's sign and its opposite. How far is what the band may move (level_masking.h), to a whole number of the
// steps that the packet codes its level in; a band whose steps are too coarse stays. Where a packet is coded by SILK (and so up to 8 kHz in hybrid ones), it is the
// frame's gain that moves, by a step of 1.37 dB, in those of the frames that do not carry it on. docs/formats/trace-code.md, code version 2.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/secret.h"
#include "dsp/core/stream_format.h"
#include "dsp/marking/carrier.h"
#include "dsp/marking/level_masking.h"
#include "dsp/opus/opus_frames.h"
#include "dsp/opus/patch.h"
#include "dsp/opus/range_decoder.h"

namespace earmark {

// The usual format of a stream that is marked so: in the speaker's own packets, or with `bitrate_bps` in those of one encode.
inline StreamFormat SourcePacketsFormat(int bitrate_bps = 0) {
  return {.packets_per_symbol = 1, .bitrate_bps = bitrate_bps, .kind = ReferenceKind::kSourcePackets, .code_version = 2};
}

// One packet of the source and what its variants differ by. Valid until the next call.
struct PatchedPacket {
  std::span<const Patch> patches;  // [variant]
  int num_samples = 0;             // that the packet lasts, at 48 kHz; 0: it is no Opus packet
  bool erased = true;              // all of them are empty: nothing can be moved, or it is no Opus packet
};

// One source. One object serves one thread at a time. No call allocates, locks or does I/O.
class InPacketMarker {
 public:
  struct Options {
    LevelMasking::Options masking = {};
    float max_step_db = 3.2F;  // bands of coarser steps stay
    int first_band = 0;        // of CELT frames: all …
    int end_band = 15;         // … up to 5.6 kHz, beyond which a move costs more than it brings; …
    int hybrid_end_band = 19;  // … of hybrid frames, where CELT begins at 8 kHz: up to 12 kHz, which is what the readers see
    float gain_share = 1;      // of the SILK frames that may be moved
    int max_ltp_gain = 110;    // SilkGain::ltp_gain above which a voiced frame stays
    int min_gain = 8;          // gain index below which a frame is silence
  };
  InPacketMarker(const StreamFormat& format, const Key& carrier_key, const Options& options);
  InPacketMarker(const StreamFormat& format, const Key& carrier_key) : InPacketMarker(format, carrier_key, OptionsFor(format)) {}
  // What StreamFormat::strength stands for.
  static Options OptionsFor(const StreamFormat& format);

  // `packet`: the slot, on the room's clock, in which `opus` starts. It decides the symbol of the whole packet. Packets come in order; what is left out is
  // no matter. All bytes are welcome: what is no Opus packet is erased.
  PatchedPacket Mark(std::int64_t packet, std::span<const std::uint8_t> opus) noexcept;

 private:
  void MarkFrame(const OpusFrames& packet, std::size_t index, std::size_t offset, bool first_of_slot) noexcept;
  void MarkSilk(const OpusFrames& packet, std::span<const std::uint8_t> frame, std::size_t offset,
                RangeDecoder& decoder) noexcept;
  void MarkCelt(const OpusFrames& packet, std::span<const std::uint8_t> frame, std::size_t offset, RangeDecoder& decoder,
                int direction) noexcept;
  // Adds each variant's version of a frame, `change`, to its patch, or none if there is no room for all.
  template <typename Change>
  void AddToPatches(std::span<const std::uint8_t> frame, std::size_t offset, const Change& change) noexcept;

  // A slot in which packets started.
  struct Slot {
    std::int64_t packet = -1;
    bool voiced = false;  // a SILK frame of it is
  };

  StreamFormat format_;
  Slot slot_;
  Slot slot_before_;  // the one before that packets came for, next to slot_ or not
  Options options_;
  CarrierSigns carrier_;
  const SymbolSigns* signs_ = nullptr;  // of the packet's symbol
  LevelMasking masking_;
  std::vector<Patch> patches_;
};

}  // namespace earmark
