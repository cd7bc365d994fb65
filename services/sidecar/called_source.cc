#include "services/sidecar/called_source.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "dsp/opus/opus_frames.h"
#include "dsp/search/fingerprint.h"

namespace earmark {

Result<std::shared_ptr<CalledSource>> CalledSource::Create(const Options& options, const StreamKeys& keys, const RoomClock& clock,
                                                           Recorder& recorder) {
  if (auto valid = Validate(options.format); !valid) return Pass(valid);
  if (options.format.kind != ReferenceKind::kSourcePackets) {
    return Fail(ErrorCode::kInvalidArgument, "kind: wanted 2 (source packets), got another");
  }
  return std::shared_ptr<CalledSource>(new CalledSource(options, keys, clock, recorder));
}

CalledSource::CalledSource(const Options& options, const StreamKeys& keys, const RoomClock& clock, Recorder& recorder)
    : options_(options),
      clock_(clock),
      recorder_(recorder),
      marker_(options.format, keys.carrier),
      source_clock_({.wait_for_order = false, .first_packet = options.first_packet}),
      end_packet_(options.first_packet) {}

CalledSource::Answer CalledSource::Take(const Packet& packet) {
  const std::lock_guard lock(mutex_);
  if (presence_ != Presence::kHere) return {};
  ++counts_.received;
  std::optional<Answer> marked;
  source_clock_.Push({.header = {.sequence = packet.sequence, .timestamp = packet.timestamp}, .payload = packet.opus},
                     clock_.NowUs(), [&](const SourcePacket& placed) { marked = Mark(placed); });
  Remembered& remembered = remembered_[packet.sequence % kNumRemembered];
  if (marked) {
    remembered = {.sequence = packet.sequence,
                  .timestamp = packet.timestamp,
                  .opus = {packet.opus.begin(), packet.opus.end()},
                  .answer = *std::move(marked)};
    return remembered.answer;
  }
  // A patch is for the very bytes it was made of.
  const bool again = remembered.sequence == packet.sequence && remembered.timestamp == packet.timestamp &&
                     std::ranges::equal(remembered.opus, packet.opus);
  return again ? remembered.answer : Answer();
}

CalledSource::Answer CalledSource::Mark(const SourcePacket& packet) {
  const PatchedPacket patched = packet.late ? PatchedPacket{} : marker_.Mark(packet.packet, packet.payload);
  Answer answer{.symbol = packet.packet / options_.format.packets_per_symbol, .patches = {}};
  ++(patched.erased ? counts_.erased : counts_.marked);
  if (!patched.erased) {
    for (const Patch& patch : patched.patches) answer.patches.emplace_back(patch.changes().begin(), patch.changes().end());
  }
  if (!SplitOpusPacket(packet.payload)) {
    ++counts_.malformed;
  } else if (!packet.late) {
    Record(packet, patched);
  }
  return answer;
}

void CalledSource::Record(const SourcePacket& packet, const PatchedPacket& patched) {
  if (!recorder_.PushSourcePacket(options_.recording, packet.packet, packet.offset_samples, packet.payload, patched.erased)) {
    ++counts_.not_recorded;
    return;
  }
  const int num_slots = (packet.offset_samples + patched.num_samples + kPacketSamples - 1) / kPacketSamples;
  end_packet_ = std::max(end_packet_, packet.packet + num_slots);
}

void CalledSource::Stop(Presence why) {
  const std::lock_guard lock(mutex_);
  if (presence_ == Presence::kHere) presence_ = why;
}

Presence CalledSource::presence() const {
  const std::lock_guard lock(mutex_);
  return presence_;
}

std::int64_t CalledSource::end_packet() const {
  const std::lock_guard lock(mutex_);
  return (end_packet_ + kPacketsPerFingerprintWord - 1) / kPacketsPerFingerprintWord * kPacketsPerFingerprintWord;
}

SourceCounts CalledSource::counts() const {
  const std::lock_guard lock(mutex_);
  SourceCounts counts = counts_;
  counts.lost = source_clock_.counts().lost;
  counts.late = source_clock_.counts().late;
  counts.duplicate = source_clock_.counts().duplicate;
  return counts;
}

}  // namespace earmark
