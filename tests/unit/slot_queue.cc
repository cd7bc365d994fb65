#include "services/sidecar/slot_queue.h"

#include <catch2/catch.hpp>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/allocation_counter.h"

namespace earmark {
namespace {

// A slot of four variants whose bytes and sound say its number.
struct TestSlot {
  explicit TestSlot(std::int64_t packet, int num_bytes = 80) : host(kPacketSamples, static_cast<float>(packet)) {
    for (std::size_t v = 0; v < 4; ++v) {
      bytes[v].assign(static_cast<std::size_t>(num_bytes), static_cast<std::uint8_t>(packet * 4 + static_cast<std::int64_t>(v)));
      slot.packets[v] = bytes[v];
    }
    slot.packet = packet;
  }
  std::array<std::vector<std::uint8_t>, 4> bytes;
  Slot slot;
  std::vector<float> host;
};

TEST_CASE("SlotQueue: what was pushed comes out, in order", "[slot_queue]") {
  SlotQueue queue(4);
  for (std::int64_t packet : {7, 8}) {
    const TestSlot pushed(packet);
    REQUIRE(queue.Push(3, 4, pushed.slot, pushed.host, 1));
  }
  for (std::int64_t packet : {7, 8}) {
    const TestSlot wanted(packet);
    const QueuedSlot* const front = queue.Front();
    REQUIRE(front != nullptr);
    CHECK(front->recording == 3);
    const Slot slot = front->ToSlot();
    CHECK(slot.packet == packet);
    CHECK_FALSE(slot.erased);
    for (std::size_t v = 0; v < 4; ++v)
      CHECK(std::vector<std::uint8_t>(slot.packets[v].begin(), slot.packets[v].end()) == wanted.bytes[v]);
    CHECK(front->mono[0] == static_cast<float>(packet));
    queue.Pop();
  }
  CHECK(queue.Front() == nullptr);
}

TEST_CASE("SlotQueue: an erased slot is kept once and comes back for all", "[slot_queue]") {
  SlotQueue queue(1);
  TestSlot pushed(1, 1275);
  for (std::size_t v = 1; v < 4; ++v) pushed.slot.packets[v] = pushed.slot.packets[0];
  pushed.slot.erased = true;
  REQUIRE(queue.Push(1, 4, pushed.slot, pushed.host, 1));
  const Slot slot = queue.Front()->ToSlot();
  CHECK(slot.erased);
  for (std::size_t v = 0; v < 4; ++v) CHECK(slot.packets[v].size() == 1275);
  CHECK(slot.packets[3].data() == slot.packets[0].data());
}

TEST_CASE("SlotQueue: a source's packet comes out as it was, among slots", "[slot_queue]") {
  SlotQueue queue(3);
  const TestSlot slot(1);
  const std::vector<std::uint8_t> opus(2000, 9);
  REQUIRE(queue.Push(1, 4, slot.slot, slot.host, 1));
  REQUIRE(queue.PushSourcePacket(2, 500, 480, opus, true));
  REQUIRE(queue.Push(1, 4, slot.slot, slot.host, 1));
  CHECK_FALSE(queue.PushSourcePacket(2, 501, 0, opus, false));
  CHECK(queue.Front()->kind == ReferenceKind::kVariantPackets);
  queue.Pop();
  CHECK(queue.Front()->kind == ReferenceKind::kSourcePackets);
  CHECK(queue.Front()->recording == 2);
  CHECK(queue.Front()->packet == 500);
  CHECK(queue.Front()->offset_samples == 480);
  CHECK(std::vector<std::uint8_t>(queue.Front()->source_packet().begin(), queue.Front()->source_packet().end()) == opus);
  queue.Pop();
  CHECK(queue.Front()->kind == ReferenceKind::kVariantPackets);
  CHECK_FALSE(queue.PushSourcePacket(2, 501, 0, std::vector<std::uint8_t>(8 * kMaxPacketBytes + 1), false));
}

TEST_CASE("SlotQueue: a full one refuses and keeps what it has", "[slot_queue]") {
  SlotQueue queue(2);
  const TestSlot slot(1);
  CHECK(queue.Push(1, 4, slot.slot, slot.host, 1));
  CHECK(queue.Push(2, 4, slot.slot, slot.host, 1));
  CHECK_FALSE(queue.Push(3, 4, slot.slot, slot.host, 1));
  queue.Pop();
  CHECK(queue.Push(4, 4, slot.slot, slot.host, 1));
  CHECK(queue.Front()->recording == 2);
}

TEST_CASE("SlotQueue: of two channels the mean is kept", "[slot_queue]") {
  SlotQueue queue(1);
  TestSlot slot(1);
  slot.host.assign(2 * kPacketSamples, 0);
  slot.host[0] = 1;
  slot.host[1] = 0.5F;
  REQUIRE(queue.Push(1, 4, slot.slot, slot.host, 2));
  CHECK(queue.Front()->mono[0] == 0.75F);
  CHECK(queue.Front()->mono[1] == 0);
}

TEST_CASE("SlotQueue: one thread pushes while another pops, and nothing is lost or torn", "[slot_queue]") {
  constexpr int kSlots = 20000;
  SlotQueue queue(16);
  std::thread media([&] {
    for (int i = 0; i < kSlots; ++i) {
      const TestSlot slot(i % 60);
      while (!queue.Push(i, 4, slot.slot, slot.host, 1)) std::this_thread::yield();
    }
  });
  int wrong = 0;
  for (int i = 0; i < kSlots;) {
    const QueuedSlot* const front = queue.Front();
    if (front == nullptr) {
      std::this_thread::yield();
      continue;
    }
    const Slot slot = front->ToSlot();
    wrong += front->recording != i || slot.packet != i % 60 || slot.packets[3][79] != i % 60 * 4 + 3 ||
                     front->mono[kPacketSamples - 1] != static_cast<float>(i % 60)
                 ? 1
                 : 0;
    queue.Pop();
    ++i;
  }
  media.join();
  CHECK(wrong == 0);
}

TEST_CASE("SlotQueue: pushing does not allocate", "[slot_queue]") {
  SlotQueue queue(2);
  const TestSlot slot(1, 1275);
  const auto before = NumAllocations();
  (void)queue.Push(1, 4, slot.slot, slot.host, 1);
  (void)queue.Push(1, 4, slot.slot, slot.host, 1);
  queue.Pop();
  (void)queue.PushSourcePacket(1, 1, 0, slot.bytes[0], false);
  CHECK(NumAllocations() == before);
}

}  // namespace
}  // namespace earmark
