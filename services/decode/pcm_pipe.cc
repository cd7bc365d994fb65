#include "services/decode/pcm_pipe.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace earmark::decode {
namespace {

void PutNumber(std::uint64_t number, int num_bytes, std::vector<std::uint8_t>& bytes) {
  for (int i = 0; i < num_bytes; ++i) bytes.push_back(static_cast<std::uint8_t>(number >> (8 * i)));
}

void PutText(std::string_view text, std::vector<std::uint8_t>& bytes) {
  text = text.substr(0, kMaxTextBytes);
  bytes.insert(bytes.end(), text.begin(), text.end());
}

// Takes numbers from the front of a payload; once there are too few bytes, all are 0 and it is not whole.
class Payload {
 public:
  explicit Payload(std::span<const std::uint8_t> bytes) : rest_(bytes) {}

  std::uint64_t Number(std::size_t num_bytes) {
    if (rest_.size() < num_bytes) {
      is_whole_ = false;
      return 0;
    }
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < num_bytes; ++i) number |= static_cast<std::uint64_t>(rest_[i]) << (8 * i);
    rest_ = rest_.subspan(num_bytes);
    return number;
  }
  // A number in 0 … max.
  int Count(int max) {
    const std::uint64_t number = Number(4);
    is_whole_ = is_whole_ && number <= static_cast<std::uint64_t>(max);
    return is_whole_ ? static_cast<int>(number) : 0;
  }
  // The rest; what is not printable ASCII becomes a question mark, since it may end in a terminal.
  std::string Text() {
    std::string text;
    for (const std::uint8_t byte : rest_.first(std::min(rest_.size(), kMaxTextBytes)))
      text += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '?';
    return text;
  }
  bool is_whole() const { return is_whole_; }

 private:
  std::span<const std::uint8_t> rest_;
  bool is_whole_ = true;
};

tl::unexpected<Error> Nonsense() { return Fail(ErrorCode::kDataLoss, "the decoder answered what no decoder would"); }

}  // namespace

std::vector<std::uint8_t> EncodeHead(MessageKind kind, std::size_t payload_bytes) {
  std::vector<std::uint8_t> bytes{static_cast<std::uint8_t>(kind)};
  PutNumber(payload_bytes, 4, bytes);
  return bytes;
}

Result<MessageHead> DecodeHead(std::span<const std::uint8_t> head) {
  Payload payload(head);
  const auto kind = payload.Number(1);
  const auto size = payload.Number(4);
  const bool is_known =
      kind >= static_cast<std::uint64_t>(MessageKind::kHello) && kind <= static_cast<std::uint64_t>(MessageKind::kDone);
  if (!payload.is_whole() || !is_known || size > kMaxPayloadBytes) return Nonsense();
  return MessageHead{.kind = static_cast<MessageKind>(kind), .payload_bytes = static_cast<std::size_t>(size)};
}

std::vector<std::uint8_t> Encode(const TrackStart& start) {
  std::vector<std::uint8_t> bytes;
  for (const int number :
       {start.info.track, start.info.num_tracks, start.num_channels, start.info.num_channels, start.info.sample_rate_hz})
    PutNumber(static_cast<std::uint64_t>(number), 4, bytes);
  PutNumber(std::bit_cast<std::uint64_t>(start.info.duration_s), 8, bytes);
  PutText(start.info.format, bytes);
  return bytes;
}

Result<TrackStart> DecodeTrackStart(std::span<const std::uint8_t> payload) {
  Payload from(payload);
  TrackStart start;
  start.info.track = from.Count(kMaxTracks - 1);
  start.info.num_tracks = from.Count(kMaxTracks);
  start.num_channels = from.Count(2);
  start.info.num_channels = from.Count(1 << 16);
  start.info.sample_rate_hz = from.Count(1 << 30);
  start.info.duration_s = std::bit_cast<double>(from.Number(8));
  start.info.format = from.Text();
  if (!from.is_whole() || start.num_channels < 1 || start.info.track >= start.info.num_tracks ||
      std::isnan(start.info.duration_s))
    return Nonsense();
  return start;
}

std::vector<std::uint8_t> Encode(const TrackEnd& end) {
  std::vector<std::uint8_t> bytes;
  PutNumber(static_cast<std::uint64_t>(end.track), 4, bytes);
  const int code = !end.error ? 0 : end.error->code == ErrorCode::kInvalidArgument ? 1 : 2;
  PutNumber(static_cast<std::uint64_t>(code), 1, bytes);
  if (end.error) PutText(end.error->message, bytes);
  return bytes;
}

Result<TrackEnd> DecodeTrackEnd(std::span<const std::uint8_t> payload) {
  Payload from(payload);
  TrackEnd end{.track = from.Count(kMaxTracks - 1)};
  const auto code = from.Number(1);
  if (!from.is_whole() || code > 2) return Nonsense();
  if (code != 0) end.error = Error{code == 1 ? ErrorCode::kInvalidArgument : ErrorCode::kDataLoss, from.Text()};
  return end;
}

}  // namespace earmark::decode
