#include "dsp/marking/stream_marker.h"

#include <utility>

namespace earmark {

Result<StreamMarker> StreamMarker::Create(const StreamFormat& format, const StreamKeys& keys) {
  if (auto valid = Validate(format); !valid) return Pass(valid);
  const bool variants = format.kind == ReferenceKind::kVariantPackets;
  auto encoder = VariantEncoder::Create({.num_encoders = PacketsPerSlot(format),
                                         .num_channels = format.num_channels,
                                         .bitrate_bps = variants ? format.bitrate_bps : kHostReferenceBitrateBps});
  if (!encoder) return Pass(encoder);
  return StreamMarker(format, keys, std::move(*encoder));
}

Result<Slot> StreamMarker::Process(std::span<const float> host) noexcept {
  marker_.Process(host);
  if (format_.kind == ReferenceKind::kHostPackets) return encoder_.Encode([&](int) { return marker_.Host(); });
  return encoder_.Encode([&](int variant) { return marker_.Variant(variant); });
}

}  // namespace earmark
