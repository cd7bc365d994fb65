#include "services/sidecar/called_source.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "dsp/opus/opus_frames.h"

namespace earmark {

Result<std::shared_ptr<CalledSource>> CalledSource::Create(const StreamFormat& format, const StreamKeys& keys,
                                                           const RoomClock& clock, Recorder& recorder, std::int64_t recording) {
  if (auto valid = Validate(format); !valid) return Pass(valid);
  if (format.kind != ReferenceKind::kSourcePackets)
    return Fail(ErrorCode::kInvalidArgument, "kind: wanted 2 (source packets), got another");
  return std::shared_ptr<CalledSource>(new CalledSource(format, keys, clock, recorder, recording));
}

CalledSource::CalledSource(const StreamFormat& format, const StreamKeys& keys, const RoomClock& clock, Recorder& recorder,
                           std::int64_t recording)
    : format_(format), clock_(clock), recorder_(recorder), recording_(recording), marker_(format, keys.carrier) {}

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
  Answer answer{.symbol = packet.packet / format_.packets_per_symbol, .patches = {}};
  ++(patched.erased ? counts_.erased : counts_.marked);
  if (!patched.erased) {
    for (const Patch& patch : patched.patches) answer.patches.emplace_back(patch.changes().begin(), patch.changes().end());
  }
  if (!SplitOpusPacket(packet.payload)) {
    ++counts_.malformed;
  } else if (!packet.late && !recorder_.PushSourcePacket(recording_, packet.packet, packet.offset_samples, packet.payload)) {
    ++counts_.not_recorded;
  }
  return answer;
}

void CalledSource::Stop(Presence why) {
  const std::lock_guard lock(mutex_);
  if (presence_ == Presence::kHere) presence_ = why;
}

Presence CalledSource::presence() const {
  const std::lock_guard lock(mutex_);
  return presence_;
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
