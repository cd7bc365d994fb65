// Recordings that were joined into one file, played one after the other.
//
// FFmpeg's demuxers take such a file for one recording: what comes second is lost where its codec is another one, and its time
// begins anew. So each gets a demuxer of its own that sees no more than its bytes.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "dsp/media/audio_source.h"
#include "dsp/media/channel_mixer.h"

namespace earmark {
namespace {

struct Part {
  ByteRange range;
  AudioInfo info;
};

std::string PartName(const std::string& path, std::size_t index) { return path + ", part " + std::to_string(index + 1); }

// The parts that can be decoded. What cannot may be no part at all: it is left to the demuxer of the part before.
std::vector<Part> OpenableParts(const std::string& path, const std::shared_ptr<InputFile>& file,
                                const std::vector<ByteRange>& ranges, const AudioOptions& options) {
  std::vector<Part> parts;
  for (const ByteRange& range : ranges) {
    const auto source = OpenWithFfmpeg(path, MakeRangeView(file, range), options);
    if (source) {
      parts.push_back({range, (*source)->info()});
    } else if (!parts.empty()) {
      parts.back().range.end = range.end;
    }
  }
  return parts;
}

// The best rate and the most channels, so that no part loses any. Bounded as the rate of any file is, by AudioReader.
AudioInfo InfoOfAll(const std::vector<Part>& parts) {
  AudioInfo info = parts.front().info;
  info.duration_s = 0;
  for (const Part& part : parts) {
    info.sample_rate_hz = std::max(info.sample_rate_hz, part.info.sample_rate_hz);
    info.num_channels = std::max(info.num_channels, part.info.num_channels);
    const bool is_known = info.duration_s >= 0 && part.info.duration_s >= 0;
    info.duration_s = is_known ? info.duration_s + part.info.duration_s : -1;
  }
  info.format += ", " + std::to_string(parts.size()) + " parts";
  return info;
}

class JoinedSource final : public AudioSource {
 public:
  JoinedSource(std::string path, std::shared_ptr<InputFile> file, const AudioOptions& options, std::vector<Part> parts)
      : path_(std::move(path)), file_(std::move(file)), options_(options), parts_(std::move(parts)), info_(InfoOfAll(parts_)) {}

  const AudioInfo& info() const override { return info_; }
  int num_channels() const override { return std::min(info_.num_channels, 2); }

  Result<std::span<const float>> Next() override {
    while (source_ != nullptr || num_opened_ < parts_.size()) {
      if (source_ == nullptr) {
        if (Result<void> opened = OpenNext(); !opened) return Pass(opened);
      }
      const bool is_last = num_opened_ == parts_.size();
      Result<std::span<const float>> samples = source_->Next();
      if (!samples && is_last) return samples;
      // A part that breaks off does not cost those after it.
      const bool is_done = !samples || samples->empty();
      if (is_done) source_.reset();
      samples = is_done ? Tail() : Adapt(*samples);
      if (!samples || !samples->empty()) return samples;
    }
    return std::span<const float>();
  }

 private:
  Result<void> OpenNext() {
    auto source = OpenWithFfmpeg(PartName(path_, num_opened_), MakeRangeView(file_, parts_[num_opened_].range), options_);
    if (!source) return Fail(ErrorCode::kDataLoss, source.error().message);  // it could be opened before
    ++num_opened_;
    source_ = *std::move(source);
    mixer_.reset();
    const int rate_hz = source_->info().sample_rate_hz;
    if (rate_hz == info_.sample_rate_hz && source_->num_channels() == num_channels()) return {};
    AVChannelLayout layout{};
    av_channel_layout_default(&layout, source_->num_channels());
    Result<ChannelMixer> mixer =
        ChannelMixer::Create({AV_SAMPLE_FMT_FLT, &layout, rate_hz}, num_channels(), info_.sample_rate_hz);
    if (!mixer) return Fail(ErrorCode::kDataLoss, PartName(path_, num_opened_ - 1) + ": " + mixer.error().message);
    mixer_ = *std::move(mixer);
    return {};
  }

  // Brings samples of the present part to the rate and channels of all.
  Result<std::span<const float>> Adapt(std::span<const float> samples) {
    if (!mixer_) return samples;
    const auto* const plane = reinterpret_cast<const std::uint8_t*>(samples.data());
    return mixer_->Mix(&plane, static_cast<int>(samples.size()) / source_->num_channels());
  }
  // What the resampler still holds of the part that ended.
  Result<std::span<const float>> Tail() { return mixer_ ? mixer_->Flush() : std::span<const float>(); }

  const std::string path_;
  const std::shared_ptr<InputFile> file_;
  const AudioOptions options_;
  const std::vector<Part> parts_;
  const AudioInfo info_;
  std::size_t num_opened_ = 0;
  std::unique_ptr<AudioSource> source_;  // of the part opened last, until it ends
  std::optional<ChannelMixer> mixer_;    // if that part needs one
};

}  // namespace

Result<std::unique_ptr<AudioSource>> OpenJoined(const std::string& path, std::shared_ptr<InputFile> file,
                                                const std::vector<ByteRange>& ranges, const AudioOptions& options) {
  std::vector<Part> parts = OpenableParts(path, file, ranges, options);
  if (parts.size() > 1)
    return std::unique_ptr<AudioSource>(std::make_unique<JoinedSource>(path, std::move(file), options, std::move(parts)));
  const ByteRange whole{0, file->status.st_size};
  return OpenWithFfmpeg(path, MakeRangeView(std::move(file), parts.empty() ? whole : parts.front().range), options);
}

}  // namespace earmark
