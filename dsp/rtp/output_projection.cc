#include "dsp/rtp/output_projection.h"

#include <sodium.h>

#include "dsp/core/stream_format.h"

namespace earmark {
namespace {

std::uint32_t Timestamp(std::int64_t packet) { return static_cast<std::uint32_t>(packet * kPacketSamples); }

}  // namespace

OutputPlace OutputSequence::Next(std::int64_t packet) noexcept {
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

OutputProjection OutputProjection::Random(std::uint8_t payload_type) {
  OutputProjection projection;
  projection.ssrc_ = randombytes_random();
  projection.timestamp_offset_ = randombytes_random();
  projection.sequence_offset_ = static_cast<std::uint16_t>(randombytes_random());
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
