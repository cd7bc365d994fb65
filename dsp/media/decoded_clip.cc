#include "dsp/media/decoded_clip.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

#include "dsp/core/resample.h"
#include "dsp/core/stream_format.h"
#include "dsp/media/channel_likeness.h"

namespace earmark {
namespace {

constexpr double kFramesPerHour = 3600.0 * kSampleRateHz;
constexpr int kMaxTimesInAll = 2;  // the longest track: a hundred tracks would fill any disk
constexpr std::size_t kMaxResidentSamples = std::size_t{120} * kDetectRateHz;
// Small, since a block that runs into damage is lost as a whole.
constexpr std::size_t kFramesPerBlock = 480;
constexpr std::size_t kBlocksPerAdvance = 20;
constexpr std::size_t kSamplesPerJoin = std::size_t{1} << 20;

tl::unexpected<Error> Cancelled() { return Fail(ErrorCode::kCancelled, "cancelled"); }

// One track on its way to the disk: at 48 kHz in, the mean and half the difference at kDetectRateHz kept.
class TrackWriter {
 public:
  TrackWriter(int num_channels, std::size_t max_resident)
      : num_channels_(static_cast<std::size_t>(num_channels)), mean_(max_resident), difference_(max_resident) {}

  Result<void> Add(std::span<const float> interleaved) {
    if (num_channels_ == 1) return mean_.Append(mean_halver_.Process(interleaved));
    mean_block_.resize(interleaved.size() / 2);
    difference_block_.resize(interleaved.size() / 2);
    for (std::size_t i = 0; i < mean_block_.size(); ++i) {
      mean_block_[i] = 0.5F * interleaved[2 * i] + 0.5F * interleaved[2 * i + 1];
      difference_block_[i] = 0.5F * interleaved[2 * i] - 0.5F * interleaved[2 * i + 1];
    }
    return Keep(mean_halver_.Process(mean_block_), difference_halver_.Process(difference_block_));
  }

  Result<void> Finish() {
    if (num_channels_ == 1) {
      if (auto kept = mean_.Append(mean_halver_.Finish()); !kept) return kept;
      return mean_.Finish();
    }
    if (auto kept = Keep(mean_halver_.Finish(), difference_halver_.Finish()); !kept) return kept;
    if (auto finished = mean_.Finish(); !finished) return finished;
    return difference_.Finish();
  }

  const ChannelLikeness& likeness() const { return likeness_; }
  // Bit for bit, a track whose mean and difference (or none) these are.
  bool IsSame(const SampleFile& mean, const SampleFile* difference) const {
    const bool keeps_difference = num_channels_ == 2 && likeness_.needs_difference();
    return keeps_difference == (difference != nullptr) && HoldSame(mean_, mean) &&
           (!keeps_difference || HoldSame(difference_, *difference));
  }
  SampleFile TakeMean() { return std::move(mean_); }
  SampleFile TakeDifference() { return std::move(difference_); }

 private:
  static bool HoldSame(const SampleFile& a, const SampleFile& b) {
    const std::span<const float> x = a.samples();
    const std::span<const float> y = b.samples();
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size_bytes()) == 0;
  }
  Result<void> Keep(std::span<const float> mean, std::span<const float> difference) {
    likeness_.Add(mean, difference);
    if (auto kept = mean_.Append(mean); !kept) return kept;
    return difference_.Append(difference);
  }

  const std::size_t num_channels_;
  RateHalver mean_halver_;
  RateHalver difference_halver_;
  std::vector<float> mean_block_;  // at 48 kHz
  std::vector<float> difference_block_;
  SampleFile mean_;
  SampleFile difference_;
  ChannelLikeness likeness_;
};

// Of tracks as they are counted from 0.
std::string SameTracksText(int track, const std::vector<int>& others) {
  constexpr std::size_t kMaxNamed = 5;
  std::string text = others.size() == 1 ? "track " : "tracks ";
  for (std::size_t i = 0; i < std::min(others.size(), kMaxNamed); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(others[i] + 1);
  if (others.size() > kMaxNamed) text += " and " + std::to_string(others.size() - kMaxNamed) + " more";
  return text + (others.size() == 1 ? " is" : " are") + " the same as track " + std::to_string(track + 1);
}

// What the disk must hold, as far as that is known.
std::string NeedText(double duration_s, int num_channels) {
  char text[160];
  const double gb_per_s = static_cast<double>(sizeof(float)) * kDetectRateHz * num_channels / 1e9;
  if (duration_s > 0) {
    std::snprintf(text, sizeof(text), "; its %.1f hours need %.1f GB there: make room, or set TMPDIR to a larger folder",
                  duration_s / 3600, duration_s * gb_per_s);
  } else {
    std::snprintf(text, sizeof(text), "; each hour of it needs %.1f GB there: make room, or set TMPDIR to a larger folder",
                  3600 * gb_per_s);
  }
  return text;
}

}  // namespace

// Fills a DecodedClip.
class ClipDecoder {
 public:
  ClipDecoder(const std::string& name, ClipTracks& tracks, double max_hours, const Advance& advance)
      : name_(name), tracks_(tracks), max_frames_(std::llround(max_hours * kFramesPerHour)), advance_(advance) {}

  Result<DecodedClip> Run() {
    for (auto track = tracks_.Next(); track; track = tracks_.Next()) {
      if (!GoesOn(num_tracks_done_ == 0 ? 0 : -1)) return Cancelled();
      Result<void> decoded = track->reader ? DecodeTrack(**track->reader) : Pass(track->reader);
      if (!decoded && (num_tracks_done_ == 0 || !IsOfOneTrack(decoded.error()))) return Pass(decoded);
      if (!decoded)
        clip_.notes_.push_back("track " + std::to_string(track->number + 1) + " cannot be decoded: " + decoded.error().message);
      ++num_tracks_done_;
    }
    if (clip_.signals_.empty()) return Fail(ErrorCode::kInvalidArgument, name_ + " holds no audio track");
    for (const auto& [track, others] : same_as_) clip_.notes_.push_back(SameTracksText(track, others));
    return std::move(clip_);
  }

 private:
  static bool IsOfOneTrack(const Error& error) {
    return error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kDataLoss;
  }
  Result<void> DecodeTrack(AudioReader& reader);
  // Reads to the end, or to where the track breaks off, which it notes.
  Result<void> ReadTrack(AudioReader& reader, TrackWriter& writer);
  // The track, decoded before, that has the very same samples; none: there is no such one.
  std::optional<int> TrackLike(const TrackWriter& writer) const;
  void Take(TrackWriter& writer, int track);
  bool GoesOn(double fraction) const { return !advance_ || advance_(fraction); }
  double FractionDone(const AudioReader& reader, std::int64_t num_frames) const;

  const std::string& name_;
  ClipTracks& tracks_;
  const std::int64_t max_frames_;
  const Advance& advance_;
  DecodedClip clip_;
  std::map<int, std::vector<int>> same_as_;  // [track]: later ones with the very same samples
  int num_tracks_done_ = 0;
  std::int64_t num_frames_done_ = 0;  // of those tracks
};

Result<void> ClipDecoder::DecodeTrack(AudioReader& reader) {
  // Other tracks are not in memory at all: there may be many.
  TrackWriter writer(reader.num_channels(), clip_.signals_.empty() ? kMaxResidentSamples : 0);
  Result<void> done = ReadTrack(reader, writer);
  if (done) done = writer.Finish();
  if (!done && done.error().code == ErrorCode::kResourceExhausted) {
    return Fail(done.error().code, done.error().message + NeedText(reader.info().duration_s, reader.num_channels()));
  }
  if (!done) return done;
  if (const auto same = TrackLike(writer)) {
    same_as_[*same].push_back(reader.info().track);
  } else {
    Take(writer, reader.info().track);
  }
  return {};
}

std::optional<int> ClipDecoder::TrackLike(const TrackWriter& writer) const {
  for (std::size_t i = 0; i < clip_.signals_.size(); ++i) {
    if (clip_.signals_[i].channel != DecodedClip::Channel::kMean) continue;
    const bool has_difference =
        i + 1 < clip_.signals_.size() && clip_.signals_[i + 1].channel == DecodedClip::Channel::kDifference;
    if (writer.IsSame(*clip_.samples_[i], has_difference ? &*clip_.samples_[i + 1] : nullptr)) return clip_.signals_[i].track;
  }
  return std::nullopt;
}

Result<void> ClipDecoder::ReadTrack(AudioReader& reader, TrackWriter& writer) {
  const auto num_channels = static_cast<std::size_t>(reader.num_channels());
  const std::int64_t max_frames = std::min(max_frames_, kMaxTimesInAll * max_frames_ - num_frames_done_);
  std::vector<float> block(kFramesPerBlock * num_channels);
  std::int64_t num_frames = 0;
  for (std::size_t i = 0;; ++i) {
    if (i % kBlocksPerAdvance == 0 && !GoesOn(FractionDone(reader, num_frames))) return Cancelled();
    const Result<std::int64_t> read = reader.Read(block);
    if (!read && num_frames < kSampleRateHz) return Pass(read);
    if (!read) clip_.truncated_ = true;
    if (!read || *read == 0) break;
    num_frames += *read;
    if (num_frames > max_frames) {
      char hours[32];
      std::snprintf(hours, sizeof hours, "%.3g hours", static_cast<double>(max_frames) / kFramesPerHour);
      return Fail(ErrorCode::kInvalidArgument, name_ + " is longer than " + hours + "; cut out a part of it");
    }
    if (auto kept = writer.Add(std::span(block).first(static_cast<std::size_t>(*read) * num_channels)); !kept) return kept;
  }
  if (num_frames == 0) return Fail(ErrorCode::kInvalidArgument, name_ + " holds no audio samples");
  num_frames_done_ += num_frames;
  clip_.duration_s_ = std::max(clip_.duration_s_, static_cast<double>(num_frames) / kSampleRateHz);
  return {};
}

void ClipDecoder::Take(TrackWriter& writer, int track) {
  const auto add = [&](DecodedClip::Channel channel, std::optional<SampleFile> samples) {
    clip_.signals_.push_back({track, channel});
    clip_.samples_.push_back(std::move(samples));
  };
  add(DecodedClip::Channel::kMean, writer.TakeMean());
  if (!writer.likeness().needs_difference()) return;
  add(DecodedClip::Channel::kDifference, writer.TakeDifference());
  if (!writer.likeness().needs_sides()) return;
  add(DecodedClip::Channel::kLeft, std::nullopt);
  add(DecodedClip::Channel::kRight, std::nullopt);
}

double ClipDecoder::FractionDone(const AudioReader& reader, std::int64_t num_frames) const {
  if (reader.info().duration_s <= 0) return -1;
  const double of_track = std::min(1.0, static_cast<double>(num_frames) / kSampleRateHz / reader.info().duration_s);
  return (num_tracks_done_ + of_track) / std::max(1, reader.info().num_tracks);
}

Result<DecodedClip> DecodedClip::Decode(const std::string& name, ClipTracks& tracks, double max_hours, const Advance& advance) {
  return ClipDecoder(name, tracks, max_hours, advance).Run();
}

Result<std::span<const float>> DecodedClip::Samples(std::size_t signal) {
  if (signal >= signals_.size()) {
    return Fail(ErrorCode::kInvalidArgument,
                "signal: 0 to " + std::to_string(signals_.size() - 1) + " wanted, got " + std::to_string(signal));
  }
  if (!samples_[signal]) {
    if (auto joined = JoinSides(signal); !joined) return Pass(joined);
  }
  return samples_[signal]->samples();
}

// The mean and the difference stand right before the sides.
Result<void> DecodedClip::JoinSides(std::size_t signal) {
  const bool is_left = signals_[signal].channel == Channel::kLeft;
  const std::size_t mean_at = signal - (is_left ? 2 : 3);
  const std::span<const float> mean = samples_[mean_at]->samples();
  const std::span<const float> difference = samples_[mean_at + 1]->samples();
  SampleFile side(signals_[signal].track == signals_[0].track ? kMaxResidentSamples : 0);
  std::vector<float> block;
  for (std::size_t begin = 0; begin < mean.size(); begin += kSamplesPerJoin) {
    block.resize(std::min(kSamplesPerJoin, mean.size() - begin));
    for (std::size_t i = 0; i < block.size(); ++i) {
      block[i] = is_left ? mean[begin + i] + difference[begin + i] : mean[begin + i] - difference[begin + i];
    }
    Result<void> kept = side.Append(block);
    if (!kept && kept.error().code == ErrorCode::kResourceExhausted)
      return Fail(kept.error().code, kept.error().message + NeedText(duration_s_, 1));
    if (!kept) return kept;
    samples_[mean_at]->ReleaseMemory();
    samples_[mean_at + 1]->ReleaseMemory();
  }
  if (auto finished = side.Finish(); !finished) return finished;
  samples_[signal] = std::move(side);
  return {};
}

void DecodedClip::ReleaseMemory() const {
  for (const std::optional<SampleFile>& samples : samples_) {
    if (samples) samples->ReleaseMemory();
  }
}

}  // namespace earmark
