// Reading audio out of whatever people record or post, and writing WAV.
//
// Plain PCM (WAV, AIFF, AU, CAF, W64, RF64) goes through libsndfile; everything compressed (FLAC, Ogg, MP3, MP4, WebM, GSM, AMR,
// video files) through FFmpeg's libraries, which do better with damage and encoder delays; sndfile_source.cc has the reasons.
//
// Recordings that were joined end to end (Ogg, Matroska and WebM, MP3, AAC in ADTS) are read one after the other, whatever rate,
// channels and codec each has. Metadata that a program saved within a radio stream (MP3, AAC) are left out. Sample rates from 8
// to 192 kHz are resampled to 48 kHz by soxr; sample 0 stays time 0. Nothing is printed, whatever the file holds.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/result.h"

namespace earmark {

struct InputFile;

struct AudioInfo {
  int sample_rate_hz = 0;  // of the file
  int num_channels = 0;    // of the file
  double duration_s = -1;  // -1 where the container does not say
  int num_tracks = 1;      // audio tracks, those included that cannot be decoded
  int track = 0;           // the one that is read, counted from 0 in the order of the file
  std::string format;      // for people: "WAV, 16-bit PCM", "mov,mp4,… / aac"
};

struct AudioOptions {
  std::optional<int> track;  // as in AudioInfo; without it the best one: the file's default, or what has more channels and bits
};

// A stream of samples from a file, resampled to 48 kHz, whatever the file's rate. Mono stays mono; two channels stay two; more
// are mixed down to two. Integer and float formats come out as float; full scale is ±1, and floats beyond that are kept as they
// are. Not-a-number and infinite samples become 0.
//
// Not thread-safe; blocks for I/O; allocates.
class AudioReader {
 public:
  // kNotFound: no such file; kPermissionDenied; kInvalidArgument: not audio that can be read (a picture, a playlist, a folder or
  // pipe, a file without samples or with a damaged beginning, a rate outside 8 to 192 kHz), with one line that names the path and
  // says what the file is, where that is known; or no such track, or one that cannot be decoded, where others may be. Opens no
  // file but this one, whatever it refers to.
  static Result<std::unique_ptr<AudioReader>> Open(const std::string& path, const AudioOptions& options = {});
  // The same of a file that is open already, so that all of them read the same one. It is read by place, but for plain PCM, which moves its reading
  // position: one reader at a time. `path` is for messages.
  static Result<std::unique_ptr<AudioReader>> Open(const std::string& path, std::shared_ptr<InputFile> file,
                                                   const AudioOptions& options = {});
  virtual ~AudioReader() = default;

  virtual const AudioInfo& info() const = 0;
  virtual int num_channels() const = 0;  // of the samples read: 1 or 2
  // Fills `interleaved` (a multiple of num_channels samples) as far as the file reaches and returns the number of frames (sample
  // times) read; fewer than asked for, or 0, only at the end. kDataLoss: the file breaks off (also Ogg whose last page does not say
  // that it is, and Matroska with an element that reaches beyond the file) or cannot be decoded from here on;
  // the call that runs into it returns none of its samples, what was read before stays valid. Once it failed it keeps failing.
  // Of joined recordings, only the last one's breaking off is an error: after another one the next is read.
  // Damage that ends again, and time stamps that leave something out (up to a minute), are silence: time goes on.
  virtual Result<std::int64_t> Read(std::span<float> interleaved) = 0;
};

// A whole clip as mono (mean of the channels) at 48 kHz. `max_duration_s` bounds memory: kResourceExhausted beyond it.
// A clip that breaks off in the middle is returned as far as it goes if at least one second was read, with `truncated` set:
// people post damaged files, and the part that is there can still be read. kInvalidArgument for a file with no samples at all.
struct MonoClip {
  std::vector<float> samples;
  bool truncated = false;
};
Result<MonoClip> ReadMonoClip(const std::string& path, double max_duration_s);

// Writes 16-bit PCM WAV, triangular dither off, samples beyond ±1 clipped. The file appears under its name only when Finish
// succeeds; until then, and if the writer is destroyed before, nothing is left behind (it is written to a temporary file in the
// same folder, then renamed). Files beyond 4 GiB are written as RF64.
class WavWriter {
 public:
  static Result<std::unique_ptr<WavWriter>> Create(const std::string& path, int sample_rate_hz, int num_channels);
  virtual ~WavWriter() = default;
  virtual Result<void> Write(std::span<const float> interleaved) = 0;  // kResourceExhausted: disk full
  virtual Result<void> Finish() = 0;
};

}  // namespace earmark
