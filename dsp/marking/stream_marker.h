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
  // kInvalidArgument: `format` is not valid.
  static Result<StreamMarker> Create(const StreamFormat& format, const StreamKeys& keys);

  // 20 ms, interleaved, format.num_channels. Does not allocate, lock, log or do I/O. The slot is valid until the next call. Fails only
  // if libopus does (kInternal); the stream cannot go on then.
  Result<Slot> Process(std::span<const float> host) noexcept;

  // The marked PCM of the last block, delayed by Marker::kLatencySamples; for kHostPackets.
  std::span<const float> VariantPcm(int variant) const noexcept { return marker_.Variant(variant); }

  const StreamFormat& format() const { return format_; }
  // How many packets the reference's slots have: q, or 1.
  static int PacketsPerSlot(const StreamFormat& format) { return format.kind == ReferenceKind::kVariantPackets ? format.num_variants : 1; }

 private:
  StreamMarker(const StreamFormat& format, const StreamKeys& keys, VariantEncoder encoder)
      : format_(format), marker_(format, keys.carrier), encoder_(std::move(encoder)) {}

  StreamFormat format_;
  Marker marker_;
  VariantEncoder encoder_;
};

}  // namespace earmark
