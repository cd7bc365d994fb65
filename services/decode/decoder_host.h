// Where decoders come from: a process of earmark-decode that has loaded all that decoding takes, and makes a copy of itself for each clip (a zygote).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "dsp/core/result.h"
#include "services/decode/sandbox.h"

namespace earmark::decode {

struct DecoderOptions {
  std::string program;  // the path of earmark-decode
  SandboxLimits limits;
  std::chrono::milliseconds max_silence{60'000};  // without a word from the decoder, while somebody listens
  // Of all of it, since a decoder may say a little now and then for ever.
  std::chrono::milliseconds max_time{std::chrono::hours(1)};
};

// Starts the zygote when it is first needed, and again when it is gone. It never sees a clip; each copy sees one and locks itself in before it reads it.
// Thread-safe.
class DecoderHost {
 public:
  explicit DecoderHost(DecoderOptions options);
  DecoderHost(const DecoderHost&) = delete;
  DecoderHost& operator=(const DecoderHost&) = delete;
  // Ends the zygote, and with it all decoders that still run.
  ~DecoderHost();

  const DecoderOptions& options() const { return options_; }

  // A new decoder of the clip, which writes into the pipe: a child of this process, to be waited for by whoever asked. It ends with this object at the
  // latest. kNotFound: there is no such program; kInternal: it is no decoder of this version; kUnavailable: no process can be started.
  Result<::pid_t> Fork(int clip_fd, int pipe_fd);

 private:
  class Zygote;

  const DecoderOptions options_;
  std::mutex mutex_;
  std::unique_ptr<Zygote> zygote_;
};

}  // namespace earmark::decode
