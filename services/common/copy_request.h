// Which copy of which recording is wanted, and how it is to be marked.
#pragma once

#include <optional>
#include <string>

namespace earmark {

constexpr int kUsualBitrateBps = 32000;

struct CopyRequest {
  std::string input;  // the recording: any audio or video file
  std::string stream_id;
  std::string account;  // whose copy; empty for one without a mark, or for everybody's
  std::string output;   // ends in .opus or .wav
  // Not given: what the stream has, or for a new one StreamFormat's defaults. Given and not what the stream has: kAlreadyExists.
  std::optional<int> bitrate_bps = {};         // not given and new: an Ogg Opus recording's own packets, else kUsualBitrateBps
  std::optional<int> num_variants = {};        // 2, 4 or 8
  std::optional<int> packets_per_symbol = {};  // 1 to 10
  std::optional<int> strength = {};            // 1 to 100; of marks in Opus packets alone
  std::optional<bool> opus = {};               // false: marked PCM
};

// Whether marks go into the recording's own packets: it is Ogg Opus, and nobody wants it encoded.
bool HasPacketsToMark(const CopyRequest& request);

// OUT.opus keeps packets as they are, OUT.wav holds sound.
inline bool IsWav(const CopyRequest& request) { return request.output.ends_with(".wav"); }

}  // namespace earmark
