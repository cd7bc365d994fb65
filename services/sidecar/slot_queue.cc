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

bool SlotQueue::Push(std::int64_t recording, int num_variants, const Slot& slot, std::span<const float> host, int num_channels) noexcept {
  const std::uint64_t pushed = num_pushed_.load(std::memory_order_relaxed);
  if (pushed - num_popped_.load(std::memory_order_acquire) == ring_.size()) return false;
  QueuedSlot& queued = ring_[pushed % ring_.size()];
  queued.recording = recording;
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
  num_pushed_.store(pushed + 1, std::memory_order_release);
  return true;
}

const QueuedSlot* SlotQueue::Front() const noexcept {
  const std::uint64_t popped = num_popped_.load(std::memory_order_relaxed);
  return popped == num_pushed_.load(std::memory_order_acquire) ? nullptr : &ring_[popped % ring_.size()];
}

void SlotQueue::Pop() noexcept { num_popped_.fetch_add(1, std::memory_order_release); }

}  // namespace earmark
