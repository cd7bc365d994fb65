// Compressed audio, and the sound of videos, through FFmpeg's libraries.
//
// The files are hostile until proven otherwise: a demuxer gets one descriptor and cannot open anything else, only demuxers of
// media containers may run (no playlists, no picture sequences, no devices), and of the decoders only those of audio.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/dict.h>
}

#include "dsp/media/audio_source.h"
#include "dsp/media/channel_mixer.h"
#include "dsp/media/ogg_pages.h"
#include "dsp/media/recording_end.h"

namespace earmark {
namespace {

constexpr char kDemuxers[] =
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,dtshd,eac3,flac,flv,gsm,loas,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,"
    "mpc,"
    "mpc8,mpeg,mpegts,mxf,nut,ogg,rm,tak,truehd,tta,voc,w64,wav,wv";
constexpr char kPlaylists[] = "hls,applehttp,concat,dash,imf,sdp,rtsp,rtp,webm_dash_manifest,sap";
constexpr char kPictures[] = "image2,image2pipe,gif,apng,ico,webp,xbm,alias_pix,brender_pix,fits";

constexpr int kIoBufferBytes = 32768;
constexpr int kMaxFormatProbeBytes = 1 << 20;
constexpr int kMaxDamagedBlocks = 100;  // in a row: about two seconds
// Time stamps that jump ahead by less are the rounding and jitter of containers; by more than the upper bound, a clock that was
// set.
constexpr double kMinGapS = 0.1;
constexpr double kMinGapAfterDamageS = 0.005;
constexpr double kMaxGapS = 60;
constexpr std::int64_t kSilenceFrames = 4096;

struct FormatCloser {
  void operator()(AVFormatContext* format) const { avformat_close_input(&format); }
};
struct IoCloser {
  void operator()(AVIOContext* io) const {
    av_freep(&io->buffer);
    avio_context_free(&io);
  }
};
struct CodecCloser {
  void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
};
struct FrameCloser {
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
};
struct PacketCloser {
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
};
using FormatPtr = std::unique_ptr<AVFormatContext, FormatCloser>;
using IoPtr = std::unique_ptr<AVIOContext, IoCloser>;
using CodecPtr = std::unique_ptr<AVCodecContext, CodecCloser>;
using FramePtr = std::unique_ptr<AVFrame, FrameCloser>;
using PacketPtr = std::unique_ptr<AVPacket, PacketCloser>;

tl::unexpected<Error> Refuse(std::string message) { return Fail(ErrorCode::kInvalidArgument, std::move(message)); }

int ReadInput(void* opaque, std::uint8_t* buffer, int size) {
  const std::int64_t num_read = static_cast<InputView*>(opaque)->Read(std::span(buffer, static_cast<std::size_t>(size)));
  if (num_read < 0) return AVERROR(static_cast<int>(-num_read));
  return num_read == 0 ? AVERROR_EOF : static_cast<int>(num_read);
}

// FFmpeg asks for SEEK_SET and AVSEEK_SIZE only: it keeps the position itself.
std::int64_t SeekInput(void* opaque, std::int64_t offset, int whence) {
  auto* const view = static_cast<InputView*>(opaque);
  if ((whence & AVSEEK_SIZE) != 0) return view->size();
  if ((whence & ~AVSEEK_FORCE) != SEEK_SET || offset < 0) return AVERROR(EINVAL);
  view->Seek(offset);
  return offset;
}

int RefuseOtherFiles(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) { return AVERROR(EPERM); }

IoPtr MakeIo(InputView* view) {
  auto* const buffer = static_cast<unsigned char*>(av_malloc(kIoBufferBytes));
  return IoPtr(avio_alloc_context(buffer, kIoBufferBytes, 0, view, ReadInput, nullptr, view->size() < 0 ? nullptr : SeekInput));
}

// "png" of "png_pipe"; nothing for what is not a picture.
std::string_view PictureName(std::string_view demuxer) {
  constexpr std::string_view kSuffix = "_pipe";
  if (demuxer.size() > kSuffix.size() && demuxer.substr(demuxer.size() - kSuffix.size()) == kSuffix) {
    return demuxer.substr(0, demuxer.size() - kSuffix.size());
  }
  return av_match_list(std::string(demuxer).c_str(), kPictures, ',') > 0 ? demuxer : std::string_view();
}

// What people upload by mistake and FFmpeg has no name for, or a wrong one.
std::string DocumentName(const std::string& head) {
  constexpr std::pair<std::string_view, const char*> kKnown[] = {
      {"%PDF", "a PDF document"},        {"PK\x03\x04", "a ZIP archive or office document"},
      {"\x1f\x8b", "gzip-compressed"},   {"Rar!", "a RAR archive"},
      {"7z\xbc\xaf", "a 7-Zip archive"}, {"\177ELF", "a program"},
      {"SQLite format 3", "a database"}, {"<!DOCTYPE", "a web page or XML document"},
      {"<html", "a web page"},           {"<?xml", "an XML document"},
      {"#EXTM3U", "a playlist"},         {"ffconcat", "a playlist"},
  };
  for (const auto& [magic, name] : kKnown) {
    if (head.compare(0, magic.size(), magic) == 0) return name;
  }
  return "";
}

// The first bytes; reading goes on before them.
std::string Head(AVIOContext* io) {
  std::string head(16, '\0');
  head.resize(static_cast<std::size_t>(std::max(0, avio_read(io, reinterpret_cast<unsigned char*>(head.data()), 16))));
  avio_seek(io, 0, SEEK_SET);  // within the buffer, which needs no seeking
  return head;
}

Result<const AVInputFormat*> FindDemuxer(const std::string& path, AVIOContext* io) {
  if (const std::string document = DocumentName(Head(io)); !document.empty()) {
    return Refuse(path + " is " + document + ", not audio");
  }
  const AVInputFormat* demuxer = nullptr;
  if (av_probe_input_buffer2(io, &demuxer, path.c_str(), nullptr, 0, kMaxFormatProbeBytes) < 0 || demuxer == nullptr) {
    return Refuse(path + " is in no audio or video format that is known here");
  }
  if (const std::string_view picture = PictureName(demuxer->name); !picture.empty()) {
    return Refuse(path + " is a picture (" + std::string(picture) + "), not audio");
  }
  if (av_match_list(demuxer->name, kPlaylists, ',') > 0) {
    return Refuse(path + " is a playlist (" + demuxer->name + "), not audio; give the file that it points to");
  }
  if (av_match_list(demuxer->name, kDemuxers, ',') == 0) {
    return Refuse(path + " is not audio: it looks like " + demuxer->long_name + " (" + demuxer->name + ")");
  }
  return demuxer;
}

// All audio decoders by name, since looking into a file would otherwise run its video decoders too.
const std::string& AudioDecoders() {
  static const std::string names = [] {
    std::string list;
    void* position = nullptr;
    while (const AVCodec* codec = av_codec_iterate(&position)) {
      if (codec->type == AVMEDIA_TYPE_AUDIO && av_codec_is_decoder(codec) != 0) list += std::string(codec->name) + ",";
    }
    return list;
  }();
  return names;
}

Result<FormatPtr> OpenFormat(const std::string& path, const AVInputFormat* demuxer, AVIOContext* io) {
  AVFormatContext* format = avformat_alloc_context();
  if (format == nullptr) return Fail(ErrorCode::kResourceExhausted, "out of memory");
  format->pb = io;
  format->flags |= AVFMT_FLAG_CUSTOM_IO;
  format->io_open = RefuseOtherFiles;
  format->max_streams = 100;
  format->probesize = 5'000'000;
  format->max_analyze_duration = std::int64_t{5} * AV_TIME_BASE;
  AVDictionary* options = nullptr;
  // Should a demuxer go past io_open: no protocol bears this name, not even `file`.
  av_dict_set(&options, "protocol_whitelist", "none", 0);
  av_dict_set(&options, "format_whitelist", kDemuxers, 0);
  av_dict_set(&options, "codec_whitelist", AudioDecoders().c_str(), 0);
  const int status = avformat_open_input(&format, "", demuxer, &options);  // frees `format` when it fails
  av_dict_free(&options);
  if (status >= 0) return FormatPtr(format);
  const bool is_mp4 = av_match_list(demuxer->name, "mov", ',') > 0;
  return Refuse(path + ": looks like " + demuxer->long_name + ", but " +
                (is_mp4 ? "its index (moov atom) is missing or damaged: the recording or the download was cut off"
                        : "its beginning is damaged or cut off"));
}

// The reference decoder where there is one: FFmpeg's own Opus decoder shifts low-rate speech by a sample against libopus.
const AVCodec* ChooseDecoder(AVCodecID id) {
  const AVCodec* const libopus = id == AV_CODEC_ID_OPUS ? avcodec_find_decoder_by_name("libopus") : nullptr;
  return libopus != nullptr ? libopus : avcodec_find_decoder(id);
}

Result<CodecPtr> OpenDecoder(const std::string& path, const AVStream* stream) {
  const std::string name = avcodec_get_name(stream->codecpar->codec_id);
  const AVCodec* const decoder = ChooseDecoder(stream->codecpar->codec_id);
  if (decoder == nullptr) return Refuse(path + ": no decoder for its audio (" + name + ")");
  CodecPtr codec(avcodec_alloc_context3(decoder));
  if (codec == nullptr) return Fail(ErrorCode::kResourceExhausted, "out of memory");
  int status = avcodec_parameters_to_context(codec.get(), stream->codecpar);
  codec->pkt_timebase = stream->time_base;
  codec->request_sample_fmt = AV_SAMPLE_FMT_FLT;
  codec->thread_count = 1;
  // A block that fails its checksum is left out, and so becomes silence instead of a burst of noise.
  codec->err_recognition = AV_EF_CRCCHECK;
  if (status >= 0) status = avcodec_open2(codec.get(), decoder, nullptr);
  if (status < 0) return Refuse(path + ": its audio (" + name + ") cannot be decoded: damaged or of an unusual kind");
  return codec;
}

class FfmpegSource final : public AudioSource {
 public:
  FfmpegSource(std::string path, std::unique_ptr<InputView> view, IoPtr io, FormatPtr format)
      : path_(std::move(path)),
        view_(std::move(view)),
        io_(std::move(io)),
        format_(std::move(format)),
        packet_(av_packet_alloc()),
        frame_(av_frame_alloc()) {}

  // Chooses the track, and decodes its first block, which knows rate and channels better than many containers.
  Result<void> Start(std::optional<int> track);

  const AudioInfo& info() const override { return info_; }
  int num_channels() const override { return std::min(info_.num_channels, 2); }
  Result<std::span<const float>> Next() override;

 private:
  Result<void> ChooseStream(std::optional<int> track);
  int BestStream() const;
  double PromisedDuration(const std::vector<std::int64_t>& stream_durations) const;

  // Decodes the next block into frame_; false at the end.
  Result<bool> Decode();
  // Gives the decoder one more packet of the track, or the end.
  void FeedDecoder();
  Result<void> CheckEnd() const;
  Result<void> CheckContainerEnd() const;

  // Notes what the time stamp of frame_ leaves out before it.
  void NoteGap();
  std::span<const float> Silence();
  Result<std::span<const float>> MixFrame();
  // Frames with another rate or format than before get a mixer of their own.
  Result<void> AdaptMixer();

  double TimeOf(std::int64_t timestamp) const { return static_cast<double>(timestamp) * av_q2d(stream_->time_base); }
  double PositionS() const { return static_cast<double>(num_frames_out_) / info_.sample_rate_hz; }

  const std::string path_;
  // In the order in which they need each other.
  std::unique_ptr<InputView> view_;
  IoPtr io_;
  FormatPtr format_;
  CodecPtr codec_;
  AVStream* stream_ = nullptr;  // belongs to format_
  PacketPtr packet_;
  FramePtr frame_;

  AudioInfo info_;
  std::vector<ChannelMixer> mixer_;  // one, or none before the first block
  int mixer_rate_hz_ = 0, mixer_channels_ = 0, mixer_format_ = -1;
  bool has_frame_ = false;         // frame_ is decoded and not yet handed out
  double next_time_s_ = NAN;       // by the time stamps, where the next block belongs
  std::int64_t silence_left_ = 0;  // to hand out before frame_
  std::vector<float> silence_;
  std::int64_t num_frames_out_ = 0;
  double promised_s_ = -1;  // length by the container; -1: unknown
  int num_damaged_ = 0;     // blocks in a row that could not be decoded
  int read_status_ = 0;     // the error that ended reading
};

// The best that can be decoded; if none can, the best, whose codec the error is to name. Negative if there is no audio.
int FfmpegSource::BestStream() const {
  const AVCodec* decoder = nullptr;
  const int decodable = av_find_best_stream(format_.get(), AVMEDIA_TYPE_AUDIO, -1, -1, &decoder, 0);
  return decodable >= 0 ? decodable : av_find_best_stream(format_.get(), AVMEDIA_TYPE_AUDIO, -1, -1, nullptr, 0);
}

Result<void> FfmpegSource::ChooseStream(std::optional<int> track) {
  std::vector<int> audio;  // indices of streams
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    format_->streams[i]->discard = AVDISCARD_ALL;
    if (format_->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_AUDIO) audio.push_back(static_cast<int>(i));
  }
  const int best = BestStream();
  if (audio.empty() || best < 0) {
    const bool has_video = av_find_best_stream(format_.get(), AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0) >= 0;
    return Refuse(path_ + (has_video ? " is a video without sound" : " holds no audio track"));
  }
  info_.num_tracks = static_cast<int>(audio.size());
  info_.track = track.value_or(static_cast<int>(std::find(audio.begin(), audio.end(), best) - audio.begin()));
  if (info_.track < 0 || info_.track >= info_.num_tracks) return NoSuchTrack(path_, info_.track, info_.num_tracks);
  stream_ = format_->streams[audio[static_cast<std::size_t>(info_.track)]];
  stream_->discard = AVDISCARD_DEFAULT;
  Result<CodecPtr> codec = OpenDecoder(path_, stream_);
  if (!codec) return Pass(codec);
  codec_ = *std::move(codec);
  return {};
}

// `stream_durations`: as the header gave them, before FFmpeg filled in guesses.
double FfmpegSource::PromisedDuration(const std::vector<std::int64_t>& stream_durations) const {
  const auto index = static_cast<std::size_t>(stream_->index);
  if (index < stream_durations.size() && stream_durations[index] > 0) return TimeOf(stream_durations[index]);
  // The container's length is the track's only if there is no other track.
  const bool is_from_header = format_->duration > 0 && format_->duration_estimation_method != AVFMT_DURATION_FROM_BITRATE;
  if (format_->nb_streams != 1 || !is_from_header) return -1;
  const double begin_s = std::isnan(next_time_s_) ? 0 : std::max(0.0, next_time_s_);
  return static_cast<double>(format_->duration) / AV_TIME_BASE - begin_s;
}

Result<void> FfmpegSource::Start(std::optional<int> track) {
  if (packet_ == nullptr || frame_ == nullptr) return Fail(ErrorCode::kResourceExhausted, "out of memory");
  std::vector<std::int64_t> stream_durations;
  for (unsigned i = 0; i < format_->nb_streams; ++i) stream_durations.push_back(format_->streams[i]->duration);
  if (avformat_find_stream_info(format_.get(), nullptr) < 0) return Refuse(path_ + ": its beginning is damaged or cut off");
  if (Result<void> chosen = ChooseStream(track); !chosen) return chosen;

  const Result<bool> first = Decode();
  if (!first || (!*first && num_damaged_ > 0)) {
    return Refuse(path_ + ": its audio (" + codec_->codec->name + ") cannot be decoded: damaged, cut off or encrypted");
  }
  if (!*first) return Refuse(path_ + " holds no audio samples");
  info_.sample_rate_hz = frame_->sample_rate;
  info_.num_channels = frame_->ch_layout.nb_channels;
  if (info_.sample_rate_hz <= 0 || info_.num_channels <= 0) return Refuse(path_ + ": its audio has no rate or no channels");
  const bool is_guess = format_->duration <= 0 || format_->duration_estimation_method == AVFMT_DURATION_FROM_BITRATE;
  info_.duration_s = is_guess ? -1 : static_cast<double>(format_->duration) / AV_TIME_BASE;
  info_.format = std::string(format_->iformat->name) + " / " + avcodec_get_name(codec_->codec_id);
  NoteGap();
  promised_s_ = PromisedDuration(stream_durations);
  return AdaptMixer();
}

Result<bool> FfmpegSource::Decode() {
  for (;;) {
    const int status = avcodec_receive_frame(codec_.get(), frame_.get());  // takes the old frame's memory back
    if (status == 0 && frame_->nb_samples > 0) {
      has_frame_ = true;
      return true;
    }
    if (status == AVERROR_EOF) return false;
    if (status < 0 && status != AVERROR(EAGAIN)) ++num_damaged_;
    if (num_damaged_ > kMaxDamagedBlocks) {
      return Fail(ErrorCode::kDataLoss, path_ + ": damaged after " + SecondsText(info_.sample_rate_hz > 0 ? PositionS() : 0) +
                                            ": nothing more can be decoded");
    }
    if (status != 0) FeedDecoder();
  }
}

void FfmpegSource::FeedDecoder() {
  int status = 0;
  do {
    av_packet_unref(packet_.get());
    status = av_read_frame(format_.get(), packet_.get());
  } while (status >= 0 && packet_->stream_index != stream_->index);
  // From here on the decoder only gives back what it still holds.
  if (status < 0) read_status_ = status;
  if (avcodec_send_packet(codec_.get(), status < 0 ? nullptr : packet_.get()) < 0) ++num_damaged_;
  av_packet_unref(packet_.get());
}

Result<void> FfmpegSource::CheckEnd() const {
  if (read_status_ != AVERROR_EOF || io_->error < 0) {
    return Fail(ErrorCode::kDataLoss, path_ + ": damaged after " + SecondsText(PositionS()) + "; the rest cannot be read");
  }
  // Encoder delays, edit lists and rounded lengths; and many a header's length is a good guess only.
  const double slack_s = 0.25 + 0.01 * promised_s_;
  if (PositionS() + slack_s < promised_s_) {
    return Fail(ErrorCode::kDataLoss,
                path_ + ": breaks off after " + SecondsText(PositionS()) + " of " + SecondsText(promised_s_));
  }
  return CheckContainerEnd();
}

// Ogg promises no length, and Matroska's may be a little short, or nobody's.
Result<void> FfmpegSource::CheckContainerEnd() const {
  if (view_->size() < 0) return {};
  const std::string breaks_off = path_ + ": breaks off after " + SecondsText(PositionS());
  const std::string_view container = format_->iformat->name;
  if (container == "ogg" && LacksOggEnd(PeekInto(*view_), stream_->index)) {
    return Fail(ErrorCode::kDataLoss, breaks_off + ": no page says that it is the last; " + kHowToEndOgg);
  }
  if (container.starts_with("matroska") && LacksMatroskaEnd(PeekInto(*view_), view_->size()))
    return Fail(ErrorCode::kDataLoss, breaks_off + ": the file ends within one of its elements");
  if (LacksPcmEnd(PeekInto(*view_), view_->size()))
    return Fail(ErrorCode::kDataLoss, breaks_off + ": the file promises more than it holds");
  return {};
}

void FfmpegSource::NoteGap() {
  const double block_s = static_cast<double>(frame_->nb_samples) / frame_->sample_rate;
  if (frame_->best_effort_timestamp == AV_NOPTS_VALUE) {
    next_time_s_ += block_s;
  } else {
    const double time_s = TimeOf(frame_->best_effort_timestamp);
    const double gap_s = time_s - next_time_s_;  // NaN, so neither large nor small, before the first block
    const double min_gap_s = num_damaged_ > 0 ? kMinGapAfterDamageS : kMinGapS;
    if (num_frames_out_ > 0 && gap_s > min_gap_s && gap_s < kMaxGapS) silence_left_ = std::llround(gap_s * info_.sample_rate_hz);
    next_time_s_ = time_s + block_s;
  }
  num_damaged_ = 0;
}

std::span<const float> FfmpegSource::Silence() {
  const std::int64_t num_frames = std::min(silence_left_, kSilenceFrames);
  silence_left_ -= num_frames;
  num_frames_out_ += num_frames;
  silence_.assign(static_cast<std::size_t>(num_frames * num_channels()), 0.0F);
  return silence_;
}

Result<void> FfmpegSource::AdaptMixer() {
  const int num_channels_now = frame_->ch_layout.nb_channels;
  if (frame_->sample_rate == mixer_rate_hz_ && num_channels_now == mixer_channels_ && frame_->format == mixer_format_) return {};
  Result<ChannelMixer> mixer =
      ChannelMixer::Create({static_cast<AVSampleFormat>(frame_->format), &frame_->ch_layout, frame_->sample_rate}, num_channels(),
                           info_.sample_rate_hz);
  if (!mixer) return Fail(mixer.error().code, path_ + ": " + mixer.error().message);
  mixer_.clear();
  mixer_.push_back(*std::move(mixer));
  mixer_rate_hz_ = frame_->sample_rate;
  mixer_channels_ = num_channels_now;
  mixer_format_ = frame_->format;
  return {};
}

Result<std::span<const float>> FfmpegSource::MixFrame() {
  if (Result<void> adapted = AdaptMixer(); !adapted) return Fail(ErrorCode::kDataLoss, adapted.error().message);
  Result<std::span<const float>> mixed = mixer_.front().Mix(frame_->extended_data, frame_->nb_samples);
  if (!mixed) return Fail(ErrorCode::kDataLoss, path_ + ": " + mixed.error().message);
  has_frame_ = false;
  num_frames_out_ += static_cast<std::int64_t>(mixed->size()) / num_channels();
  return mixed;
}

Result<std::span<const float>> FfmpegSource::Next() {
  for (;;) {
    if (silence_left_ > 0) return Silence();
    if (has_frame_) {
      Result<std::span<const float>> mixed = MixFrame();
      if (!mixed || !mixed->empty()) return mixed;  // a mixer that resamples may hold its first samples back
    }
    const Result<bool> decoded = Decode();
    if (!decoded) return Pass(decoded);
    if (!*decoded) break;
    NoteGap();
  }
  if (Result<void> complete = CheckEnd(); !complete) return Pass(complete);
  return std::span<const float>();
}

}  // namespace

Result<std::unique_ptr<AudioSource>> OpenWithFfmpeg(const std::string& path, std::unique_ptr<InputView> view,
                                                    const AudioOptions& options) {
  // Process-wide, there is no other way: FFmpeg would tell the user's terminal about every damaged packet.
  static const bool is_quiet = (av_log_set_level(AV_LOG_QUIET), true);
  static_cast<void>(is_quiet);
  IoPtr io = MakeIo(view.get());
  if (io == nullptr) return Fail(ErrorCode::kResourceExhausted, "out of memory");
  const Result<const AVInputFormat*> demuxer = FindDemuxer(path, io.get());
  if (!demuxer) return Pass(demuxer);
  Result<FormatPtr> format = OpenFormat(path, *demuxer, io.get());
  if (!format) return Pass(format);
  auto source = std::make_unique<FfmpegSource>(path, std::move(view), std::move(io), *std::move(format));
  if (Result<void> started = source->Start(options.track); !started) return Pass(started);
  return std::unique_ptr<AudioSource>(std::move(source));
}

}  // namespace earmark
