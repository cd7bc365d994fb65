#include "services/common/reference_recorder.h"

#include <algorithm>
#include <utility>

#include "dsp/marking/stream_marker.h"

namespace earmark {

ReferenceRecorder::ReferenceRecorder(std::string stream_id, const StreamFormat& format, const Key& seal_key, int source,
                                     int packets_per_chunk, ChunkSink sink)
    : stream_id_(std::move(stream_id)),
      format_(format),
      seal_key_(seal_key),
      source_(source),
      packets_per_chunk_(packets_per_chunk),
      sink_(std::move(sink)),
      chunk_(format.kind == ReferenceKind::kSourcePackets ? ReferenceChunkBuilder::ForSourcePackets(packets_per_chunk)
                                                          : ReferenceChunkBuilder(StreamMarker::PacketsPerSlot(format))) {
  if (format.kind == ReferenceKind::kSourcePackets) player_.emplace(kSampleRateHz, format.num_channels);
}

Result<void> ReferenceRecorder::Add(const Slot& slot, std::span<const float> mono_host) {
  if (open_ && slot.packet - next_packet_ > kMaxGapInChunk) {
    if (auto flushed = Flush(); !flushed) return flushed;
  }
  if (!open_) Start(slot.packet);
  if (slot.packet < next_packet_) return {};  // too close behind what was flushed to begin a word of the fingerprint
  while (next_packet_ < slot.packet) {
    const std::int64_t end_of_chunk = (next_packet_ / packets_per_chunk_ + 1) * packets_per_chunk_;
    AddSilence(std::min(slot.packet, end_of_chunk) - next_packet_);
    if (next_packet_ < end_of_chunk) continue;
    if (auto given = GiveOut(); !given) return given;
  }
  chunk_.Add(slot);
  fingerprint_->Process(mono_host);
  ++next_packet_;
  return next_packet_ % packets_per_chunk_ == 0 ? GiveOut() : Result<void>();
}

Result<void> ReferenceRecorder::AddSourcePacket(std::int64_t packet, int offset_samples, std::span<const std::uint8_t> opus,
                                                bool erased) {
  if (open_ && packet - next_packet_ > kMaxGapInChunk) {
    if (auto flushed = Flush(); !flushed) return flushed;
  }
  if (!open_) Start(packet);
  const std::int64_t start = packet * kPacketSamples + offset_samples;
  const std::int64_t heard = next_packet_ * kPacketSamples + num_ahead_;
  // too close behind what was flushed, or a source whose clock was set right
  if (packet < first_packet_ || start < heard) return {};
  sound_.clear();
  if (start > heard) player_->Miss(start - heard, sound_);
  if (auto given = Hear(sound_); !given) return given;
  sound_.clear();
  if (!player_->Play(opus, sound_)) return {};
  if (auto added = chunk_.AddSourcePacket(static_cast<int>(packet - first_packet_), offset_samples, opus); !added) return added;
  if (erased) erased_samples_ += static_cast<std::int64_t>(sound_.size());
  return Hear(sound_);
}

// Takes sound into the fingerprint, and gives chunks out where they end.
Result<void> ReferenceRecorder::Hear(std::span<const float> mono) {
  while (!mono.empty()) {
    const std::int64_t end_of_chunk = (next_packet_ / packets_per_chunk_ + 1) * packets_per_chunk_;
    const std::int64_t left = (end_of_chunk - next_packet_) * kPacketSamples - num_ahead_;
    const auto now = static_cast<std::size_t>(std::min<std::int64_t>(left, static_cast<std::int64_t>(mono.size())));
    fingerprint_->Process(mono.first(now));
    mono = mono.subspan(now);
    num_ahead_ += static_cast<std::int64_t>(now);
    next_packet_ += num_ahead_ / kPacketSamples;
    num_ahead_ %= kPacketSamples;
    if (next_packet_ < end_of_chunk) continue;
    chunk_.AddGap(static_cast<int>(end_of_chunk - first_packet_) - chunk_.num_packets());
    if (auto given = GiveOut(); !given) return given;
  }
  return {};
}

// The fingerprint is in stream time, which a host that is marked runs ahead of.
void ReferenceRecorder::Start(std::int64_t packet) {
  constexpr std::int64_t kGrid = kPacketsPerFingerprintWord;
  const std::int64_t earliest = (end_of_stored_ + kGrid - 1) / kGrid * kGrid;
  first_packet_ = next_packet_ = std::max(packet / kGrid * kGrid, earliest);
  fingerprint_.emplace(kSampleRateHz);
  num_ahead_ = 0;
  const std::vector<float> lead(format_.kind == ReferenceKind::kSourcePackets ? 0 : kTotalLatencySamples, 0.0F);
  fingerprint_->Process(lead);
  open_ = true;
}

void ReferenceRecorder::AddSilence(std::int64_t num_packets) {
  chunk_.AddGap(static_cast<int>(num_packets));
  const std::vector<float> silence(static_cast<std::size_t>(num_packets) * kPacketSamples, 0.0F);
  fingerprint_->Process(silence);
  next_packet_ += num_packets;
}

Result<void> ReferenceRecorder::GiveOut() {
  ReferenceChunk chunk;
  chunk.source = source_;
  chunk.first_packet = first_packet_;
  chunk.num_packets = chunk_.num_packets();
  const std::int64_t erased_source = std::min<std::int64_t>(erased_samples_ / kPacketSamples, chunk.num_packets);
  erased_samples_ -= erased_source * kPacketSamples;
  chunk.num_erased_slots = chunk_.num_erased() + static_cast<int>(erased_source);
  chunk.sealed = chunk_.Seal(seal_key_, {.stream_id = stream_id_, .source = source_, .first_packet = first_packet_});
  chunk.fingerprint = EncodeFingerprint(fingerprint_->TakeWords());
  first_packet_ = end_of_stored_ = next_packet_;
  return sink_(std::move(chunk));
}

Result<void> ReferenceRecorder::Flush() {
  open_ = false;
  next_packet_ = std::max(next_packet_, first_packet_ + chunk_.num_packets());  // a packet that has begun covers its slot
  return chunk_.num_packets() > 0 ? GiveOut() : Result<void>();
}

}  // namespace earmark
