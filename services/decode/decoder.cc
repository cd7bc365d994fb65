#include "services/decode/decoder.h"

#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "dsp/media/file_tracks.h"
#include "services/decode/pcm_pipe.h"

namespace earmark::decode {
namespace {

// Small, since a block that runs into damage is lost as a whole.
constexpr std::size_t kFramesPerBlock = 480;
// What messages call the file, whose name is nobody's business here.
constexpr char kClip[] = "the clip";

// Gathers what is small, since every write may wake the reader up.
class PipeWriter {
 public:
  explicit PipeWriter(int fd) : fd_(fd) {}

  Result<void> Send(MessageKind kind, std::span<const std::uint8_t> payload) {
    const auto head = EncodeHead(kind, payload.size());
    pending_.insert(pending_.end(), head.begin(), head.end());
    pending_.insert(pending_.end(), payload.begin(), payload.end());
    return pending_.size() < kPendingBytes ? Result<void>() : Flush();
  }

  Result<void> Flush() {
    for (std::span<const std::uint8_t> bytes = pending_; !bytes.empty();) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return Fail(ErrorCode::kUnavailable, "pipe: " + std::generic_category().message(errno));
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    pending_.clear();
    return {};
  }

 private:
  static constexpr std::size_t kPendingBytes = std::size_t{1} << 16;

  const int fd_;
  std::vector<std::uint8_t> pending_;
};

Result<void> SendTrack(PipeWriter& pipe, AudioReader& reader) {
  const auto num_channels = static_cast<std::size_t>(reader.num_channels());
  auto sent = pipe.Send(MessageKind::kTrack, Encode(TrackStart{.info = reader.info(), .num_channels = reader.num_channels()}));
  std::vector<float> block(kFramesPerBlock * num_channels);
  for (TrackEnd end{.track = reader.info().track}; sent;) {
    const Result<std::int64_t> num_frames = reader.Read(block);
    if (!num_frames) end.error = num_frames.error();
    if (!num_frames || *num_frames == 0) return pipe.Send(MessageKind::kEndOfTrack, Encode(end));
    sent = pipe.Send(MessageKind::kSamples, {reinterpret_cast<const std::uint8_t*>(block.data()),
                                             static_cast<std::size_t>(*num_frames) * num_channels * sizeof(float)});
  }
  return sent;
}

// What is told is told before the next track is looked for, which may take long.
Result<void> SendTracks(PipeWriter& pipe, FileTracks& tracks) {
  for (;;) {
    if (auto told = pipe.Flush(); !told) return told;
    auto track = tracks.Next();
    if (!track) return pipe.Send(MessageKind::kDone, {});
    auto sent = track->reader
                    ? SendTrack(pipe, **track->reader)
                    : pipe.Send(MessageKind::kNoTrack, Encode(TrackEnd{.track = track->number, .error = track->reader.error()}));
    if (!sent) return sent;
  }
}

}  // namespace

Result<void> DecodeInto(int pipe_fd, InputFile clip) {
  PipeWriter pipe(pipe_fd);
  const std::string_view hello = kHello;
  auto sent = pipe.Send(MessageKind::kHello, {reinterpret_cast<const std::uint8_t*>(hello.data()), hello.size()});
  FileTracks tracks(kClip, std::make_shared<InputFile>(std::move(clip)));
  if (sent) sent = SendTracks(pipe, tracks);
  return sent ? pipe.Flush() : sent;
}

}  // namespace earmark::decode
