#include "services/sidecar/recorder.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace earmark {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kSealerSleep{10};  // the media thread wakes nobody
constexpr milliseconds kIdle{1000};       // a source that paused: what there is goes to the store
constexpr milliseconds kRetry{500};

}  // namespace

Recorder::Recorder(StorePool& pool, const Options& options)
    : pool_(pool),
      options_(options),
      queue_(options.max_slots),
      calls_queue_(options.max_slots),
      sealer_([this] { Seal(); }),
      writer_([this] { Write(); }) {}

Recorder::~Recorder() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  sealer_.join();
  writer_.join();
}

std::int64_t Recorder::Open(const Recording& recording) {
  const std::lock_guard lock(mutex_);
  const std::int64_t number = ++last_recording_;
  Sealing sealing{.what = recording, .recorder = nullptr, .last_slot = steady_clock::now()};
  sealing.recorder = std::make_unique<ReferenceRecorder>(
      recording.stream_id, recording.format, recording.seal_key, recording.source, options_.packets_per_chunk,
      [this, number](ReferenceChunk chunk) { return Enqueue(number, std::move(chunk)); });
  sealing_.emplace(number, std::move(sealing));
  return number;
}

void Recorder::Close(std::int64_t recording, milliseconds patience) {
  const auto deadline = steady_clock::now() + patience;
  std::unique_lock lock(mutex_);
  while (HasQueued() && !stopping_ && steady_clock::now() < deadline) changed_.wait_for(lock, kSealerSleep);
  const auto found = sealing_.find(recording);
  if (found == sealing_.end()) return;
  (void)found->second.recorder->Flush();
  sealing_.erase(found);
}

Result<void> Recorder::WaitUntilStored(const std::string& stream_id, milliseconds patience) {
  std::unique_lock lock(mutex_);
  const bool stored = changed_.wait_for(lock, patience, [&] {
    return std::none_of(waiting_.begin(), waiting_.end(),
                        [&](const WaitingChunk& chunk) { return chunk.what.stream_id == stream_id; });
  });
  if (stored) return {};
  return Fail(ErrorCode::kUnavailable, "stream '" + stream_id + "': the store has not yet taken all of its reference; try again");
}

bool Recorder::PushSourcePacket(std::int64_t recording, std::int64_t packet, int offset_samples,
                                std::span<const std::uint8_t> opus, bool erased) {
  const std::lock_guard lock(calls_mutex_);
  return calls_queue_.PushSourcePacket(recording, packet, offset_samples, opus, erased);
}

std::size_t Recorder::bytes_waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_bytes_;
}

void Recorder::Seal() {
  for (;;) {
    std::unique_lock lock(mutex_);
    if (stopping_) return;
    const bool of_media = SealFront(queue_);
    if (SealFront(calls_queue_) || of_media) continue;
    FlushIdle();
    changed_.notify_all();  // those who wait for empty queues
    lock.unlock();
    std::this_thread::sleep_for(kSealerSleep);
  }
}

bool Recorder::SealFront(SlotQueue& queue) {
  const QueuedSlot* const slot = queue.Front();
  if (slot == nullptr) return false;
  if (const auto found = sealing_.find(slot->recording); found != sealing_.end()) {
    ReferenceRecorder& recorder = *found->second.recorder;  // Enqueue, its sink, counts what it cannot take
    if (slot->kind == ReferenceKind::kSourcePackets) {
      (void)recorder.AddSourcePacket(slot->packet, slot->offset_samples, slot->source_packet(), slot->erased);
    } else {
      (void)recorder.Add(slot->ToSlot(), slot->mono);
    }
    found->second.last_slot = steady_clock::now();
    found->second.has_rest = true;
  }
  queue.Pop();
  return true;
}

void Recorder::FlushIdle() {
  for (auto& [number, sealing] : sealing_) {
    if (!sealing.has_rest || steady_clock::now() - sealing.last_slot < kIdle) continue;
    (void)sealing.recorder->Flush();
    sealing.has_rest = false;
  }
}

// Called with the lock held, by the recorder of this recording.
Result<void> Recorder::Enqueue(std::int64_t recording, ReferenceChunk chunk) {
  Sealing& sealing = sealing_.at(recording);
  if (waiting_bytes_ + chunk.sealed.size() > options_.max_bytes) {
    sealing.what.counts->dropped += chunk.num_packets;
    return Fail(ErrorCode::kResourceExhausted, "the reference does not fit into memory");
  }
  waiting_bytes_ += chunk.sealed.size();
  waiting_.push_back({.what = sealing.what, .chunk = std::move(chunk)});
  changed_.notify_all();
  return {};
}

void Recorder::Write() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const WaitingChunk& first = waiting_.front();  // stays where it is while others are added behind it
    lock.unlock();
    const bool done = Store(first);
    lock.lock();
    if (!done) {
      changed_.wait_for(lock, kRetry, [&] { return stopping_; });
      continue;
    }
    waiting_bytes_ -= first.chunk.sealed.size();
    waiting_.pop_front();
    changed_.notify_all();
  }
}

// False: the store cannot be reached or has no room; to be tried again.
bool Recorder::Store(const WaitingChunk& waiting) {
  auto store = pool_.Borrow();
  const auto stored =
      store ? (*store)->AppendReference(waiting.what.stream_id, waiting.chunk, waiting.what.epoch) : Result<void>(Pass(store));
  if (stored) {
    waiting.what.counts->stored += waiting.chunk.num_packets;
    return true;
  }
  const ErrorCode code = stored.error().code;
  if (code == ErrorCode::kFailedPrecondition || code == ErrorCode::kNotFound || code == ErrorCode::kInvalidArgument) {
    spdlog::error("a chunk of reference is lost: {}", stored.error().message);
    waiting.what.counts->dropped += waiting.chunk.num_packets;
    return true;
  }
  spdlog::warn("the reference waits: {}", stored.error().message);
  return false;
}

}  // namespace earmark
