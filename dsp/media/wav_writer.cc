#include <sndfile.h>

#include <cerrno>
#include <cmath>
#include <utility>

#include "dsp/media/atomic_file.h"
#include "dsp/media/audio_file.h"

namespace earmark {
namespace {

// Exactly what reading 16-bit PCM undoes (a division by 32768). libsndfile's own conversion rounds down, which adds a DC offset.
std::int16_t ToPcm16(float sample) {
  if (std::isnan(sample)) return 0;
  return static_cast<std::int16_t>(std::lrint(std::fmin(std::fmax(sample * 32768.0F, -32768.0F), 32767.0F)));
}

class Writer final : public WavWriter {
 public:
  Writer(std::unique_ptr<AtomicFile> file, SNDFILE* wav, int num_channels)
      : file_(std::move(file)), wav_(wav), num_channels_(num_channels) {}
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() override { sf_close(wav_); }

  Result<void> Write(std::span<const float> interleaved) override {
    if (wav_ == nullptr) return Fail(ErrorCode::kFailedPrecondition, "the WAV file is finished already");
    if (interleaved.size() % static_cast<std::size_t>(num_channels_) != 0) {
      return Fail(ErrorCode::kInvalidArgument, "samples: a multiple of " + std::to_string(num_channels_) + " wanted, got " +
                                                   std::to_string(interleaved.size()));
    }
    pcm_.resize(interleaved.size());
    for (std::size_t i = 0; i < pcm_.size(); ++i) pcm_[i] = ToPcm16(interleaved[i]);
    errno = 0;
    const auto num_samples = static_cast<sf_count_t>(pcm_.size());
    if (sf_write_short(wav_, pcm_.data(), num_samples) != num_samples) return file_->WriteFailure(errno != 0 ? errno : EIO);
    return {};
  }

  Result<void> Finish() override {
    if (wav_ == nullptr) return Fail(ErrorCode::kFailedPrecondition, "the WAV file is finished already");
    errno = 0;
    // Closing writes the header, with the length.
    if (sf_close(std::exchange(wav_, nullptr)) != 0) return file_->WriteFailure(errno != 0 ? errno : EIO);
    return file_->Replace();
  }

 private:
  std::unique_ptr<AtomicFile> file_;
  SNDFILE* wav_;  // null once finished
  const int num_channels_;
  std::vector<std::int16_t> pcm_;
};

}  // namespace

Result<std::unique_ptr<WavWriter>> WavWriter::Create(const std::string& path, int sample_rate_hz, int num_channels) {
  SF_INFO format{};
  format.samplerate = sample_rate_hz;
  format.channels = num_channels;
  format.format = SF_FORMAT_RF64 | SF_FORMAT_PCM_16;
  if (sf_format_check(&format) == 0) {
    return Fail(ErrorCode::kInvalidArgument, path + ": WAV cannot hold " + std::to_string(num_channels) + " channels at " +
                                                 std::to_string(sample_rate_hz) + " Hz");
  }
  Result<std::unique_ptr<AtomicFile>> file = AtomicFile::Create(path, 0666);
  if (!file) return Pass(file);
  errno = 0;
  SNDFILE* const wav = sf_open_fd((*file)->fd(), SFM_WRITE, &format, SF_FALSE);
  if (wav == nullptr) return (*file)->WriteFailure(errno != 0 ? errno : EIO);
  // A plain WAV header whenever the length allows it.
  sf_command(wav, SFC_RF64_AUTO_DOWNGRADE, nullptr, SF_TRUE);
  return std::unique_ptr<WavWriter>(std::make_unique<Writer>(*std::move(file), wav, num_channels));
}

}  // namespace earmark
