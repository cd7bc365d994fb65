#include "dsp/media/trimmed_wav.h"

#include <algorithm>

namespace earmark {

Result<TrimmedWav> TrimmedWav::Create(const std::string& path, int num_channels, int delay_samples) {
  auto wav = WavWriter::Create(path, kSampleRateHz, num_channels);
  if (!wav) return Pass(wav);
  return TrimmedWav(std::move(*wav), num_channels, delay_samples);
}

Result<void> TrimmedWav::Write(std::span<const float> pcm) {
  const auto dropped = std::min(skip_, pcm.size());
  skip_ -= dropped;
  held_.insert(held_.end(), pcm.begin() + static_cast<std::ptrdiff_t>(dropped), pcm.end());
  return held_.size() > 8 * kHeldBack ? WriteFirst(held_.size() - kHeldBack) : Result<void>();
}

Result<void> TrimmedWav::Finish(std::int64_t num_samples) {
  if (num_samples >= 0) {
    const auto wanted = num_samples * num_channels_ - written_;
    held_.resize(static_cast<std::size_t>(std::max<std::int64_t>(0, wanted)), 0.0F);
  }
  if (auto done = WriteFirst(held_.size()); !done) return done;
  return wav_->Finish();
}

Result<void> TrimmedWav::WriteFirst(std::size_t count) {
  auto done = wav_->Write(std::span(held_).first(count));
  held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(count));
  written_ += static_cast<std::int64_t>(count);
  return done;
}

}  // namespace earmark
