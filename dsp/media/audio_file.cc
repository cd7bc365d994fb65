#include "dsp/media/audio_file.h"

#include <soxr.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "dsp/core/stream_format.h"
#include "dsp/media/audio_source.h"
#include "dsp/media/file_parts.h"
#include "dsp/media/icy_metadata.h"

namespace earmark {
namespace {

constexpr int kMinRateHz = 8000;
constexpr int kMaxRateHz = 192000;
constexpr std::int64_t kOutputFrames = 4096;

struct ResamplerCloser {
  void operator()(soxr* resampler) const { soxr_delete(resampler); }
};
using ResamplerPtr = std::unique_ptr<soxr, ResamplerCloser>;

// Linear phase, its delay taken out by soxr: sample 0 stays time 0. Null if soxr cannot.
ResamplerPtr MakeResampler(int rate_hz, int num_channels) {
  const soxr_io_spec_t samples = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
  return ResamplerPtr(
      soxr_create(rate_hz, kSampleRateHz, static_cast<unsigned>(num_channels), nullptr, &samples, &quality, &runtime));
}

void ZeroNonFinite(std::span<float> samples) {
  for (float& sample : samples) {
    if (!std::isfinite(sample)) sample = 0;
  }
}

class Reader final : public AudioReader {
 public:
  // `resampler` is null for files at 48 kHz.
  Reader(std::unique_ptr<AudioSource> source, ResamplerPtr resampler)
      : source_(std::move(source)), resampler_(std::move(resampler)) {}

  const AudioInfo& info() const override { return source_->info(); }
  int num_channels() const override { return source_->num_channels(); }

  Result<std::int64_t> Read(std::span<float> interleaved) override {
    if (interleaved.size() % static_cast<std::size_t>(num_channels()) != 0) {
      return Fail(ErrorCode::kInvalidArgument, "samples: room for a multiple of " + std::to_string(num_channels()) +
                                                   " wanted, got room for " + std::to_string(interleaved.size()));
    }
    std::size_t filled = 0;
    while (filled < interleaved.size()) {
      if (pending_.empty() && !Refill()) break;
      const std::size_t size = std::min(pending_.size(), interleaved.size() - filled);
      std::copy_n(pending_.begin(), size, interleaved.begin() + static_cast<std::ptrdiff_t>(filled));
      pending_ = pending_.subspan(size);
      filled += size;
    }
    // A short count would look like a proper end.
    if (filled < interleaved.size() && failure_) return tl::unexpected<Error>(*failure_);
    return static_cast<std::int64_t>(filled) / num_channels();
  }

 private:
  // Puts the next samples at 48 kHz into pending_; false when there are no more.
  bool Refill() { return resampler_ == nullptr ? NextFromSource() && Offer(input_) : Resample(); }

  bool Offer(std::span<const float> samples) {
    pending_ = samples;
    return !samples.empty();
  }

  // Puts the source's next samples into input_; false at the end and after a failure.
  bool NextFromSource() {
    input_.clear();
    if (is_source_done_) return false;
    const Result<std::span<const float>> next = source_->Next();
    if (!next) failure_ = next.error();
    is_source_done_ = !next || next->empty();
    if (is_source_done_) return false;
    input_.assign(next->begin(), next->end());
    ZeroNonFinite(input_);
    return true;
  }

  bool Resample() {
    const auto width = static_cast<std::size_t>(num_channels());
    resampled_.resize(kOutputFrames * width);
    for (;;) {
      if (input_used_ == input_.size()) {
        input_used_ = 0;
        NextFromSource();
      }
      // No input (null) makes soxr hand out the tail that it holds.
      const float* const input = is_source_done_ ? nullptr : input_.data() + input_used_;
      std::size_t num_used = 0;
      std::size_t num_done = 0;
      const soxr_error_t error =
          soxr_process(resampler_.get(), input, is_source_done_ ? 0 : (input_.size() - input_used_) / width, &num_used,
                       resampled_.data(), kOutputFrames, &num_done);
      if (error != nullptr) failure_ = Error{ErrorCode::kInternal, std::string("resampler: ") + error};
      input_used_ += num_used * width;
      if (error == nullptr && num_done == 0 && !is_source_done_) continue;
      const std::span<float> samples = std::span(resampled_).first(error == nullptr ? num_done * width : 0);
      ZeroNonFinite(samples);  // samples near the largest float overflow in the filter
      return Offer(samples);
    }
  }

  std::unique_ptr<AudioSource> source_;
  ResamplerPtr resampler_;
  std::vector<float> input_;  // from the source, finite
  std::size_t input_used_ = 0;
  std::vector<float> resampled_;
  std::span<const float> pending_;  // of input_ or resampled_, not yet handed out
  bool is_source_done_ = false;
  std::optional<Error> failure_;
};

// Whether the file is of a kind that radio servers send with metadata in between: MP3 or AAC without a container.
bool IsRadioStream(const AudioInfo& info) { return info.format.starts_with("mp3 / ") || info.format.starts_with("aac / "); }

Result<std::unique_ptr<AudioSource>> OpenSource(const std::string& path, std::shared_ptr<InputFile> file,
                                                const AudioOptions& options) {
  if (file->status.st_size == 0) return Fail(ErrorCode::kInvalidArgument, path + " is empty");
  if (LooksLikePcm(file->handle)) {
    Result<std::unique_ptr<AudioSource>> source = OpenWithSndfile(path, file);
    if (source && options.track.value_or(0) != 0) return NoSuchTrack(path, *options.track, 1);
    if (source) return source;
    // FFmpeg knows more codecs in WAV and forgives more, and it has the better word for what is wrong.
  }
  if (const std::optional<IcyLayout> layout = FindIcyMetadata(file->handle)) {
    Result<std::unique_ptr<AudioSource>> source = OpenWithFfmpeg(path, MakeIcyView(file, *layout), options);
    if (source && IsRadioStream((*source)->info())) return source;
  }
  const std::vector<ByteRange> parts = FindParts(*file);
  if (parts.size() > 1) return OpenJoined(path, file, parts, options);
  return OpenWithFfmpeg(path, MakeRangeView(file, parts.front()), options);
}

float MeanOfFrame(std::span<const float> interleaved, std::size_t frame, std::size_t num_channels) {
  if (num_channels == 1) return interleaved[frame];
  return 0.5F * interleaved[2 * frame] + 0.5F * interleaved[2 * frame + 1];
}

}  // namespace

std::string SecondsText(double seconds) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.1f s", seconds);
  return text;
}

tl::unexpected<Error> NoSuchTrack(const std::string& path, int track, int num_tracks) {
  return Fail(ErrorCode::kInvalidArgument,
              path + ": track: 0 to " + std::to_string(num_tracks - 1) + " wanted, got " + std::to_string(track));
}

Result<std::unique_ptr<AudioReader>> AudioReader::Open(const std::string& path, const AudioOptions& options) {
  Result<InputFile> file = OpenInputFile(path);
  if (!file) return Pass(file);
  return Open(path, std::make_shared<InputFile>(*std::move(file)), options);
}

Result<std::unique_ptr<AudioReader>> AudioReader::Open(const std::string& path, std::shared_ptr<InputFile> file,
                                                       const AudioOptions& options) {
  Result<std::unique_ptr<AudioSource>> source = OpenSource(path, std::move(file), options);
  if (!source) return Pass(source);
  const int rate_hz = (*source)->info().sample_rate_hz;
  if (rate_hz < kMinRateHz || rate_hz > kMaxRateHz) {
    return Fail(ErrorCode::kInvalidArgument, path + ": sample rate: 8000 to 192000 Hz wanted, got " + std::to_string(rate_hz));
  }
  ResamplerPtr resampler = rate_hz == kSampleRateHz ? nullptr : MakeResampler(rate_hz, (*source)->num_channels());
  if (resampler == nullptr && rate_hz != kSampleRateHz) return Fail(ErrorCode::kInternal, path + ": the resampler cannot start");
  return std::unique_ptr<AudioReader>(std::make_unique<Reader>(*std::move(source), std::move(resampler)));
}

Result<MonoClip> ReadMonoClip(const std::string& path, double max_duration_s) {
  Result<std::unique_ptr<AudioReader>> reader = AudioReader::Open(path);
  if (!reader) return Pass(reader);
  const auto num_channels = static_cast<std::size_t>((*reader)->num_channels());
  // Small, since a block that runs into damage is lost as a whole.
  std::vector<float> block(480 * num_channels);
  MonoClip clip;
  for (;;) {
    const Result<std::int64_t> read = (*reader)->Read(block);
    if (!read && clip.samples.size() < kSampleRateHz) return Pass(read);
    if (!read || *read == 0) {
      clip.truncated = !read;
      break;
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(*read); ++i) {
      clip.samples.push_back(MeanOfFrame(block, i, num_channels));
    }
    if (static_cast<double>(clip.samples.size()) > max_duration_s * kSampleRateHz) {
      return Fail(ErrorCode::kResourceExhausted,
                  path + " is longer than " + SecondsText(max_duration_s) + "; cut out a part of it");
    }
  }
  if (clip.samples.empty()) return Fail(ErrorCode::kInvalidArgument, path + " holds no audio samples");
  return clip;
}

}  // namespace earmark
