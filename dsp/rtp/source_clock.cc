#include "dsp/rtp/source_clock.h"

#include <opus/opus.h>

#include <algorithm>
#include <limits>

#include "dsp/core/stream_format.h"

namespace earmark {
namespace {

// RFC 3550, appendix A.1: beyond these a sequence number is no loss or disorder but another sequence, if the next one follows it.
constexpr std::int64_t kMaxDropout = 3000;
constexpr std::int64_t kMaxMisorder = 100;
constexpr int kRunFar = 2;
// A sequence that restarts just behind where it was looks like late packets; but late packets do not come in such a row with none on time among them.
constexpr int kRunNear = 10;
constexpr std::int64_t kCandidatePauseUs = 250'000;

constexpr std::int64_t Samples(std::int64_t us) { return us * (kSampleRateHz / 1000) / 1000; }
constexpr std::int64_t kMaxDrift = Samples(SourceClock::kMaxDriftUs);
constexpr std::int64_t kStale = Samples(SourceClock::kStaleUs);

std::int64_t FloorToPacket(std::int64_t position) { return position / kPacketSamples * kPacketSamples; }

constexpr std::int64_t kShortestSamples = 120;

}  // namespace

SourceClock::SourceClock(const Options& options)
    : options_(options), next_packet_(options.first_packet), next_position_(options.first_packet * kPacketSamples) {
  for (Held& held : held_) held.bytes.resize(kMaxPayloadBytes);
}

void SourceClock::Push(const RtpPacket& packet, std::int64_t room_now_us, const SourcePacketSink& sink) noexcept {
  if (packet.payload.size() > kMaxPayloadBytes) {
    ++counts_.unusable;
    return;
  }
  if (!IsOurs(packet.header.ssrc, room_now_us)) {
    ++counts_.other_ssrc;
    return;
  }
  last_arrival_us_ = room_now_us;
  if (!started_) StartSequence(packet.header.sequence);
  const auto ahead = static_cast<std::int16_t>(packet.header.sequence - static_cast<std::uint16_t>(expected_));
  const bool far = ahead > kMaxDropout || ahead < -kMaxMisorder;
  if (far || ahead < 0) {
    if (Restarts(packet.header.sequence, far ? kRunFar : kRunNear)) {
      ++counts_.restarts;
      StartSequence(packet.header.sequence);
      Advance(expected_, {packet.header.timestamp, room_now_us, packet.payload}, sink);
    } else if (far) {
      ++counts_.unusable;
    } else {
      GiveLate(expected_ + ahead, {packet.header.timestamp, room_now_us, packet.payload}, sink);
    }
    return;
  }
  suspect_run_ = 0;
  if (!options_.wait_for_order)
    Advance(expected_ + ahead, {packet.header.timestamp, room_now_us, packet.payload}, sink);
  else if (ahead == 0)
    Advance(expected_, {packet.header.timestamp, room_now_us, packet.payload}, sink);
  else if (!Hold(expected_ + ahead, packet, room_now_us))
    ++counts_.duplicate;
  ReleaseHeld(room_now_us, sink);
}

void SourceClock::Tick(std::int64_t room_now_us, const SourcePacketSink& sink) noexcept { ReleaseHeld(room_now_us, sink); }

// Whether a packet of this SSRC counts, after a change of mind if it is time for one.
bool SourceClock::IsOurs(std::uint32_t ssrc, std::int64_t now_us) noexcept {
  if (last_arrival_us_ == 0 && !started_) ssrc_ = ssrc;
  if (ssrc == ssrc_) return true;
  const auto num_retired = std::min(num_retired_, kNumRetired);
  const bool retired = std::find(retired_.begin(), retired_.begin() + num_retired, ssrc) != retired_.begin() + num_retired;
  if (retired && now_us - last_arrival_us_ < kTakeoverUs) return false;
  if (candidate_since_us_ < 0 || candidate_ssrc_ != ssrc || now_us - candidate_last_us_ > kCandidatePauseUs) {
    candidate_ssrc_ = ssrc;
    candidate_since_us_ = now_us;
  }
  candidate_last_us_ = now_us;
  if (now_us - candidate_since_us_ < kTakeoverUs) return false;
  retired_[static_cast<std::size_t>(num_retired_++ % kNumRetired)] = ssrc_;
  if (num_retired_ == 2 * kNumRetired) num_retired_ = kNumRetired;
  ssrc_ = ssrc;
  candidate_since_us_ = -1;
  started_ = false;
  ++counts_.restarts;
  return true;
}

// The next packet is the first of a new sequence: its place comes from its arrival.
void SourceClock::StartSequence(std::uint16_t sequence) noexcept {
  started_ = true;
  anchored_ = false;
  expected_ = sequence + std::int64_t{0x10000};  // so that what is a little older is not negative
  seen_ = 0;
  numbered_from_ = expected_;
  suspect_run_ = 0;
  lost_ = 0;
  missing_ = 0;
  for (Held& held : held_) held.used = false;
}

bool SourceClock::Restarts(std::uint16_t sequence, int run_needed) noexcept {
  suspect_run_ = suspect_run_ > 0 && sequence == suspect_next_ ? suspect_run_ + 1 : 1;
  suspect_next_ = static_cast<std::uint16_t>(sequence + 1);
  return suspect_run_ >= run_needed;
}

// Whether it is one to go on late: new, and not too old to tell.
bool SourceClock::CountOld(std::int64_t sequence) noexcept {
  const std::int64_t back = expected_ - 1 - sequence;
  const bool seen = back < 64 && ((seen_ >> back) & 1) != 0;
  ++(seen ? counts_.duplicate : counts_.late);
  if (seen || back >= 64) return false;
  seen_ |= std::uint64_t{1} << back;
  return true;
}

void SourceClock::GiveLate(std::int64_t sequence, const Media& media, const SourcePacketSink& sink) noexcept {
  if (!CountOld(sequence) || options_.wait_for_order || media.payload.empty() || !anchored_ || sequence < numbered_from_) return;
  const std::int64_t by_timestamp = last_position_ + static_cast<std::int32_t>(media.timestamp - last_timestamp_);
  const std::int64_t position = OnGrid(by_timestamp, SamplesOf(media.payload));
  if (position < 0 || position >= last_position_ || IsStale(position, media)) return;
  --counts_.lost;
  ++counts_.given_out;
  sink({.packet = position / kPacketSamples,
        .offset_samples = static_cast<int>(position % kPacketSamples),
        .number = sequence + number_offset_,
        .late = true,
        .payload = media.payload});
}

// Keeps a packet that came before its predecessors. False if it is there already.
bool SourceClock::Hold(std::int64_t sequence, const RtpPacket& packet, std::int64_t now_us) noexcept {
  Held* free = nullptr;
  for (Held& held : held_) {
    if (held.used && held.sequence == sequence) return false;
    if (!held.used) free = &held;
  }
  if (free == nullptr) return false;  // never: ReleaseHeld always leaves one free
  free->used = true;
  free->sequence = sequence;
  free->timestamp = packet.header.timestamp;
  free->arrival_us = now_us;
  free->num_bytes = packet.payload.size();
  std::copy(packet.payload.begin(), packet.payload.end(), free->bytes.begin());
  return true;
}

SourceClock::Held* SourceClock::FirstHeld() noexcept {
  Held* first = nullptr;
  for (Held& held : held_) {
    if (held.used && (first == nullptr || held.sequence < first->sequence)) first = &held;
  }
  return first;
}

// Gives out what is next in order, and gives up waiting where that has gone on for long enough.
void SourceClock::ReleaseHeld(std::int64_t now_us, const SourcePacketSink& sink) noexcept {
  for (Held* first = FirstHeld(); first != nullptr; first = FirstHeld()) {
    const auto num_held = std::count_if(held_.begin(), held_.end(), [](const Held& held) { return held.used; });
    const bool waited = std::any_of(held_.begin(), held_.end(),
                                    [&](const Held& held) { return held.used && now_us - held.arrival_us >= kReorderUs; });
    const bool next = first->sequence == expected_;
    if (!next && num_held < kReorderPackets && !waited) return;
    first->used = false;
    Advance(first->sequence,
            {first->timestamp, first->arrival_us, std::span<const std::uint8_t>(first->bytes).first(first->num_bytes)}, sink);
  }
}

// Takes the packet as the next one in order; those before it are lost.
void SourceClock::Advance(std::int64_t sequence, const Media& media, const SourcePacketSink& sink) noexcept {
  const std::int64_t missing = sequence - expected_;
  counts_.lost += missing;
  lost_ += missing;
  missing_ += missing;
  seen_ = missing + 1 < 64 ? (seen_ << (missing + 1)) | 1 : 1;
  expected_ = sequence + 1;
  if (!media.payload.empty()) {
    Place(media, sink);
    return;
  }
  // Padding alone takes up a sequence number and no time.
  --number_offset_;
  numbered_from_ = expected_;
}

// How long the packet sounds. What is no Opus, which others will find, is taken for 20 ms, or where packets are passed on for one like that before it.
std::int64_t SourceClock::SamplesOf(std::span<const std::uint8_t> payload) const noexcept {
  const int samples = opus_packet_get_nb_samples(payload.data(), static_cast<opus_int32>(payload.size()), kSampleRateHz);
  if (samples > 0) return samples;
  return options_.wait_for_order || last_samples_ == 0 ? kPacketSamples : last_samples_;
}

// To the grid on which packets of this duration start, so that slots can be filled with them; or just to one for rounding errors of theirs.
std::int64_t SourceClock::OnGrid(std::int64_t position, std::int64_t samples) const noexcept {
  const std::int64_t slot_grid = kPacketSamples % samples == 0 ? samples : kPacketSamples;
  const std::int64_t grid = options_.wait_for_order ? slot_grid : kShortestSamples;
  return (position + grid / 2) / grid * grid;
}

// Of a packet whose place its arrival says: the next start of a slot. (In one that has begun shorter packets can go on.)
std::int64_t SourceClock::MinPosition() const noexcept {
  return (options_.wait_for_order ? next_position_ : next_position_ + kPacketSamples - 1) / kPacketSamples * kPacketSamples;
}

// Of the last packet in order.
void SourceClock::Number(std::int64_t position, std::int64_t samples) noexcept {
  const std::int64_t sequence = expected_ - 1;
  if (!anchored_) number_offset_ = (numbered_ ? last_number_ + 1 : position / samples) - sequence;
  numbered_ = true;
  last_number_ = sequence + number_offset_;
}

void SourceClock::Place(const Media& media, const SourcePacketSink& sink) noexcept {
  const std::int64_t arrival = Samples(media.arrival_us);
  const std::int64_t samples = SamplesOf(media.payload);
  const std::int64_t lost_samples = lost_ * (anchored_ ? last_samples_ : samples);
  std::int64_t position = OnGrid(PositionOf(media), samples);
  if (position - arrival > kStale) position = FloorToPacket(arrival);
  const bool stale = IsStale(position, media);
  if (stale && last_was_stale_ && media.arrival_us - last_media_us_ >= samples * 1000 / kSampleRateHz * 500) {
    position = FloorToPacket(arrival);
    ++counts_.reanchored;
  }
  const bool gone_by = options_.wait_for_order ? position / kPacketSamples < next_packet_ : position < next_position_;
  const bool dropped = gone_by || IsStale(position, media);
  const std::int64_t pause = position - last_position_ - last_samples_ - missing_ * std::max(samples, last_samples_);
  const bool after_pause = !anchored_ || pause > 0;
  if (position != OnGrid(last_position_ + static_cast<std::int32_t>(media.timestamp - last_timestamp_), samples))
    numbered_from_ = expected_ - 1;
  Number(position, samples);
  anchored_ = true;
  missing_ = 0;
  last_timestamp_ = media.timestamp;
  last_position_ = position;
  last_samples_ = samples;
  last_media_us_ = media.arrival_us;
  last_was_stale_ = stale;
  if (dropped) {
    ++counts_.late;
    ++lost_;
    return;
  }
  const std::int64_t packet = position / kPacketSamples;
  const std::int64_t left_out = next_packet_ > 0 ? packet - next_packet_ : 0;
  const std::int64_t max_lost = (lost_samples + kPacketSamples - 1) / kPacketSamples;
  lost_ = 0;
  next_position_ = position + samples;
  next_packet_ = next_position_ / kPacketSamples;
  ++counts_.given_out;
  WatchDrift(position, arrival);
  sink({.packet = packet,
        .offset_samples = static_cast<int>(position % kPacketSamples),
        .num_lost = static_cast<int>(std::min(left_out, max_lost)),
        .number = last_number_,
        .after_pause = after_pause,
        .payload = media.payload});
}

// Where the packet lies by its timestamp, or what is to be believed instead.
std::int64_t SourceClock::PositionOf(const Media& media) noexcept {
  const std::int64_t arrival = Samples(media.arrival_us);
  const std::int64_t min = MinPosition();
  if (!anchored_) {
    window_empty_ = true;
    last_was_stale_ = false;
    return std::max(FloorToPacket(arrival), min);
  }
  const std::int64_t step = static_cast<std::int32_t>(media.timestamp - last_timestamp_);
  const std::int64_t predicted_step = (missing_ + 1) * last_samples_;
  const std::int64_t by_timestamp = last_position_ + step;
  if (std::abs(step - predicted_step) <= last_samples_ / 2) return by_timestamp;
  const std::int64_t lag = arrival - by_timestamp;
  // a pause, over which time went on
  if (step >= last_samples_ / 2 && lag >= -kMaxDrift && lag <= kStale) return by_timestamp;
  ++counts_.reanchored;
  const std::int64_t predicted = last_position_ + predicted_step;
  if (std::abs(arrival - predicted) <= kMaxDrift) return predicted;
  window_empty_ = true;
  return std::max(FloorToPacket(arrival), min);
}

bool SourceClock::IsStale(std::int64_t position, const Media& media) noexcept {
  return Samples(media.arrival_us) - position > kStale;
}

// The most punctual packet of a while says how far the clocks are apart; others were held up on the way.
void SourceClock::WatchDrift(std::int64_t position, std::int64_t arrival) noexcept {
  const std::int64_t lag = arrival - position;
  if (window_empty_) {
    window_empty_ = false;
    window_start_us_ = last_media_us_;
    min_lag_ = lag;
    return;
  }
  min_lag_ = std::min(min_lag_, lag);
  if (last_media_us_ - window_start_us_ < kDriftWindowUs) return;
  if (std::abs(min_lag_) > kMaxDrift) {
    last_position_ += min_lag_ / kPacketSamples * kPacketSamples;
    numbered_from_ = expected_;
    ++counts_.reanchored;
  }
  window_empty_ = true;
}

}  // namespace earmark
