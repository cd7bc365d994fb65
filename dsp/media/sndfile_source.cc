// Containers of plain PCM through libsndfile.
//
// Compressed formats that libsndfile also knows go to FFmpeg instead, which does better with what people post. libsndfile 1.2
//  - decodes an Ogg Opus file at the rate that its header calls informative: 16 kHz for a file made from a 16 kHz recording;
//  - gives an MP3 without a Xing header a length that its data do not have, which looks like a file that breaks off;
//  - stops for good at the first damaged FLAC frame, and leaves damaged Vorbis pages out without a word, which moves all that
//    follows to an earlier time. FFmpeg passes the time stamps on, so a hole stays a hole.
#include <sndfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <string_view>
#include <utility>

#include "dsp/media/audio_source.h"
#include "dsp/media/channel_mixer.h"
#include "dsp/media/pcm_chunks.h"
#include "dsp/media/recording_end.h"

namespace earmark {
namespace {

constexpr sf_count_t kBlockFrames = 4096;

struct SndfileCloser {
  void operator()(SNDFILE* file) const { sf_close(file); }
};
using SndfilePtr = std::unique_ptr<SNDFILE, SndfileCloser>;

// What libsndfile reads through. Given a descriptor it would close it where it cannot open the file, whatever it is told, and others read from it too.
struct View {
  std::shared_ptr<InputFile> file;
  sf_count_t at = 0;
};

sf_count_t LengthOf(void* view) { return static_cast<View*>(view)->file->status.st_size; }
sf_count_t PositionIn(void* view) { return static_cast<View*>(view)->at; }
sf_count_t SeekIn(sf_count_t offset, int whence, void* view) {
  const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? PositionIn(view) : LengthOf(view);
  if (from + offset < 0) return -1;
  return static_cast<View*>(view)->at = from + offset;
}
sf_count_t ReadFrom(void* bytes, sf_count_t count, void* view) {
  auto& [file, at] = *static_cast<View*>(view);
  ssize_t got = 0;
  do {
    got = ::pread(file->handle.fd(), bytes, static_cast<std::size_t>(count), at);
  } while (got < 0 && errno == EINTR);
  at += std::max<ssize_t>(0, got);
  return std::max<ssize_t>(0, got);
}
SF_VIRTUAL_IO kViewCalls = {LengthOf, SeekIn, ReadFrom, nullptr, PositionIn};  // libsndfile takes it as mutable, and copies it

bool IsPlain(int format) {
  constexpr std::array kPlain = {SF_FORMAT_PCM_S8, SF_FORMAT_PCM_U8, SF_FORMAT_PCM_16,   SF_FORMAT_PCM_24,
                                 SF_FORMAT_PCM_32, SF_FORMAT_FLOAT,  SF_FORMAT_DOUBLE,   SF_FORMAT_ULAW,
                                 SF_FORMAT_ALAW,   SF_FORMAT_GSM610, SF_FORMAT_MS_ADPCM, SF_FORMAT_IMA_ADPCM};
  return std::find(kPlain.begin(), kPlain.end(), format & SF_FORMAT_SUBMASK) != kPlain.end();
}

// Whether the first `fmt ` chunk names a coding of IsPlain. Asked before libsndfile sees the file: already opening a WAV that
// holds MP3 makes its MP3 library print to stderr.
bool IsPlainWav(const FileHandle& file, ByteOrder order) {
  constexpr std::int64_t kPlain[] = {0x01, 0x02, 0x03, 0x06, 0x07, 0x11, 0x31, 0xFFFE};  // 0xFFFE: WAVEX, which never holds MP3
  const auto format = FindPcmChunk(PeekInto(file), "fmt ");
  const auto coding = format ? NumberAt(PeekInto(file), format->begin, 2, order) : std::nullopt;
  return coding && std::find(std::begin(kPlain), std::end(kPlain), *coding) != std::end(kPlain);
}

std::string FormatName(int format) {
  SF_FORMAT_INFO container{format & SF_FORMAT_TYPEMASK, nullptr, nullptr};
  SF_FORMAT_INFO samples{format & SF_FORMAT_SUBMASK, nullptr, nullptr};
  sf_command(nullptr, SFC_GET_FORMAT_INFO, &container, sizeof(container));
  sf_command(nullptr, SFC_GET_FORMAT_INFO, &samples, sizeof(samples));
  return std::string(container.name != nullptr ? container.name : "PCM") + ", " +
         (samples.name != nullptr ? samples.name : "unknown samples");
}

class SndfileSource final : public AudioSource {
 public:
  SndfileSource(const std::string& path, std::unique_ptr<View> view, SndfilePtr file, const SF_INFO& format, ChannelMixer mixer)
      : path_(path),
        view_(std::move(view)),
        file_(std::move(file)),
        mixer_(std::move(mixer)),
        block_(static_cast<std::size_t>(kBlockFrames * format.channels)),
        is_cut_off_(LacksPcmEnd(PeekInto(view_->file->handle), view_->file->status.st_size)) {
    info_.sample_rate_hz = format.samplerate;
    info_.num_channels = format.channels;
    info_.duration_s = static_cast<double>(format.frames) / format.samplerate;
    info_.format = FormatName(format.format);
  }

  const AudioInfo& info() const override { return info_; }
  int num_channels() const override { return std::min(info_.num_channels, 2); }

  Result<std::span<const float>> Next() override {
    const sf_count_t num_frames = sf_readf_float(file_.get(), block_.data(), kBlockFrames);
    if (num_frames > 0) {
      const auto* const plane = reinterpret_cast<const std::uint8_t*>(block_.data());
      return mixer_.Mix(&plane, static_cast<int>(num_frames));
    }
    if (sf_error(file_.get()) != SF_ERR_NO_ERROR) {
      return Fail(ErrorCode::kDataLoss, path_ + ": cannot be read to its end: " + sf_strerror(file_.get()));
    }
    if (is_cut_off_) {
      return Fail(ErrorCode::kDataLoss,
                  path_ + ": breaks off after " + SecondsText(info_.duration_s) + "; its header promises more");
    }
    return std::span<const float>();
  }

 private:
  const std::string path_;
  std::unique_ptr<View> view_;  // outlives file_, which reads through it
  SndfilePtr file_;
  AudioInfo info_;
  ChannelMixer mixer_;
  std::vector<float> block_;
  const bool is_cut_off_;
};

}  // namespace

bool LooksLikePcm(const FileHandle& file) {
  const std::string head = PeekFile(file, 0, 12);
  const std::string_view magic = std::string_view(head).substr(0, 4);
  const std::string_view type = head.size() < 12 ? "" : std::string_view(head).substr(8, 4);
  if (magic == "RIFF" || magic == "RIFX" || magic == "RF64")
    return type == "WAVE" && IsPlainWav(file, magic == "RIFX" ? ByteOrder::kBig : ByteOrder::kLittle);
  if (magic == "FORM") return type == "AIFF" || type == "AIFC";
  return magic == ".snd" || magic == "caff" || magic == "riff";  // the last one is Sony's W64
}

Result<std::unique_ptr<AudioSource>> OpenWithSndfile(const std::string& path, std::shared_ptr<InputFile> file) {
  SF_INFO format{};
  auto view = std::make_unique<View>(View{.file = std::move(file)});
  SndfilePtr opened(sf_open_virtual(&kViewCalls, SFM_READ, &format, view.get()));
  if (opened == nullptr) return Fail(ErrorCode::kInvalidArgument, path + ": " + sf_strerror(nullptr));
  if (!IsPlain(format.format)) return Fail(ErrorCode::kInvalidArgument, path + ": not plain PCM");
  if (format.frames == 0) return Fail(ErrorCode::kInvalidArgument, path + " holds no audio samples");
  AVChannelLayout layout{};
  av_channel_layout_default(&layout, format.channels);
  Result<ChannelMixer> mixer =
      ChannelMixer::Create({AV_SAMPLE_FMT_FLT, &layout, format.samplerate}, std::min(format.channels, 2), format.samplerate);
  if (!mixer) return Fail(mixer.error().code, path + ": " + mixer.error().message);
  return std::unique_ptr<AudioSource>(
      std::make_unique<SndfileSource>(path, std::move(view), std::move(opened), format, *std::move(mixer)));
}

}  // namespace earmark
