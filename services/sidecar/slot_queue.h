// From the media thread to the recorder: slots with the sound they were made of, or a source's own packets, in a ring of fixed size.
//
// One thread pushes and one pops. Pushing neither waits, allocates nor locks; a full ring refuses, and the slot becomes a gap in the reference.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "dsp/core/stream_format.h"
#include "dsp/marking/variant_encoder.h"

namespace earmark {

struct QueuedSlot {
  std::int64_t recording = 0;                           // which source of which room, as the recorder numbers them
  ReferenceKind kind = ReferenceKind::kVariantPackets;  // or kSourcePackets: one packet, no sound
  std::int64_t packet = 0;
  int offset_samples = 0;  // of a source's packet: how far into slot `packet` it starts
  bool erased = false;
  int num_variants = 0;
  std::array<std::uint16_t, kMaxVariants> num_bytes{};
  // variant after variant; an erased slot's once
  std::array<std::uint8_t, static_cast<std::size_t>(kMaxVariants) * kMaxPacketBytes> bytes;
  std::array<float, kPacketSamples> mono;

  // As it was pushed; the spans live as long as this.
  Slot ToSlot() const noexcept;
  std::span<const std::uint8_t> source_packet() const noexcept { return std::span(bytes).first(num_bytes[0]); }
};

class SlotQueue {
 public:
  explicit SlotQueue(std::size_t capacity) : ring_(capacity) {}

  // `host`: 20 ms, interleaved. False: full.
  bool Push(std::int64_t recording, int num_variants, const Slot& slot, std::span<const float> host, int num_channels) noexcept;
  // A source's own packet, of at most kMaxVariants * kMaxPacketBytes bytes, that starts `offset_samples` into slot `packet`. False: full.
  bool PushSourcePacket(std::int64_t recording, std::int64_t packet, int offset_samples, std::span<const std::uint8_t> opus,
                        bool erased) noexcept;
  // The oldest slot, until Pop; nullptr: empty.
  const QueuedSlot* Front() const noexcept;
  void Pop() noexcept;

 private:
  QueuedSlot* FreeOne() noexcept;
  void Finish() noexcept;

  std::vector<QueuedSlot> ring_;
  std::atomic<std::uint64_t> num_pushed_ = 0;
  std::atomic<std::uint64_t> num_popped_ = 0;
};

}  // namespace earmark
