#include "services/common/reference_recorder.h"

#include <algorithm>
#include <utility>

#include "dsp/marking/stream_marker.h"

namespace earmark {

ReferenceRecorder::ReferenceRecorder(std::string stream_id, const StreamFormat& format, const Key& seal_key, int source, int packets_per_chunk,
                                     ChunkSink sink)
    : stream_id_(std::move(stream_id)),
      format_(format),
      seal_key_(seal_key),
      source_(source),
      packets_per_chunk_(packets_per_chunk),
      sink_(std::move(sink)),
      chunk_(StreamMarker::PacketsPerSlot(format)) {}

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

// The fingerprint is in stream time, which the host runs ahead of.
void ReferenceRecorder::Start(std::int64_t packet) {
  constexpr std::int64_t kGrid = kPacketsPerFingerprintWord;
  const std::int64_t earliest = (end_of_stored_ + kGrid - 1) / kGrid * kGrid;
  first_packet_ = next_packet_ = std::max(packet / kGrid * kGrid, earliest);
  fingerprint_.emplace(kSampleRateHz);
  const std::vector<float> lead(kTotalLatencySamples, 0.0F);
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
  chunk.num_erased_slots = chunk_.num_erased();
  chunk.sealed = chunk_.Seal(seal_key_, {.stream_id = stream_id_, .source = source_, .first_packet = first_packet_});
  chunk.fingerprint = EncodeFingerprint(fingerprint_->TakeWords());
  first_packet_ = end_of_stored_ = next_packet_;
  return sink_(std::move(chunk));
}

Result<void> ReferenceRecorder::Flush() {
  open_ = false;
  return chunk_.num_packets() > 0 ? GiveOut() : Result<void>();
}

}  // namespace earmark
