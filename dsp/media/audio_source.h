// The two ways into an audio file, behind one interface, before resampling. Used by audio_file.cc alone.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/media/audio_file.h"
#include "dsp/media/input_view.h"

namespace earmark {

// Samples of a file at its own rate, mixed down to one or two channels. Errors as for AudioReader.
class AudioSource {
 public:
  virtual ~AudioSource() = default;
  virtual const AudioInfo& info() const = 0;
  virtual int num_channels() const = 0;  // of the samples: 1 or 2
  // The next interleaved samples, as many as are at hand; none at the end. They stay valid until the next call.
  virtual Result<std::span<const float>> Next() = 0;
};

// "3.2 s"
std::string SecondsText(double seconds);

// Whether the file's first bytes are those of a container of plain PCM, which libsndfile reads.
bool LooksLikePcm(const FileHandle& file);

// The file's reading position is moved; the source leaves closing to the handle.
Result<std::unique_ptr<AudioSource>> OpenWithSndfile(const std::string& path, std::shared_ptr<InputFile> file);
// `path` is for messages.
Result<std::unique_ptr<AudioSource>> OpenWithFfmpeg(const std::string& path, std::unique_ptr<InputView> view,
                                                    const AudioOptions& options);

// Plays `ranges` of the file, of containers of their own, one after the other, at the highest of their rates and with the most of
// their channels. Where fewer than two can be decoded: as OpenWithFfmpeg.
Result<std::unique_ptr<AudioSource>> OpenJoined(const std::string& path, std::shared_ptr<InputFile> file,
                                                const std::vector<ByteRange>& ranges, const AudioOptions& options);

// The error for a track that is not there.
tl::unexpected<Error> NoSuchTrack(const std::string& path, int track, int num_tracks);

}  // namespace earmark
