#include "dsp/reference/reference_chunk.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/support/marked_stream.h"
#include "tests/support/random.h"

namespace earmark {
namespace {

// Packets of random bytes, with their owner.
struct Slots {
  explicit Slots(int num_slots, int num_variants, std::uint64_t seed) {
    Random random(seed);
    for (int i = 0; i < num_slots; ++i) {
      Slot slot;
      slot.erased = random.Below(10) == 0;
      const auto length = static_cast<std::size_t>(i == 0 ? kMaxPacketBytes : i == 1 ? 1 : 1 + random.Below(200));
      for (std::size_t v = 0; v < static_cast<std::size_t>(num_variants); ++v) {
        if (slot.erased && v > 0) {
          slot.packets[v] = slot.packets[0];
          continue;
        }
        auto& bytes = packets.emplace_back(length);
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.Bits());
        slot.packets[v] = bytes;
      }
      slots.push_back(slot);
    }
  }
  std::vector<std::vector<std::uint8_t>> packets;
  std::vector<Slot> slots;
};

std::vector<std::uint8_t> Seal(const Slots& slots, int num_variants, const Key& key, const ChunkContext& context) {
  ReferenceChunkBuilder builder(num_variants);
  for (const Slot& slot : slots.slots) builder.Add(slot);
  return builder.Seal(key, context);
}

constexpr ChunkContext kContext{.stream_id = "room", .source = 1, .first_packet = 1500};

void CheckDamaged(const Result<ReferenceChunkData>& opened) {
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code == ErrorCode::kDataLoss);
}

TEST_CASE("ReferenceChunk: what was added comes out again", "[reference_chunk]") {
  for (const int q : {1, 2, 4, 8}) {
    const Slots slots(kPacketsPerChunk, q, static_cast<std::uint64_t>(q));
    ReferenceChunkBuilder builder(q);
    int erased = 0;
    for (const Slot& slot : slots.slots) {
      builder.Add(slot);
      erased += slot.erased ? 1 : 0;
    }
    CHECK(builder.num_packets() == kPacketsPerChunk);
    CHECK(builder.num_erased() == erased);
    const auto sealed = builder.Seal(TestKey(1), kContext);
    CHECK(builder.num_packets() == 0);
    CHECK(builder.num_erased() == 0);
    const auto opened = Get(ReferenceChunkData::Open(sealed, TestKey(1), kContext));
    CHECK(opened.num_variants() == q);
    REQUIRE(opened.num_packets() == kPacketsPerChunk);
    bool same = true;
    for (int i = 0; i < kPacketsPerChunk; ++i) {
      const Slot& before = slots.slots[static_cast<std::size_t>(i)];
      const Slot after = opened.SlotAt(i);
      same = same && before.erased == after.erased;
      for (std::size_t v = 0; v < static_cast<std::size_t>(q); ++v) {
        same = same && std::equal(before.packets[v].begin(), before.packets[v].end(), after.packets[v].begin(), after.packets[v].end());
      }
    }
    CHECK(same);
  }
}

TEST_CASE("ReferenceChunk: an erased slot is kept once", "[reference_chunk]") {
  const std::vector<std::uint8_t> packet(100, 7);
  Slot slot;
  for (auto& p : slot.packets) p = packet;
  ReferenceChunkBuilder builder(4);
  builder.Add(slot);
  const auto full = builder.Seal(TestKey(1), kContext).size();
  slot.erased = true;
  builder.Add(slot);
  CHECK(builder.Seal(TestKey(1), kContext).size() == full - 300);
}

TEST_CASE("ReferenceChunk: gaps keep their place and cost two bytes a packet", "[reference_chunk]") {
  const Slots slots(20, 4, 4);
  ReferenceChunkBuilder builder(4);
  builder.AddGap(2);
  for (const Slot& slot : slots.slots) builder.Add(slot);
  const int erased = builder.num_erased();
  builder.AddGap(0);
  builder.AddGap(7);
  builder.Add(slots.slots[0]);
  CHECK(builder.num_packets() == 30);
  CHECK(builder.num_erased() == erased + (slots.slots[0].erased ? 1 : 0));
  const auto opened = Get(ReferenceChunkData::Open(builder.Seal(TestKey(1), kContext), TestKey(1), kContext));
  REQUIRE(opened.num_packets() == 30);
  for (int i = 0; i < 30; ++i) {
    const Slot slot = opened.SlotAt(i);
    const bool gap = i < 2 || (i >= 22 && i < 29);
    INFO(i);
    CHECK(slot.erased == (!gap && slots.slots[static_cast<std::size_t>(i == 29 ? 0 : i - 2)].erased));
    for (std::size_t v = 0; v < 4; ++v) {
      const std::span<const std::uint8_t> expected = gap ? std::span<const std::uint8_t>() : slots.slots[static_cast<std::size_t>(i == 29 ? 0 : i - 2)].packets[v];
      CHECK(std::equal(expected.begin(), expected.end(), slot.packets[v].begin(), slot.packets[v].end()));
    }
  }
  const auto nothing = builder.Seal(TestKey(1), kContext).size();
  builder.AddGap(100);
  CHECK(builder.Seal(TestKey(1), kContext).size() == nothing + 200);
  builder.AddGap(1'000'000);  // a caller's mistake is bounded
  CHECK(builder.num_packets() == kPacketsPerChunk);
  builder.AddGap(-5);
  CHECK(builder.num_packets() == kPacketsPerChunk);
}

TEST_CASE("ReferenceChunk: a chunk without gaps is laid out as ever", "[reference_chunk]") {
  const std::vector<std::uint8_t> packet(100, 7);
  Slot slot;
  for (auto& p : slot.packets) p = packet;
  ReferenceChunkBuilder builder(4);
  builder.AddGap(1);
  (void)builder.Seal(TestKey(1), kContext);
  builder.Add(slot);  // the gap of the chunk before is forgotten
  const auto sealed = builder.Seal(TestKey(1), kContext);
  CHECK(sealed.size() == 41 + 4 + 2 + 400);
  CHECK(Get(ReferenceChunkData::Open(sealed, TestKey(1), kContext)).num_packets() == 1);
}

TEST_CASE("ReferenceChunk: sealing twice gives other bytes, and both open", "[reference_chunk]") {
  const Slots slots(3, 4, 1);
  const auto a = Seal(slots, 4, TestKey(1), kContext);
  const auto b = Seal(slots, 4, TestKey(1), kContext);
  CHECK(a != b);
  CHECK(ReferenceChunkData::Open(a, TestKey(1), kContext));
  CHECK(ReferenceChunkData::Open(b, TestKey(1), kContext));
}

TEST_CASE("ReferenceChunk: no packet can be seen in the sealed bytes", "[reference_chunk]") {
  const std::string packet = "this very packet was sent to somebody";
  Slot slot;
  for (auto& p : slot.packets) p = {reinterpret_cast<const std::uint8_t*>(packet.data()), packet.size()};
  ReferenceChunkBuilder builder(4);
  for (int i = 0; i < 20; ++i) builder.Add(slot);
  const auto sealed = builder.Seal(TestKey(1), kContext);
  CHECK(std::search(sealed.begin(), sealed.end(), packet.begin(), packet.begin() + 8) == sealed.end());
}

TEST_CASE("ReferenceChunk: another key or another place does not open it", "[reference_chunk]") {
  const auto sealed = Seal(Slots(5, 4, 1), 4, TestKey(1), kContext);
  REQUIRE(ReferenceChunkData::Open(sealed, TestKey(1), kContext));
  CheckDamaged(ReferenceChunkData::Open(sealed, TestKey(2), kContext));
  CheckDamaged(ReferenceChunkData::Open(sealed, Key(), kContext));
  for (const ChunkContext& other : {ChunkContext{.stream_id = "room2", .source = 1, .first_packet = 1500}, ChunkContext{.stream_id = "", .source = 1, .first_packet = 1500},
                                    ChunkContext{.stream_id = "room", .source = 0, .first_packet = 1500}, ChunkContext{.stream_id = "room", .source = 1, .first_packet = 1000},
                                    ChunkContext{.stream_id = "room", .source = 1500, .first_packet = 1}}) {
    CheckDamaged(ReferenceChunkData::Open(sealed, TestKey(1), other));
  }
}

TEST_CASE("ReferenceChunk: any damaged byte, and any length but the true one, is noticed", "[reference_chunk]") {
  const auto sealed = Seal(Slots(20, 4, 2), 4, TestKey(1), kContext);
  Random random(3);
  for (int i = 0; i < 400; ++i) {
    auto damaged = sealed;
    const auto at = static_cast<std::size_t>(i < 60 ? i : random.Below(static_cast<std::int64_t>(sealed.size())));
    damaged[at] ^= static_cast<std::uint8_t>(1 + random.Below(255));
    CheckDamaged(ReferenceChunkData::Open(damaged, TestKey(1), kContext));
  }
  for (std::size_t length = 0; length < sealed.size(); length += length < 100 ? 1 : 97) {
    CheckDamaged(ReferenceChunkData::Open(std::span(sealed).first(length), TestKey(1), kContext));
  }
  auto longer = sealed;
  longer.push_back(0);
  CheckDamaged(ReferenceChunkData::Open(longer, TestKey(1), kContext));
  std::vector<std::uint8_t> noise(5000);
  for (auto& byte : noise) byte = static_cast<std::uint8_t>(random.Bits());
  CheckDamaged(ReferenceChunkData::Open(noise, TestKey(1), kContext));
}

// Sealed under the right key, but not what a builder makes: what a defect or a stolen key could produce.
std::vector<std::uint8_t> SealBytes(const std::vector<std::uint8_t>& plain) {
  std::string associated = "earmark.reference.1";
  const auto append = [&associated](std::uint64_t value) {
    for (int i = 0; i < 8; ++i) associated.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
  };
  append(4);
  associated += "room";
  append(1);
  append(1500);
  std::vector<std::uint8_t> sealed(crypto_secretstream_xchacha20poly1305_HEADERBYTES + plain.size() + crypto_secretstream_xchacha20poly1305_ABYTES);
  crypto_secretstream_xchacha20poly1305_state state;
  crypto_secretstream_xchacha20poly1305_init_push(&state, sealed.data(), TestKey(1).RevealBytes().data());
  crypto_secretstream_xchacha20poly1305_push(&state, sealed.data() + crypto_secretstream_xchacha20poly1305_HEADERBYTES, nullptr, plain.data(), plain.size(),
                                             reinterpret_cast<const unsigned char*>(associated.data()), associated.size(),
                                             crypto_secretstream_xchacha20poly1305_TAG_FINAL);
  return sealed;
}

TEST_CASE("ReferenceChunk: malformed contents are refused, never followed", "[reference_chunk]") {
  const auto open = [](const std::vector<std::uint8_t>& plain) { return ReferenceChunkData::Open(SealBytes(plain), TestKey(1), kContext); };
  CHECK(open({1, 4, 0, 0}));                                  // no packets
  CHECK(open({1, 2, 1, 0, 1, 0, 9, 9}));                      // one packet of one byte, two variants
  CheckDamaged(open({1, 0, 0, 0}));                           // no variants
  CheckDamaged(open({1, 9, 0, 0}));                           // too many
  CheckDamaged(open({1, 2, 1, 0}));                           // a packet is announced and missing
  CheckDamaged(open({1, 2, 1, 0, 1}));                        // half a length
  CheckDamaged(open({1, 2, 1, 0, 1, 0, 9}));                  // one variant missing
  CheckDamaged(open({1, 2, 1, 0, 0, 0}));                     // a length of nothing
  CheckDamaged(open({1, 2, 1, 0, 1, 0, 9, 9, 9}));            // a byte too many
  CheckDamaged(open({1, 2, 1, 0, 0xFF, 0x7F, 9, 9}));         // longer than any packet
  CheckDamaged(open({1, 8, 0xFF, 0xFF, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8}));
  // Version 2 has gaps.
  CHECK(open({2, 4, 0, 0}));
  CHECK(open({2, 2, 2, 0, 0, 0, 1, 0, 9, 9}));
  CHECK(open({2, 2, 1, 0, 0, 0}));
  CheckDamaged(open({2, 2, 1, 0, 0, 0x80}));        // a gap cannot be erased
  CheckDamaged(open({2, 2, 1, 0, 0, 0, 9}));        // a byte too many
  CheckDamaged(open({2, 2, 2, 0, 0, 0}));           // a slot is announced and missing
  CheckDamaged(open({2, 2, 2, 0, 0, 0, 1, 0, 9}));  // one variant missing
  const auto newer = open({3, 4, 0, 0});
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code == ErrorCode::kFailedPrecondition);
  // Random contents under a valid seal: any outcome but a crash (sanitizers look).
  Random random(5);
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::uint8_t> plain(static_cast<std::size_t>(random.Below(200)));
    for (auto& byte : plain) byte = static_cast<std::uint8_t>(random.Below(6));
    if (!plain.empty()) plain[0] = static_cast<std::uint8_t>(1 + i % 2);
    const auto opened = open(plain);
    if (!opened) continue;
    for (int p = 0; p < opened->num_packets(); ++p) {
      const Slot slot = opened->SlotAt(p);
      unsigned sum = 0;
      for (int v = 0; v < opened->num_variants(); ++v) {
        for (const auto byte : slot.packets[static_cast<std::size_t>(v)]) sum += byte;
      }
      CHECK(sum < 1'000'000);
    }
  }
}

}  // namespace
}  // namespace earmark
