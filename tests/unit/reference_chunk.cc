#include "dsp/reference/reference_chunk.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <utility>
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
        same = same &&
               std::equal(before.packets[v].begin(), before.packets[v].end(), after.packets[v].begin(), after.packets[v].end());
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
      const std::span<const std::uint8_t> expected =
          gap ? std::span<const std::uint8_t>() : slots.slots[static_cast<std::size_t>(i == 29 ? 0 : i - 2)].packets[v];
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

// An Opus packet of `num_bytes` whose content is noise: one frame, of 20 ms unless another TOC is given.
std::vector<std::uint8_t> OpusPacket(std::size_t num_bytes, Random& random, std::uint8_t toc = 0xF8) {
  std::vector<std::uint8_t> packet(num_bytes);
  for (auto& byte : packet) byte = static_cast<std::uint8_t>(random.Bits());
  packet[0] = toc;
  return packet;
}

constexpr std::uint8_t kToc2Point5Ms = 0xE0;
constexpr std::uint8_t kToc10Ms = 0xF0;
constexpr std::uint8_t kToc60Ms = 0x18;

struct SourcePackets {
  void Add(int start_samples, std::vector<std::uint8_t> bytes) {
    starts.push_back(start_samples);
    packets.push_back(std::move(bytes));
    INFO(start_samples);
    const auto added = builder.AddSourcePacket(start_samples / kPacketSamples, start_samples % kPacketSamples, packets.back());
    CHECK(added);
  }
  // That the opened chunk holds just these.
  void Check(const ReferenceChunkData& opened) const {
    CHECK(opened.is_source_packets());
    CHECK(opened.num_variants() == 1);
    REQUIRE(opened.num_source_packets() == static_cast<int>(packets.size()));
    for (std::size_t i = 0; i < packets.size(); ++i) {
      const SourcePacketRecord record = opened.SourcePacketAt(static_cast<int>(i));
      INFO(i);
      CHECK(record.packet * kPacketSamples + record.offset_samples == starts[i]);
      CHECK((record.offset_samples >= 0 && record.offset_samples < kPacketSamples));
      CHECK(std::equal(record.opus.begin(), record.opus.end(), packets[i].begin(), packets[i].end()));
    }
  }
  ReferenceChunkBuilder builder = ReferenceChunkBuilder::ForSourcePackets();
  std::vector<int> starts;
  std::vector<std::vector<std::uint8_t>> packets;
};

TEST_CASE("ReferenceChunk: a source's packets come out again, whatever their durations and starts", "[reference_chunk]") {
  Random random(6);
  SourcePackets source;
  source.Add(317, OpusPacket(50, random));  // not on the grid
  source.Add(1277, OpusPacket(1, random));  // at its end; silence
  source.Add(2237, OpusPacket(kMaxPacketBytes, random));
  source.Add(3197 + 5 * 960, OpusPacket(63, random, kToc10Ms));  // after five lost ones
  source.Add(8477, OpusPacket(64, random, kToc2Point5Ms));
  source.Add(8597, OpusPacket(300, random, kToc60Ms));
  source.Add(9000, OpusPacket(20, random));  // before the end of the one before
  source.Add(9001, OpusPacket(20, random));
  CHECK(source.builder.num_packets() == 12);
  source.builder.AddGap(3);
  std::vector<std::uint8_t> longest(kMaxSourcePacketBytes, 1);
  longest[0] = 0xE3;  // frames of 2.5 ms, of any number,
  longest[1] = 48;    // namely this, of one length
  source.Add(14 * 960, longest);
  source.Add(479'999, OpusPacket(30, random, kToc60Ms));  // goes on beyond the chunk's end
  CHECK(source.builder.num_packets() == kPacketsPerChunk);
  CHECK(source.builder.num_erased() == 0);
  const auto opened = Get(ReferenceChunkData::Open(source.builder.Seal(TestKey(1), kContext), TestKey(1), kContext));
  CHECK(opened.num_packets() == kPacketsPerChunk);
  source.Check(opened);
  CHECK(opened.SlotAt(kPacketsPerChunk - 1).packets[0].empty());  // it has no slots
}

TEST_CASE("ReferenceChunk: source packets and how far their chunk reaches begin anew when it is sealed", "[reference_chunk]") {
  Random random(7);
  SourcePackets first;
  first.Add(100 * 960, OpusPacket(40, random));
  first.builder.AddGap(9);
  CHECK(Get(ReferenceChunkData::Open(first.builder.Seal(TestKey(1), kContext), TestKey(1), kContext)).num_packets() == 110);
  SourcePackets second;
  second.builder = std::move(first.builder);
  second.Add(5, OpusPacket(40, random));
  CHECK(second.builder.num_packets() == 2);
  second.Check(Get(ReferenceChunkData::Open(second.builder.Seal(TestKey(1), kContext), TestKey(1), kContext)));
  // One without a packet is still one of source packets.
  second.builder.AddGap(7);
  const auto nothing = Get(ReferenceChunkData::Open(second.builder.Seal(TestKey(1), kContext), TestKey(1), kContext));
  CHECK(nothing.is_source_packets());
  CHECK(nothing.num_packets() == 7);
  CHECK(nothing.num_source_packets() == 0);
  const Slots slots(3, 4, 8);
  CHECK_FALSE(Get(ReferenceChunkData::Open(Seal(slots, 4, TestKey(1), kContext), TestKey(1), kContext)).is_source_packets());
}

TEST_CASE("ReferenceChunk: source packets out of order, out of place or not Opus are refused and leave no trace",
          "[reference_chunk]") {
  Random random(8);
  const auto code = [](const Result<void>& result) { return result ? ErrorCode::kInternal : result.error().code; };
  const auto packet = OpusPacket(40, random);
  SourcePackets source;
  source.Add(960, packet);
  auto& builder = source.builder;
  CHECK(code(builder.AddSourcePacket(1, 0, packet)) == ErrorCode::kInvalidArgument);
  CHECK(code(builder.AddSourcePacket(0, 959, packet)) == ErrorCode::kInvalidArgument);
  CHECK(code(builder.AddSourcePacket(2, -1, packet)) == ErrorCode::kInvalidArgument);
  CHECK(code(builder.AddSourcePacket(2, 960, packet)) == ErrorCode::kInvalidArgument);
  CHECK(code(builder.AddSourcePacket(-1, 0, packet)) == ErrorCode::kInvalidArgument);
  CHECK(code(builder.AddSourcePacket(kPacketsPerChunk, 0, packet)) == ErrorCode::kInvalidArgument);
  CHECK(code(builder.AddSourcePacket(2, 0, {})) == ErrorCode::kInvalidArgument);
  const std::vector<std::uint8_t> too_long(kMaxSourcePacketBytes + 1, 0);
  CHECK(code(builder.AddSourcePacket(2, 0, too_long)) == ErrorCode::kInvalidArgument);
  // without a count, of 0 frames, of 140 ms
  for (const std::vector<std::uint8_t>& no_opus : {std::vector<std::uint8_t>{0xFB}, {0xFB, 0}, {0xFB, 7}}) {
    CHECK(code(builder.AddSourcePacket(2, 0, no_opus)) == ErrorCode::kInvalidArgument);
  }
  builder.Add({});
  CHECK(builder.num_packets() == 2);
  source.Check(Get(ReferenceChunkData::Open(builder.Seal(TestKey(1), kContext), TestKey(1), kContext)));
  ReferenceChunkBuilder of_slots(1);
  CHECK(code(of_slots.AddSourcePacket(0, 0, packet)) == ErrorCode::kFailedPrecondition);
}

TEST_CASE("ReferenceChunk: whatever a source sends, a chunk has a bound", "[reference_chunk]") {
  auto builder = ReferenceChunkBuilder::ForSourcePackets();
  std::vector<std::uint8_t> packet(kMaxSourcePacketBytes, 0);
  int added = 0;
  for (; added < kPacketsPerChunk; ++added) {
    const auto result = builder.AddSourcePacket(added, 0, packet);
    if (result) continue;
    CHECK(result.error().code == ErrorCode::kResourceExhausted);
    break;
  }
  CHECK(added == static_cast<int>(kMaxSourceChunkBytes / (kMaxSourcePacketBytes + 3)));
  CHECK(builder.AddSourcePacket(added, 0, std::span(packet).first(9)));
  const auto sealed = builder.Seal(TestKey(1), kContext);
  CHECK(sealed.size() <= kMaxSourceChunkBytes + 41);
  CHECK(ReferenceChunkData::Open(sealed, TestKey(1), kContext));
}

TEST_CASE("ReferenceChunk: source packets cost a twentieth more than their bytes at most, from 16 kb/s on", "[reference_chunk]") {
  Random random(9);
  for (const int bitrate_bps : {16000, 24000, 32000, 64000, 128000}) {
    for (const bool constant : {true, false}) {
      auto builder = ReferenceChunkBuilder::ForSourcePackets();
      const int mean = bitrate_bps / 8 / kPacketsPerSecond;
      std::size_t num_bytes = 0;
      for (int i = 0; i < kPacketsPerChunk; ++i) {
        const int varied = constant ? mean : mean / 2 + static_cast<int>(random.Below(mean + 1));
        const auto packet = OpusPacket(static_cast<std::size_t>(varied), random);
        REQUIRE(builder.AddSourcePacket(i, 0, packet));
        num_bytes += packet.size();
      }
      const auto ratio = static_cast<double>(builder.Seal(TestKey(1), kContext).size()) / static_cast<double>(num_bytes);
      INFO(bitrate_bps << " b/s, " << (constant ? "constant" : "variable"));
      CHECK(ratio < 1.05);
    }
  }
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
  CheckDamaged(ReferenceChunkData::Open(sealed, TestKey(99), kContext));
  for (const ChunkContext& other : {ChunkContext{.stream_id = "room2", .source = 1, .first_packet = 1500},
                                    ChunkContext{.stream_id = "", .source = 1, .first_packet = 1500},
                                    ChunkContext{.stream_id = "room", .source = 0, .first_packet = 1500},
                                    ChunkContext{.stream_id = "room", .source = 1, .first_packet = 1000},
                                    ChunkContext{.stream_id = "room", .source = 1500, .first_packet = 1}}) {
    CheckDamaged(ReferenceChunkData::Open(sealed, TestKey(1), other));
  }
}

TEST_CASE("ReferenceChunk: any damaged byte, and any length but the true one, is noticed", "[reference_chunk]") {
  Random random(3);
  SourcePackets source;
  for (int i = 0; i < 50; ++i) source.Add(i * 960 + i % 3, OpusPacket(static_cast<std::size_t>(1 + random.Below(200)), random));
  const auto sealed =
      GENERATE_COPY(false, true) ? source.builder.Seal(TestKey(1), kContext) : Seal(Slots(20, 4, 2), 4, TestKey(1), kContext);
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
  std::vector<std::uint8_t> sealed(crypto_secretstream_xchacha20poly1305_HEADERBYTES + plain.size() +
                                   crypto_secretstream_xchacha20poly1305_ABYTES);
  crypto_secretstream_xchacha20poly1305_state state;
  crypto_secretstream_xchacha20poly1305_init_push(&state, sealed.data(), TestKey(1).RevealBytes().data());
  crypto_secretstream_xchacha20poly1305_push(&state, sealed.data() + crypto_secretstream_xchacha20poly1305_HEADERBYTES, nullptr,
                                             plain.data(), plain.size(),
                                             reinterpret_cast<const unsigned char*>(associated.data()), associated.size(),
                                             crypto_secretstream_xchacha20poly1305_TAG_FINAL);
  return sealed;
}

TEST_CASE("ReferenceChunk: malformed contents are refused, never followed", "[reference_chunk]") {
  const auto open = [](const std::vector<std::uint8_t>& plain) {
    return ReferenceChunkData::Open(SealBytes(plain), TestKey(1), kContext);
  };
  CHECK(open({1, 4, 0, 0}));                           // no packets
  CHECK(open({1, 2, 1, 0, 1, 0, 9, 9}));               // one packet of one byte, two variants
  CheckDamaged(open({1, 0, 0, 0}));                    // no variants
  CheckDamaged(open({1, 9, 0, 0}));                    // too many
  CheckDamaged(open({1, 2, 1, 0}));                    // a packet is announced and missing
  CheckDamaged(open({1, 2, 1, 0, 1}));                 // half a length
  CheckDamaged(open({1, 2, 1, 0, 1, 0, 9}));           // one variant missing
  CheckDamaged(open({1, 2, 1, 0, 0, 0}));              // a length of nothing
  CheckDamaged(open({1, 2, 1, 0, 1, 0, 9, 9, 9}));     // a byte too many
  CheckDamaged(open({1, 2, 1, 0, 0xFF, 0x7F, 9, 9}));  // longer than any packet
  CheckDamaged(open({1, 8, 0xFF, 0xFF, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8}));
  // Version 2 has gaps.
  CHECK(open({2, 4, 0, 0}));
  CHECK(open({2, 2, 2, 0, 0, 0, 1, 0, 9, 9}));
  CHECK(open({2, 2, 1, 0, 0, 0}));
  CheckDamaged(open({2, 2, 1, 0, 0, 0x80}));        // a gap cannot be erased
  CheckDamaged(open({2, 2, 1, 0, 0, 0, 9}));        // a byte too many
  CheckDamaged(open({2, 2, 2, 0, 0, 0}));           // a slot is announced and missing
  CheckDamaged(open({2, 2, 2, 0, 0, 0, 1, 0, 9}));  // one variant missing
  // Version 3 has source packets: twice the length, and 1 more where a distance follows. 0xF8 is one of 20 ms.
  CHECK(open({3, 1, 0, 0}));
  CHECK(open({3, 1, 2, 0}));
  CHECK(open({3, 1, 2, 0, 2, 0xF8, 4, 0xF8, 9}));
  CHECK(open({3, 1, 1, 0, 3, 0xFE, 0x0E, 0xF8}));                  // 959 behind the start
  CHECK(open({3, 1, 2, 0, 2, 0xF8, 3, 0xFD, 0x0E, 0xF8}));         // 959 before the end of the one before: 1 behind its start
  CheckDamaged(open({3, 1, 2, 0, 2, 0xF8, 3, 0xFF, 0x0E, 0xF8}));  // at its start
  CheckDamaged(open({3, 1, 1, 0, 3, 0x01, 0xF8}));                 // before the chunk
  CheckDamaged(open({3, 1, 1, 0, 3, 0x80, 0x0F, 0xF8}));           // 960 behind the start of a chunk of one slot
  CheckDamaged(open({3, 1, 0, 0, 2, 0xF8}));                       // a packet in a chunk of no slots
  CheckDamaged(open({3, 0, 0, 0}));                                // not one a slot
  CheckDamaged(open({3, 2, 0, 0}));
  CheckDamaged(open({3, 1, 0xF5, 1}));           // 501 slots
  CheckDamaged(open({3, 1, 1, 0, 0}));           // a length of nothing
  CheckDamaged(open({3, 1, 1, 0, 4, 0xF8}));     // a byte too few
  CheckDamaged(open({3, 1, 1, 0, 2, 0xF8, 7}));  // a byte too many
  CheckDamaged(open({3, 1, 1, 0, 3}));           // a distance is announced and missing
  CheckDamaged(open({3, 1, 1, 0, 0x82}));        // half a length
  CheckDamaged(open({3, 1, 1, 0, 2, 0xFB}));     // no Opus packet
  CheckDamaged(open({3, 1, 1, 0, 4, 0xFB, 0}));
  CheckDamaged(open({3, 1, 1, 0, 0x82, 0x80, 0x80, 0x80, 0, 0xF8}));  // a length of five bytes
  CheckDamaged(open({3, 1, 1, 0, 0xFE, 0xFF, 0xFF, 0x7F, 0xF8}));     // longer than any packet
  CheckDamaged(open({3, 1, 1, 0, 3, 0xFE, 0xFF, 0xFF, 0x7F, 0xF8}));  // farther than any
  const auto newer = open({4, 4, 0, 0});
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code == ErrorCode::kFailedPrecondition);
  // Random contents under a valid seal: any outcome but a crash (sanitizers look).
  Random random(5);
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::uint8_t> plain(static_cast<std::size_t>(random.Below(200)));
    for (auto& byte : plain) byte = static_cast<std::uint8_t>(random.Below(6));
    if (!plain.empty()) plain[0] = static_cast<std::uint8_t>(1 + i % 3);
    const auto opened = open(plain);
    if (!opened) continue;
    for (int s = 0; s < opened->num_source_packets(); ++s) CHECK(opened->SourcePacketAt(s).packet < opened->num_packets());
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
