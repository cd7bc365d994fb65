#include "dsp/rtp/output_projection.h"

#include "dsp/core/stream_format.h"
#include "dsp/core/stream_keys.h"

namespace earmark {
namespace {

std::uint32_t Timestamp(std::int64_t packet) { return static_cast<std::uint32_t>(packet * kPacketSamples); }

}  // namespace

OutputPlace OutputSequence::Next(std::int64_t packet) noexcept {
  if (!started_) sequence_ = static_cast<std::uint16_t>(packet);  // further on than before a restart
  OutputPlace place{.sequence = sequence_, .timestamp = Timestamp(packet), .marker = !started_};
  if (started_) {
    // Numbers are left out for what was lost alone; what was left out beyond that is a pause.
    const std::int64_t left_out = packet - last_packet_ - 1;
    const std::int64_t lost = left_out < num_lost_ ? left_out : num_lost_;
    place.sequence = static_cast<std::uint16_t>(sequence_ + 1 + lost);
    place.marker = left_out > lost;
  }
  started_ = true;
  sequence_ = place.sequence;
  last_packet_ = packet;
  num_lost_ = 0;
  return place;
}

OutputProjection OutputProjection::Derive(const Key& seed, std::string_view source, std::uint8_t payload_type) {
  const Key random = DeriveKey(seed, "earmark.v1.rtp", source);
  const auto bytes = random.RevealBytes();
  const auto read = [&](std::size_t at) {
    return std::uint32_t{bytes[at]} << 24 | std::uint32_t{bytes[at + 1]} << 16 | std::uint32_t{bytes[at + 2]} << 8 |
           bytes[at + 3];
  };
  OutputProjection projection;
  projection.ssrc_ = read(0);
  projection.timestamp_offset_ = read(4);
  projection.sequence_offset_ = static_cast<std::uint16_t>(read(8));
  projection.payload_type_ = payload_type;
  return projection;
}

void OutputProjection::WriteHeader(const OutputPlace& place, std::span<std::uint8_t, kRtpHeaderBytes> out) const noexcept {
  WriteRtpHeader({.payload_type = payload_type_,
                  .marker = place.marker,
                  .sequence = static_cast<std::uint16_t>(place.sequence + sequence_offset_),
                  .timestamp = place.timestamp + timestamp_offset_,
                  .ssrc = ssrc_},
                 out);
}

std::uint32_t OutputProjection::TimestampOf(std::int64_t packet) const noexcept { return Timestamp(packet) + timestamp_offset_; }

}  // namespace earmark
