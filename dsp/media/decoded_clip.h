// A suspect recording, decoded for a scan.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/advance.h"
#include "dsp/core/result.h"
#include "dsp/media/clip_tracks.h"
#include "dsp/media/sample_file.h"

namespace earmark {

// Every audio track of a file but those that are bit for bit as one before, and of tracks with two unlike channels (channel_likeness.h) the mean, half the difference, left and right. All are mono
// at kDetectRateHz, time 0 being the track's. What is longer than two minutes is on disk, in $TMPDIR or /tmp, in files without a name: 0.35 GB for an
// hour of each signal. Memory does not grow with the length. For one thread at a time; blocks for I/O; allocates.
class DecodedClip {
 public:
  enum class Channel { kMean, kDifference, kLeft, kRight };
  struct Signal {
    int track = 0;  // counted from 0 in the order of the file
    Channel channel = Channel::kMean;
    bool operator==(const Signal&) const = default;
  };

  // The file is opened once: samples and digest are of the same bytes. `advance` is asked every few milliseconds of work, but while a file is looked
  // into, which may take as long as reading it once. A track that breaks off is kept as far as it goes if that is one second or more.
  // Errors as AudioReader::Open; kDataLoss: the best track breaks off in its first second; kInvalidArgument: it is longer than kMaxHours;
  // kResourceExhausted: no room for the samples, the message says where and how much is needed; kUnavailable: the file changed while it was read, or
  // no temporary file can be made; kCancelled. Nothing is left behind.
  static Result<DecodedClip> Decode(const std::string& path, const Advance& advance);
  // The same of tracks that are decoded elsewhere, without a digest. `name` is for messages. The tracks' own errors, too.
  static Result<DecodedClip> Decode(const std::string& name, ClipTracks& tracks, double max_hours, const Advance& advance);
  // Of one track; and twice as much of all of them.
  static constexpr double kMaxHours = 48;

  // At least one; the best track first (AudioOptions), the others in the file's order, and of each kMean first.
  const std::vector<Signal>& signals() const { return signals_; }
  // `signal`: an index of signals(). Left and right are put together when they are first asked for, which needs room as decoding did:
  // kResourceExhausted, kUnavailable. Valid for the life of this object and of what it is moved to. Can be touched anywhere.
  Result<std::span<const float>> Samples(std::size_t signal);
  // What was read of the samples need not stay in memory: it is on disk, and comes back when it is touched.
  void ReleaseMemory() const;

  double duration_s() const { return duration_s_; }      // of the longest track
  bool truncated() const { return truncated_; }          // a track breaks off
  const std::string& sha256() const { return sha256_; }  // of the file, 64 hex digits; empty where there was none
  const std::vector<std::string>& notes() const {
    return notes_;
  }  // for people, such as "track 2 cannot be decoded: …", counted from 1

 private:
  friend class ClipDecoder;
  DecodedClip() = default;
  Result<void> JoinSides(std::size_t signal);

  std::vector<Signal> signals_;
  std::vector<std::optional<SampleFile>> samples_;  // of each signal; none of sides that nobody has asked for
  double duration_s_ = 0;
  bool truncated_ = false;
  std::string sha256_;
  std::vector<std::string> notes_;
};

}  // namespace earmark
