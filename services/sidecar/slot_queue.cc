#include "services/sidecar/slot_queue.h"

#include <algorithm>

#include "dsp/core/mono.h"

namespace earmark {

Slot QueuedSlot::ToSlot() const noexcept {
  Slot slot;
  slot.packet = packet;
  slot.erased = erased;
  std::size_t at = 0;
  for (std::size_t v = 0; v < static_cast<std::size_t>(num_variants); ++v) {
    slot.packets[v] = {bytes.data() + at, num_bytes[v]};
    if (!erased) at += num_bytes[v];
  }
  return slot;
}

bool SlotQueue::Push(std::int64_t recording, int num_variants, const Slot& slot, std::span<const float> host,
                     int num_channels) noexcept {
  QueuedSlot* const free = FreeOne();
  if (free == nullptr) return false;
  QueuedSlot& queued = *free;
  queued.recording = recording;
  queued.kind = ReferenceKind::kVariantPackets;
  queued.packet = slot.packet;
  queued.erased = slot.erased;
  queued.num_variants = num_variants;
  std::size_t at = 0;
  for (std::size_t v = 0; v < static_cast<std::size_t>(num_variants); ++v) {
    queued.num_bytes[v] = static_cast<std::uint16_t>(slot.packets[v].size());
    if (slot.erased && v > 0) continue;
    std::copy(slot.packets[v].begin(), slot.packets[v].end(), queued.bytes.begin() + static_cast<std::ptrdiff_t>(at));
    at += slot.packets[v].size();
  }
  MixToMono(host, num_channels, queued.mono);
  Finish();
  return true;
}

bool SlotQueue::PushSourcePacket(std::int64_t recording, std::int64_t packet, int offset_samples,
                                 std::span<const std::uint8_t> opus, bool erased) noexcept {
  QueuedSlot* const free = FreeOne();
  if (free == nullptr || opus.size() > free->bytes.size()) return false;
  free->recording = recording;
  free->kind = ReferenceKind::kSourcePackets;
  free->packet = packet;
  free->offset_samples = offset_samples;
  free->erased = erased;
  free->num_bytes[0] = static_cast<std::uint16_t>(opus.size());
  std::copy(opus.begin(), opus.end(), free->bytes.begin());
  Finish();
  return true;
}

// Where the next one goes; nullptr: full.
QueuedSlot* SlotQueue::FreeOne() noexcept {
  const std::uint64_t pushed = num_pushed_.load(std::memory_order_relaxed);
  return pushed - num_popped_.load(std::memory_order_acquire) == ring_.size() ? nullptr : &ring_[pushed % ring_.size()];
}

void SlotQueue::Finish() noexcept { num_pushed_.fetch_add(1, std::memory_order_release); }

const QueuedSlot* SlotQueue::Front() const noexcept {
  const std::uint64_t popped = num_popped_.load(std::memory_order_relaxed);
  return popped == num_pushed_.load(std::memory_order_acquire) ? nullptr : &ring_[popped % ring_.size()];
}

void SlotQueue::Pop() noexcept { num_popped_.fetch_add(1, std::memory_order_release); }

}  // namespace earmark
