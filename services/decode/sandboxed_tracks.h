// The tracks of a clip, decoded by earmark-decode in a process of its own that can do nothing else.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "dsp/core/result.h"
#include "dsp/media/clip_tracks.h"
#include "services/decode/decoder_host.h"

namespace earmark::decode {

// Decodes on while it is read. The decoder is gone when this is. For one thread at a time.
class SandboxedTracks final : public ClipTracks {
 public:
  // `clip_fd`: a file, of which the decoder gets a descriptor of its own that can be read alone. `go_on` is asked every few milliseconds of waiting.
  // `host` must outlive it. Errors as DecoderHost::Fork.
  static Result<std::unique_ptr<SandboxedTracks>> Start(DecoderHost& host, int clip_fd, std::function<bool()> go_on);
  ~SandboxedTracks() override;
  // Whether clips can be decoded so at all: the program is there, is of this version and can be locked in. Errors as Start, and kInternal.
  static Result<void> Check(DecoderHost& host);

  // Samples that cannot be decoded are the clip's errors, kInvalidArgument and kDataLoss; else those of failure().
  std::optional<ClipTrack> Next() override;
  // Set once the decoder ended before it was done, did not keep to its limits or to the protocol, whatever it had told until then: kDataLoss, where it was the
  // clip's doing, with the reason; kUnavailable: somebody killed it; kInternal: it could not enter its sandbox, or is of another version; kCancelled.
  const std::optional<Error>& failure() const;

 private:
  class Process;
  class Track;
  explicit SandboxedTracks(std::unique_ptr<Process> process);

  std::unique_ptr<Process> process_;
  bool is_done_ = false;
  int num_tracks_ = 0;  // begun
};

}  // namespace earmark::decode
