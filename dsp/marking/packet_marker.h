// From a source's Opus packets to slots of q variants, packet by packet.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/stream_format.h"
#include "dsp/core/stream_keys.h"
#include "dsp/marking/stream_marker.h"

struct OpusDecoder;

namespace earmark {

// Gets each finished slot, with the sound of the source at that packet: 20 ms, interleaved, format.num_channels, ±1, as decoded and unmarked (what
// fingerprints are made of). Both are valid during the call alone.
using SlotSink = std::function<void(const Slot& slot, std::span<const float> host)>;

// One source. One object serves one thread at a time.
class PacketMarker {
 public:
  PacketMarker() = default;
  PacketMarker(const PacketMarker&) = delete;
  PacketMarker& operator=(const PacketMarker&) = delete;
  virtual ~PacketMarker() = default;

  // `packet`: the slot, on the room's clock, in which the first sample of `opus` lies. Numbers increase by what a packet lasts; where they jump
  // (loss, a pause, a late start) nothing is given out for the numbers left out. Returns how many slots went to `sink`. A packet of 20 ms makes
  // one slot, longer ones make several, and of shorter ones those with the same number are put together to one. Does not allocate, lock or do I/O,
  // apart from what the sink does; work is bounded whatever the jump.
  //
  // kInvalidArgument: not an Opus packet, or its slot has gone by already; the packet is dropped, and the next one is welcome. (Messages are short enough
  // not to be allocated, as senders can bring these about at will.) kInternal: the encoder failed, and the source cannot go on.
  virtual Result<int> Process(std::int64_t packet, std::span<const std::uint8_t> opus, const SlotSink& sink) noexcept = 0;
};

// Decodes and encodes again: takes packets of any mode, bandwidth, duration (2.5 to 120 ms) and channel count.
//
// What a second encode costs is least where its frames lie on the first one's, whose coefficients it then nearly meets again, and where they are as long. So the
// sound is held back until source, marker and encoder together delay it by one whole packet, which is how far copies lag behind the source's packets. With a
// bit rate of 0 each slot's packets have the length of the source's packet whose sound they carry (docs/decisions/0012).
//
// A gap of up to kMaxConcealedPackets is concealed inside: decoder, marker and encoders run through it, so that the sound behind it goes on smoothly.
// (What listeners hear in the half second behind one lost packet then is 25 dB like a copy without loss; after a fresh start, 17 dB.)
// At a longer one all of them start afresh.
class ReencodeMarker final : public PacketMarker {
 public:
  static constexpr int kMaxConcealedPackets = 5;

  // kInvalidArgument: `format` is not valid, or is not of kind kVariantPackets.
  static Result<std::unique_ptr<ReencodeMarker>> Create(const StreamFormat& format, const ReadingKeys& keys);

  Result<int> Process(std::int64_t packet, std::span<const std::uint8_t> opus, const SlotSink& sink) noexcept override;

 private:
  struct DecoderDeleter {
    void operator()(OpusDecoder* decoder) const;
  };
  ReencodeMarker(StreamMarker marker, std::unique_ptr<OpusDecoder, DecoderDeleter> decoder);

  // Decodes (nothing: conceals `num_samples`) to the end of what is pending. False if libopus refuses.
  bool Decode(std::span<const std::uint8_t> opus, int num_samples) noexcept;
  Result<int> CrossGap(std::int64_t packet, const SlotSink& sink) noexcept;
  Result<int> MarkWholeBlocks(const SlotSink* sink) noexcept;
  Result<Slot> MarkBlock(std::span<const float> decoded) noexcept;
  void StartAfresh(std::int64_t packet) noexcept;

  StreamMarker marker_;
  std::unique_ptr<OpusDecoder, DecoderDeleter> decoder_;
  std::size_t num_channels_;
  bool started_ = false;
  std::vector<float> pending_;  // interleaved; decoded and not yet marked, from the start of slot marker_.next_packet()
  int num_pending_ = 0;         // samples a channel
  std::vector<float> delayed_;  // interleaved: what is held back, then the block that is marked
  int block_bytes_ = 0;         // of the source's packets in 20 ms that came last …
  int held_back_bytes_ = 0;     // … and of those whose sound is marked next
};

}  // namespace earmark
