// Keeps what the media thread sends, and what calls answer for: slots from two queues become sealed chunks, chunks go to the store.
//
// Two threads: one seals, and decodes a source's own packets for the fingerprint; one writes. While the store is slow or away, chunks wait in memory, up to a
// bound; what does not fit is a gap in the reference, counted. Control calls are thread-safe and may block.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "db/store_pool.h"
#include "dsp/core/secret.h"
#include "dsp/core/stream_format.h"
#include "services/common/reference_recorder.h"
#include "services/sidecar/slot_queue.h"

namespace earmark {

// Packets of one stream's reference, all sources together. Read from any thread.
struct ReferenceCounts {
  std::atomic<std::int64_t> stored = 0;
  std::atomic<std::int64_t> dropped = 0;  // by a full queue, or because the stream has another owner
};

class Recorder {
 public:
  struct Options {
    // between media and sealing, and as many between calls and sealing: 10 s of two sources
    std::size_t max_slots = 1024;
    std::size_t max_bytes = 256 << 20;              // of sealed chunks that wait for the store
    int packets_per_chunk = 2 * kPacketsPerSecond;  // what a kill may lose
  };
  // `pool` outlives it.
  Recorder(StorePool& pool, const Options& options);
  ~Recorder();  // gives up what is not stored; Close first

  struct Recording {
    std::string stream_id;
    StreamFormat format;
    Key seal_key;
    int source = 0;
    std::int64_t epoch = 0;
    std::shared_ptr<ReferenceCounts> counts;
  };
  // A number for SlotQueue::Push.
  std::int64_t Open(const Recording& recording);
  // Nothing is pushed under this number any more: what is left goes on its way to the store.
  void Close(std::int64_t recording, std::chrono::milliseconds patience);
  // Waits until the store has all that has been given out of a stream. kUnavailable: it had not by then, but may still; to be called again.
  Result<void> WaitUntilStored(const std::string& stream_id, std::chrono::milliseconds patience);

  SlotQueue& queue() { return queue_; }  // Push is for one thread
  // The way in for calls, of many threads; as SlotQueue::PushSourcePacket, but may wait for another of them.
  bool PushSourcePacket(std::int64_t recording, std::int64_t packet, int offset_samples, std::span<const std::uint8_t> opus,
                        bool erased);
  std::size_t bytes_waiting() const;

 private:
  struct Sealing {
    Recording what;
    std::unique_ptr<ReferenceRecorder> recorder;
    std::chrono::steady_clock::time_point last_slot;
    bool has_rest = false;
  };
  struct WaitingChunk {
    Recording what;
    ReferenceChunk chunk;
  };

  void Seal();
  bool SealFront(SlotQueue& queue);
  bool HasQueued() const { return queue_.Front() != nullptr || calls_queue_.Front() != nullptr; }
  void FlushIdle();
  Result<void> Enqueue(std::int64_t recording, ReferenceChunk chunk);
  void Write();
  bool Store(const WaitingChunk& waiting);

  StorePool& pool_;
  const Options options_;
  SlotQueue queue_;
  std::mutex calls_mutex_;  // of those who push to the next
  SlotQueue calls_queue_;
  mutable std::mutex mutex_;  // of all that follows
  std::condition_variable changed_;
  std::int64_t last_recording_ = 0;
  std::map<std::int64_t, Sealing> sealing_;
  std::deque<WaitingChunk> waiting_;
  std::size_t waiting_bytes_ = 0;
  bool stopping_ = false;
  std::thread sealer_;
  std::thread writer_;
};

}  // namespace earmark
