#include "dsp/media/decoded_clip.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>
#include <utility>

#include "dsp/core/resample.h"
#include "dsp/core/sha256.h"
#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"
#include "dsp/media/channel_likeness.h"
#include "dsp/media/input_file.h"

namespace earmark {
namespace {

constexpr std::int64_t kFramesPerHour = std::int64_t{3600} * kSampleRateHz;
constexpr std::int64_t kMaxFrames = 48 * kFramesPerHour;
constexpr std::int64_t kMaxFramesInAll = 96 * kFramesPerHour;  // a hundred tracks would fill any disk
constexpr std::size_t kMaxResidentSamples = std::size_t{120} * kDetectRateHz;
// Small, since a block that runs into damage is lost as a whole.
constexpr std::size_t kFramesPerBlock = 480;
constexpr std::size_t kBlocksPerAdvance = 20;
constexpr double kDecodeShare = 0.95;  // of the work; the rest is the digest
constexpr std::size_t kBytesPerHash = std::size_t{1} << 18;
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
  SampleFile TakeMean() { return std::move(mean_); }
  SampleFile TakeDifference() { return std::move(difference_); }

 private:
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

bool IsSameState(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

// Fills a DecodedClip.
class ClipDecoder {
 public:
  ClipDecoder(const std::string& path, std::shared_ptr<InputFile> file, const Advance& advance)
      : path_(path), file_(std::move(file)), advance_(advance) {}

  Result<DecodedClip> Run() {
    Result<void> done = DecodeTracks();
    if (done) done = Hash();
    if (!done && done.error().code == ErrorCode::kCancelled) return Pass(done);
    // Before other errors, which may come of it.
    struct stat now {};
    if (::fstat(file_->handle.fd(), &now) != 0 || !IsSameState(now, file_->status)) {
      return Fail(ErrorCode::kUnavailable, path_ + " changed while it was read; try again when it is complete");
    }
    if (!done) return Pass(done);
    return std::move(clip_);
  }

 private:
  Result<void> DecodeTracks();
  Result<void> DecodeTrack(AudioReader& reader);
  // Reads to the end, or to where the track breaks off, which it notes.
  Result<void> ReadTrack(AudioReader& reader, TrackWriter& writer);
  void Take(TrackWriter& writer, int track);
  Result<void> Hash();
  bool GoesOn(double fraction) const { return !advance_ || advance_(fraction); }
  double FractionDone(const AudioReader& reader, std::int64_t num_frames) const;

  const std::string& path_;
  const std::shared_ptr<InputFile> file_;
  const Advance& advance_;
  DecodedClip clip_;
  int num_tracks_ = 1;
  int num_tracks_done_ = 0;
  std::int64_t num_frames_done_ = 0;  // of those tracks
};

Result<void> ClipDecoder::DecodeTracks() {
  auto best = AudioReader::Open(path_, file_);
  if (!best) return Pass(best);
  num_tracks_ = (*best)->info().num_tracks;
  const int best_track = (*best)->info().track;
  if (auto decoded = DecodeTrack(**best); !decoded) return decoded;
  best->reset();
  for (int track = 0; track < num_tracks_; ++track) {
    if (track == best_track) continue;
    ++num_tracks_done_;
    if (!GoesOn(-1)) return Cancelled();
    auto reader = AudioReader::Open(path_, file_, {.track = track});
    Result<void> decoded = reader ? DecodeTrack(**reader) : Pass(reader);
    if (decoded) continue;
    const ErrorCode code = decoded.error().code;
    if (code != ErrorCode::kInvalidArgument && code != ErrorCode::kDataLoss) return decoded;
    clip_.notes_.push_back("track " + std::to_string(track + 1) + " cannot be decoded: " + decoded.error().message);
  }
  return {};
}

Result<void> ClipDecoder::DecodeTrack(AudioReader& reader) {
  // Other tracks are not in memory at all: there may be many.
  TrackWriter writer(reader.num_channels(), clip_.signals_.empty() ? kMaxResidentSamples : 0);
  Result<void> done = ReadTrack(reader, writer);
  if (done) done = writer.Finish();
  if (!done && done.error().code == ErrorCode::kResourceExhausted) {
    return Fail(done.error().code, done.error().message + NeedText(reader.info().duration_s, reader.num_channels()));
  }
  if (!done) return done;
  Take(writer, reader.info().track);
  return {};
}

Result<void> ClipDecoder::ReadTrack(AudioReader& reader, TrackWriter& writer) {
  const auto num_channels = static_cast<std::size_t>(reader.num_channels());
  const std::int64_t max_frames = std::min(kMaxFrames, kMaxFramesInAll - num_frames_done_);
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
      return Fail(ErrorCode::kInvalidArgument,
                  path_ + " is longer than " + std::to_string(max_frames / kFramesPerHour) + " hours; cut out a part of it");
    }
    if (auto kept = writer.Add(std::span(block).first(static_cast<std::size_t>(*read) * num_channels)); !kept) return kept;
  }
  if (num_frames == 0) return Fail(ErrorCode::kInvalidArgument, path_ + " holds no audio samples");
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
  return kDecodeShare * (num_tracks_done_ + of_track) / num_tracks_;
}

Result<void> ClipDecoder::Hash() {
  Sha256 hash;
  std::vector<std::uint8_t> block(kBytesPerHash);
  std::int64_t at = 0;
  for (;;) {
    const double of_file = std::min(1.0, static_cast<double>(at) / static_cast<double>(file_->status.st_size));
    if (!GoesOn(kDecodeShare + (1 - kDecodeShare) * of_file)) return Cancelled();
    const ssize_t got = ::pread(file_->handle.fd(), block.data(), block.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Fail(ErrorCode::kDataLoss, path_ + ": cannot be read: " + std::generic_category().message(errno));
    if (got == 0) break;
    hash.Add(std::span(block).first(static_cast<std::size_t>(got)));
    at += got;
  }
  clip_.sha256_ = hash.Hex();
  return {};
}

Result<DecodedClip> DecodedClip::Decode(const std::string& path, const Advance& advance) {
  if (advance && !advance(0)) return Cancelled();
  Result<InputFile> file = OpenInputFile(path);
  if (!file) return Pass(file);
  return ClipDecoder(path, std::make_shared<InputFile>(*std::move(file)), advance).Run();
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
