#include "dsp/marking/stream_marker.h"

#include <string>
#include <utility>

namespace earmark {

Result<StreamMarker> StreamMarker::Create(const StreamFormat& format, const ReadingKeys& keys, std::int64_t first_packet) {
  if (auto valid = Validate(format); !valid) return Pass(valid);
  if (first_packet < 0)
    return Fail(ErrorCode::kInvalidArgument, "first_packet: want 0 or more, got " + std::to_string(first_packet));
  const bool variants = format.kind == ReferenceKind::kVariantPackets;
  auto encoder = VariantEncoder::Create({.num_encoders = PacketsPerSlot(format),
                                         .num_channels = format.num_channels,
                                         .bitrate_bps = variants ? format.bitrate_bps : kHostReferenceBitrateBps});
  if (!encoder) return Pass(encoder);
  return StreamMarker(format, keys, first_packet, std::move(*encoder));
}

Result<Slot> StreamMarker::Process(std::span<const float> host, int num_bytes) noexcept {
  marker_.Process(host);
  const bool host_packets = format_.kind == ReferenceKind::kHostPackets;
  auto slot = encoder_.Encode([&](int variant) { return host_packets ? marker_.Host() : marker_.Variant(variant); }, num_bytes);
  if (slot) slot->packet = next_packet_;
  ++next_packet_;
  return slot;
}

void StreamMarker::Skip(std::int64_t num_packets) noexcept {
  marker_.Skip(num_packets);
  encoder_.Reset();
  next_packet_ += num_packets;
}

}  // namespace earmark
