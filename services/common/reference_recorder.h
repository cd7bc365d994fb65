// Collects one source's slots into sealed chunks of reference with their fingerprints. Runs behind the hot path: allocates and seals; one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "db/stream_store.h"
#include "dsp/core/result.h"
#include "dsp/core/secret.h"
#include "dsp/core/stream_format.h"
#include "dsp/reference/mono_player.h"
#include "dsp/reference/reference_chunk.h"
#include "dsp/search/fingerprint.h"

namespace earmark {

// Where finished chunks go, in order.
using ChunkSink = std::function<Result<void>(ReferenceChunk chunk)>;

class ReferenceRecorder {
 public:
  // A chunk ends where a packet number is a multiple of `packets_per_chunk`, itself a multiple of kPacketsPerFingerprintWord up to kPacketsPerChunk: long
  // ones are less to store, short ones sooner there.
  ReferenceRecorder(std::string stream_id, const StreamFormat& format, const Key& seal_key, int source, int packets_per_chunk,
                    ChunkSink sink);

  // One slot, and 20 ms of the host that went in with it, mono. Slot::packet tells its place, and grows from call to call: what is left out is a gap, within
  // a chunk if it is short, between chunks otherwise. Errors are the sink's.
  Result<void> Add(const Slot& slot, std::span<const float> mono_host);
  // For streams of kind kSourcePackets, in place of Add: the source's packet that starts `offset_samples` (0 to 959 at 48 kHz) behind the start of slot `packet`.
  // It is decoded here, for the fingerprint; what libopus rejects is left out. `erased`: no variant of it differs, which is counted.
  Result<void> AddSourcePacket(std::int64_t packet, int offset_samples, std::span<const std::uint8_t> opus, bool erased);
  // Gives out what has been collected. Slots that come afterwards start a new chunk, at the next packet where a word of the fingerprint may begin.
  Result<void> Flush();
  // What the mean of two channels lost of the source packets so far. For streams of kind kSourcePackets alone.
  const MeanLoss& source_mean_loss() const { return player_->mean_loss(); }

 private:
  // within a chunk; the fingerprint runs through it as through silence
  static constexpr std::int64_t kMaxGapInChunk = kPacketsPerSecond;

  void Start(std::int64_t packet);
  Result<void> Hear(std::span<const float> mono);
  void AddSilence(std::int64_t num_packets);
  Result<void> GiveOut();

  std::string stream_id_;
  StreamFormat format_;
  Key seal_key_;
  int source_;
  int packets_per_chunk_;
  ChunkSink sink_;
  bool open_ = false;              // the fingerprint has run up to next_packet_
  std::int64_t first_packet_ = 0;  // of the chunk that is being collected
  std::int64_t next_packet_ = 0;
  std::int64_t end_of_stored_ = 0;   // what was given out ends here
  std::int64_t num_ahead_ = 0;       // samples that the fingerprint has taken in behind next_packet_; of source packets alone
  std::int64_t erased_samples_ = 0;  // of source packets, not given out yet
  std::optional<MonoPlayer> player_;
  std::vector<float> sound_;
  ReferenceChunkBuilder chunk_;
  std::optional<FingerprintExtractor> fingerprint_;
};

}  // namespace earmark
