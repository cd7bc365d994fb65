// Marking one source of a stream: 20 ms of host in, the packets of all variants out. The command line and the live service run this very
// class.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/stream_format.h"
#include "dsp/core/stream_keys.h"
#include "dsp/marking/marker.h"
#include "dsp/marking/variant_encoder.h"

namespace earmark {

// Packet p, decoded, is host samples 960·p - kTotalLatencySamples …: what an Ogg file calls pre-skip. `stream time` everywhere in Earmark is
// the time of the decoded packets: 20 ms · p.
inline constexpr int kTotalLatencySamples = Marker::kLatencySamples + kOpusLookaheadSamples;  // 16.5 ms

// For kVariantPackets a slot has q packets of format.bitrate_bps. For kHostPackets it has one packet, of the unmarked and equally delayed host
// at kHostReferenceBitrate, and the variants come as PCM.
inline constexpr int kHostReferenceBitrateBps = 128000;

class StreamMarker {
 public:
  // `first_packet`: number of the first block's slot; a source may start late. kInvalidArgument: `format` is not valid, or `first_packet` is negative.
  static Result<StreamMarker> Create(const StreamFormat& format, const ReadingKeys& keys, std::int64_t first_packet = 0);

  // 20 ms, interleaved, format.num_channels. Does not allocate, lock, log or do I/O. The slot is valid until the next call, and knows its
  // number. Fails only if libopus does (kInternal); the stream cannot go on then. `num_bytes`, 3 to kMaxPacketBytes: of the slot's packets, where
  // format.bitrate_bps is 0.
  Result<Slot> Process(std::span<const float> host, int num_bytes = kMaxPacketBytes) noexcept;

  // The next block lies `num_packets` (>= 0) packets later than it would. All state is as after Create at that packet: no sound from before the
  // gap comes out behind it, where it would be in another symbol; so the first 16.5 ms behind the gap are silent. Real-time safe.
  void Skip(std::int64_t num_packets) noexcept;
  // The number of the next block's slot.
  std::int64_t next_packet() const { return next_packet_; }

  // The marked PCM of the last block, delayed by Marker::kLatencySamples; for kHostPackets.
  std::span<const float> VariantPcm(int variant) const noexcept { return marker_.Variant(variant); }

  const StreamFormat& format() const { return format_; }
  // How many packets the reference's slots have: q, or 1.
  static int PacketsPerSlot(const StreamFormat& format) {
    return format.kind == ReferenceKind::kVariantPackets ? format.num_variants : 1;
  }

 private:
  StreamMarker(const StreamFormat& format, const ReadingKeys& keys, std::int64_t first_packet, VariantEncoder encoder)
      : format_(format), next_packet_(first_packet), marker_(format, keys.carrier, first_packet), encoder_(std::move(encoder)) {}

  StreamFormat format_;
  std::int64_t next_packet_;
  Marker marker_;
  VariantEncoder encoder_;
};

}  // namespace earmark
