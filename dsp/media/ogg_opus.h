// Opus packets in an Ogg file (RFC 7845), written and read with libogg.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "dsp/core/result.h"

namespace earmark {

// Writes given Opus packets of any duration, untouched, one stream, pages of at most one second. Like WavWriter, the file appears
// under its name only when Finish succeeds, and nothing is left behind otherwise. Not thread-safe; blocks for I/O.
class OggOpusWriter {
 public:
  struct Options {
    int num_channels = 1;              // 1 or 2
    int pre_skip_samples = 312;        // at 48 kHz: what a player drops at the start
    int input_sample_rate_hz = 48000;  // informative
    int output_gain_q8_db = 0;         // in 1/256 dB, -32768 to 32767: what a player amplifies by
    std::uint32_t serial = 1;
  };
  static Result<std::unique_ptr<OggOpusWriter>> Create(const std::string& path, const Options& options);
  virtual ~OggOpusWriter() = default;
  // kInvalidArgument: not an Opus packet.
  virtual Result<void> Write(std::span<const std::uint8_t> packet) = 0;
  // `num_samples`: the true length of the audio at 48 kHz per channel, without pre-skip, so that players trim the last packet.
  virtual Result<void> Finish(std::int64_t num_samples) = 0;
};

// Reads the packets of an Ogg Opus file, untouched and in order: mono or stereo, and nothing but Opus in the file. Links of a chain are joined, as if
// their packets were one stream's: what a player drops at the end of one and the start of the next is kept. Takes about 200 kB, whatever the file
// holds. Not thread-safe; blocks for I/O.
class OggOpusReader {
 public:
  // Reads the headers. kNotFound, kPermissionDenied; kInvalidArgument: not an Ogg Opus file, or one with more than two channels, a channel mapping,
  // other streams in it, or a future version of the format; kDataLoss: it breaks off or is damaged.
  static Result<std::unique_ptr<OggOpusReader>> Open(const std::string& path);
  virtual ~OggOpusReader() = default;

  virtual int num_channels() const = 0;          // 1 or 2
  virtual int pre_skip_samples() const = 0;      // 0 to 65535 at 48 kHz: what a player drops at the start
  virtual int output_gain_q8_db() const = 0;     // in 1/256 dB
  virtual int input_sample_rate_hz() const = 0;  // of the recording that was encoded; informative, 0 if unknown
  // The next packet, valid until the next call; none at the end. kDataLoss: the file breaks off (also between pages, if the last page does not say
  // that it is), or is damaged from here on; kInvalidArgument: another stream, or a link with another number of channels follows. Once it failed it
  // keeps failing.
  virtual Result<std::optional<std::span<const std::uint8_t>>> Next() = 0;
  // The true length of the audio per channel at 48 kHz, without pre-skip and what the last packets have too much. Known when Next has said that there is
  // no more; until then, what the packets so far hold.
  virtual std::int64_t num_samples() const = 0;
};

}  // namespace earmark
