// What earmark-decode tells its parent over a pipe: which tracks the clip has, and the samples of each.
//
//   hello, then for each track: track, samples …, end of track; or no track, where it cannot be decoded; at the end: done
//
// A message is its kind (1 byte), the length of its payload (4 bytes) and the payload. Numbers are little-endian. The parent believes none of it: whoever
// made the clip may have taken the decoder over.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/media/audio_file.h"

namespace earmark::decode {

enum class MessageKind : std::uint8_t { kHello = 1, kTrack, kNoTrack, kSamples, kEndOfTrack, kDone };

struct Message {
  MessageKind kind = MessageKind::kDone;
  std::vector<std::uint8_t> payload;
};

inline constexpr std::size_t kMessageHeadBytes = 5;
inline constexpr std::size_t kMaxPayloadBytes = std::size_t{1} << 18;
inline constexpr std::size_t kMaxTextBytes = 1000;
inline constexpr int kMaxTracks = 1000;

// Payloads. Those that are read give kDataLoss for what no decoder of ours sends.
inline constexpr char kHello[] = "earmark-decode 1";

// A track whose samples follow.
struct TrackStart {
  AudioInfo info;
  int num_channels = 1;  // of the samples: 1 or 2
};
std::vector<std::uint8_t> Encode(const TrackStart& start);
Result<TrackStart> DecodeTrackStart(std::span<const std::uint8_t> payload);

// Why a track ended, or cannot be decoded.
struct TrackEnd {
  int track = 0;
  std::optional<Error> error = {};  // kInvalidArgument or kDataLoss, whatever was sent; the text has printable characters alone
};
std::vector<std::uint8_t> Encode(const TrackEnd& end);
Result<TrackEnd> DecodeTrackEnd(std::span<const std::uint8_t> payload);

// A message's head before its payload.
std::vector<std::uint8_t> EncodeHead(MessageKind kind, std::size_t payload_bytes);
struct MessageHead {
  MessageKind kind = MessageKind::kDone;
  std::size_t payload_bytes = 0;
};
Result<MessageHead> DecodeHead(std::span<const std::uint8_t> head);

}  // namespace earmark::decode
