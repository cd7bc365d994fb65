// Hard cases of RTP as relays really send it, without a socket: packets and times in, numbers out.
#include "dsp/rtp/source_clock.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "tests/support/allocation_counter.h"
#include "tests/support/random.h"

namespace earmark {
namespace {

struct Given {
  std::int64_t packet;
  int offset_samples;
  int num_lost;
  std::int64_t number;
  bool after_pause;
  bool late;
  std::vector<std::uint8_t> payload;

  std::uint16_t sent() const { return static_cast<std::uint16_t>(payload[1] << 8 | payload[2]); }
};

// A source whose packets say in their payload which one of it they are; time runs as the test says.
class Room {
 public:
  static constexpr std::int64_t kPacketUs = 20'000;

  explicit Room(std::int64_t now_us = 10'007'000, const SourceClock::Options& options = {}) : now_us_(now_us), clock_(options) {
    given_.reserve(100'000);
  }

  void Wait(std::int64_t us) { now_us_ += us; }
  // Arrives now; time stands still.
  void Arrives(std::uint16_t sequence, std::uint32_t timestamp, std::uint32_t ssrc = 1,
               std::uint8_t toc = 0xF8 /* CELT, 20 ms */) {
    const std::vector<std::uint8_t> payload = {toc, static_cast<std::uint8_t>(sequence >> 8),
                                               static_cast<std::uint8_t>(sequence)};
    clock_.Push({.header = {.payload_type = 111, .sequence = sequence, .timestamp = timestamp, .ssrc = ssrc}, .payload = payload},
                now_us_, Sink());
  }
  void Padding(std::uint16_t sequence, std::uint32_t timestamp) {
    clock_.Push({.header = {.payload_type = 111, .sequence = sequence, .timestamp = timestamp, .ssrc = 1}, .payload = {}},
                now_us_, Sink());
  }
  void Tick() { clock_.Tick(now_us_, Sink()); }
  // The next packet of the running source arrives, 20 ms after the one before.
  void Next(std::uint32_t ssrc = 1) {
    Arrives(sequence_++, timestamp_, ssrc);
    timestamp_ += 960;
    Wait(kPacketUs);
  }
  void NextFew(int count, std::uint32_t ssrc = 1) {
    for (int i = 0; i < count; ++i) Next(ssrc);
  }
  void Lose(int count) {
    sequence_ = static_cast<std::uint16_t>(sequence_ + count);
    timestamp_ += static_cast<std::uint32_t>(960 * count);
    Wait(kPacketUs * count);
  }

  std::int64_t room_packet() const { return now_us_ / kPacketUs; }
  std::int64_t last() const { return given_.back().packet; }
  const std::vector<Given>& given() const { return given_; }
  const SourceClock::Counts& counts() const { return clock_.counts(); }
  bool Increasing() const {
    return std::adjacent_find(given_.begin(), given_.end(),
                              [](const Given& a, const Given& b) { return b.packet <= a.packet; }) == given_.end();
  }
  // From the i-th given one on, numbers go on one by one.
  bool GaplessFrom(std::size_t i) const {
    for (++i; i < given_.size(); ++i) {
      if (given_[i].packet != given_[i - 1].packet + 1) return false;
    }
    return true;
  }

  std::uint16_t sequence_ = 1000;
  std::uint32_t timestamp_ = 500'000;

 private:
  SourcePacketSink Sink() {
    return [this](const SourcePacket& p) {
      given_.push_back(
          {p.packet, p.offset_samples, p.num_lost, p.number, p.after_pause, p.late, {p.payload.begin(), p.payload.end()}});
    };
  }
  std::int64_t now_us_;
  SourceClock clock_;
  std::vector<Given> given_;
};

TEST_CASE("SourceClock: a source starts at the number of its arrival and goes on from there", "[source_clock]") {
  Room room(10'007'000);
  room.NextFew(500);
  REQUIRE(room.given().size() == 500);
  CHECK(room.given()[0].packet == 500);
  CHECK(room.GaplessFrom(0));
  CHECK(room.counts().lost + room.counts().late + room.counts().reanchored + room.counts().restarts == 0);
}

TEST_CASE("SourceClock: sequence numbers and timestamps wrap", "[source_clock]") {
  Room room;
  room.sequence_ = 65'500;
  room.timestamp_ = 0xFFFFFFFFU - 960 * 60;
  room.NextFew(70'000);
  CHECK(room.given().size() == 70'000);
  CHECK(room.GaplessFrom(0));
  CHECK(room.counts().reanchored == 0);
}

TEST_CASE("SourceClock: jitter moves nothing", "[source_clock]") {
  Room room;
  Random random(1);
  std::int64_t late_us = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::int64_t jitter_us = random.Below(80'000);
    // In order, but unevenly.
    room.Wait(std::max<std::int64_t>(0, jitter_us - late_us));
    late_us = std::max(late_us, jitter_us);
    room.Next();
    const std::int64_t back = std::min<std::int64_t>(Room::kPacketUs, late_us);
    room.Wait(-back);
    late_us -= back;
  }
  CHECK(room.given().size() == 3000);
  CHECK(room.GaplessFrom(0));
  CHECK(room.counts().reanchored == 0);
}

TEST_CASE("SourceClock: a lost packet is a gap with a number", "[source_clock]") {
  Room room;
  room.NextFew(10);
  room.Lose(3);
  room.NextFew(10);
  REQUIRE(room.given().size() == 20);
  CHECK(room.given()[10].packet == room.given()[9].packet + 4);
  CHECK(room.given()[10].num_lost == 3);
  CHECK(room.given()[11].num_lost == 0);
  CHECK(room.GaplessFrom(10));
  CHECK(room.counts().lost == 3);
}

TEST_CASE("SourceClock: disorder is put in order, within bounds", "[source_clock]") {
  Room room;
  room.NextFew(5);
  const auto s = room.sequence_;
  const auto t = room.timestamp_;
  for (const int i : {1, 2, 0, 4, 3}) room.Arrives(static_cast<std::uint16_t>(s + i), t + 960 * static_cast<std::uint32_t>(i));
  REQUIRE(room.given().size() == 10);
  CHECK(room.GaplessFrom(0));
  for (std::size_t i = 1; i < 10; ++i) CHECK(room.given()[i].sent() == room.given()[i - 1].sent() + 1);
  // Three behind it are as many as one waits for.
  for (const int i : {6, 7, 8, 5}) room.Arrives(static_cast<std::uint16_t>(s + i), t + 960 * static_cast<std::uint32_t>(i));
  REQUIRE(room.given().size() == 13);
  CHECK(room.given()[10].num_lost == 1);
  CHECK(room.counts().late == 1);
}

TEST_CASE("SourceClock: one waits no longer than 60 ms", "[source_clock]") {
  Room room;
  room.NextFew(5);
  room.Lose(1);
  room.Next();
  room.Tick();
  CHECK(room.given().size() == 5);
  room.Wait(SourceClock::kReorderUs);
  room.Tick();
  REQUIRE(room.given().size() == 6);
  CHECK(room.given()[5].num_lost == 1);
}

TEST_CASE("SourceClock: what comes twice goes on once", "[source_clock]") {
  Room room;
  for (int i = 0; i < 100; ++i) {
    room.Arrives(room.sequence_, room.timestamp_);
    room.Next();
    // resent after a NACK
    if (i % 10 == 9) room.Arrives(static_cast<std::uint16_t>(room.sequence_ - 8), room.timestamp_ - 8 * 960);
  }
  CHECK(room.given().size() == 100);
  CHECK(room.GaplessFrom(0));
  CHECK(room.counts().duplicate == 110);
  CHECK(room.counts().late == 0);
  // Held ones as well.
  room.Arrives(static_cast<std::uint16_t>(room.sequence_ + 1), room.timestamp_ + 960);
  room.Arrives(static_cast<std::uint16_t>(room.sequence_ + 1), room.timestamp_ + 960);
  CHECK(room.counts().duplicate == 111);
}

TEST_CASE("SourceClock: a late packet from before the wrap is late, not the future", "[source_clock]") {
  Room room;
  room.sequence_ = 65'530;
  room.NextFew(3);
  const auto missing = room.sequence_;
  const auto missing_timestamp = room.timestamp_;
  room.Lose(1);
  room.NextFew(10);
  const auto given = room.given().size();
  room.Arrives(missing, missing_timestamp);
  room.NextFew(5);
  CHECK(room.given().size() == given + 5);
  CHECK(room.counts().late == 1);
  CHECK(room.GaplessFrom(given - 1));
}

TEST_CASE("SourceClock: a sequence that restarts under the same SSRC goes on by arrival", "[source_clock]") {
  for (const int new_sequence : {40'000, 0, 900, 995, 5}) {
    for (const std::uint32_t new_timestamp : {0U, 77'777'777U, 4'000'000'000U}) {
      Room room;
      room.NextFew(100);
      room.sequence_ = static_cast<std::uint16_t>(new_sequence + 100);
      room.timestamp_ = new_timestamp;
      room.Wait(300'000);
      room.NextFew(100);
      INFO(new_sequence << ", " << new_timestamp);
      CHECK(room.given().size() >= 190);
      CHECK(room.Increasing());
      CHECK(std::abs(room.last() - room.room_packet()) <= 2);
    }
  }
}

TEST_CASE("SourceClock: another SSRC takes over after half a second, and the old one does not come back while it sends",
          "[source_clock]") {
  Room room;
  room.NextFew(100, 1);
  room.sequence_ = 60'000;
  room.timestamp_ = 9;
  room.NextFew(100, 2);
  CHECK(room.given().size() >= 170);
  CHECK(room.given().size() <= 176);
  CHECK(room.counts().restarts == 1);
  CHECK(room.Increasing());
  CHECK(room.given()[100].num_lost == 0);
  const auto given = room.given().size();
  for (int i = 0; i < 100; ++i) {
    room.Arrives(static_cast<std::uint16_t>(2000 + i), static_cast<std::uint32_t>(960 * i), 1);
    room.Next(2);
  }
  CHECK(room.given().size() == given + 100);
  CHECK(room.GaplessFrom(given - 1));
  // When that one has stopped, the first may come again.
  for (int i = 0; i < 100; ++i) {
    room.Arrives(static_cast<std::uint16_t>(2100 + i), static_cast<std::uint32_t>(96'000 + 960 * i), 1);
    room.Wait(Room::kPacketUs);
  }
  CHECK(room.given().size() > given + 140);
  CHECK(room.Increasing());
}

TEST_CASE("SourceClock: stray packets of another SSRC change nothing", "[source_clock]") {
  Room room;
  for (int i = 0; i < 300; ++i) {
    room.Next(1);
    if (i % 25 == 0) room.Arrives(7, 7, 99);
    if (i % 3 == 0) room.Arrives(7, 7, static_cast<std::uint32_t>(1000 + i));
  }
  CHECK(room.given().size() == 300);
  CHECK(room.GaplessFrom(0));
  CHECK(room.counts().other_ssrc == 112);
}

TEST_CASE("SourceClock: over a pause time goes on, whatever the timestamps do", "[source_clock]") {
  for (const std::int64_t pause_us : {600'000, 10'000'000}) {
    for (const int kind : {0, 1, 2, 3}) {
      Room room;
      room.NextFew(100);
      room.Wait(pause_us);
      if (kind == 0) room.timestamp_ += static_cast<std::uint32_t>(pause_us * 48 / 1000);  // ran on, as it should
      if (kind == 1) room.timestamp_ += 0;                                                 // frozen
      if (kind == 2) room.timestamp_ += 1'000'000'000;                                     // jumped ahead
      if (kind == 3) room.timestamp_ -= 123'456;                                           // ran backwards
      room.NextFew(300);
      INFO("kind " << kind << ", pause " << pause_us);
      CHECK(room.Increasing());
      CHECK(room.given().size() >= 398);
      // In its place again, within the drift that is left alone.
      CHECK(std::abs(room.last() - (room.room_packet() - 1)) <= 5);
      CHECK(std::all_of(room.given().begin() + 105, room.given().end(), [](const Given& g) { return g.num_lost <= 1; }));
    }
  }
}

TEST_CASE("SourceClock: one packet with timestamp 0 costs nothing", "[source_clock]") {
  Room room;
  room.NextFew(50);
  const auto keep = room.timestamp_;
  room.timestamp_ = 0;
  room.Next();
  room.timestamp_ = keep + 960;
  room.NextFew(50);
  CHECK(room.given().size() == 101);
  CHECK(room.GaplessFrom(0));
}

TEST_CASE("SourceClock: timestamps that stand still while sound goes on are not believed", "[source_clock]") {
  Room room;
  room.NextFew(50);
  for (int i = 0; i < 50; ++i) {
    room.timestamp_ -= 960;
    room.Next();
  }
  CHECK(room.given().size() == 100);
  CHECK(room.GaplessFrom(0));
}

TEST_CASE("SourceClock: packets of padding alone take up no time", "[source_clock]") {
  Room room;
  for (int i = 0; i < 100; ++i) {
    room.Next();
    if (i % 5 == 0) room.Padding(room.sequence_++, room.timestamp_ - 960);
  }
  CHECK(room.given().size() == 100);
  CHECK(room.GaplessFrom(0));
  CHECK(room.counts().lost == 0);
}

TEST_CASE("SourceClock: a burst after a stall is no drift", "[source_clock]") {
  Room room;
  room.NextFew(200);
  for (const int stalled : {10, 40}) {  // 200 and 800 ms
    room.Wait(stalled * Room::kPacketUs);
    for (int i = 0; i < stalled; ++i) {
      room.Next();
      room.Wait(-Room::kPacketUs);
    }
    room.NextFew(200);
  }
  CHECK(room.given().size() == 650);
  CHECK(room.GaplessFrom(0));
  CHECK(room.counts().reanchored == 0);
}

TEST_CASE("SourceClock: of a stall of seconds what is too late is dropped, and the rest is in its place", "[source_clock]") {
  Room room;
  room.NextFew(200);
  room.Wait(150 * Room::kPacketUs);
  for (int i = 0; i < 150; ++i) {
    room.Next();
    room.Wait(-Room::kPacketUs);
  }
  room.NextFew(200);
  CHECK(room.given().size() >= 445);
  CHECK(room.Increasing());
  CHECK(room.last() == room.room_packet() - 1);
  CHECK(room.counts().reanchored == 0);
}

TEST_CASE("SourceClock: a gap of an hour is one step", "[source_clock]") {
  constexpr std::int64_t kHourUs = 3'600'000'000;
  for (const int lost : {0, 180'000}) {
    Room room;
    room.NextFew(50);
    room.sequence_ = static_cast<std::uint16_t>(room.sequence_ + lost);
    room.timestamp_ += static_cast<std::uint32_t>(kHourUs * 48 / 1000);
    room.Wait(kHourUs);
    room.NextFew(50);
    CHECK(room.given().size() >= 99);
    CHECK(room.Increasing());
    CHECK(std::abs(room.last() - (room.room_packet() - 1)) <= 1);
  }
}

TEST_CASE("SourceClock: clocks that run apart are brought together again", "[source_clock]") {
  // 0.1 %: far more than crystals do, so that the test is short. 100 ms are reached after 100 s.
  for (const int drift_us : {20, -20}) {
    Room room;
    std::int64_t worst = 0;
    for (int i = 0; i < 30'000; ++i) {
      room.Next();
      room.Wait(drift_us);
      worst = std::max(worst, std::abs(room.last() - (room.room_packet() - 1)));
    }
    INFO("drift " << drift_us);
    CHECK(room.Increasing());
    CHECK(worst <= 8);
    CHECK(room.counts().reanchored >= 4);
    CHECK(room.counts().reanchored <= 8);
    CHECK(room.given().size() >= 29'950);
  }
}

TEST_CASE("SourceClock: packets of other durations", "[source_clock]") {
  struct Shape {
    std::uint8_t toc;
    std::uint32_t samples;
  };
  // CELT of 2.5, 5 and 10 ms; SILK of 40 and 60 ms.
  for (const Shape& shape : {Shape{0xE0, 120}, Shape{0xE8, 240}, Shape{0xF0, 480}, Shape{0x10, 1920}, Shape{0x18, 2880}}) {
    Room room(10'000'000);
    for (std::uint32_t i = 0; i < 480; ++i) {
      room.Arrives(static_cast<std::uint16_t>(i), 77 + i * shape.samples, 1, shape.toc);
      room.Wait(shape.samples * 1000 / 48);
    }
    REQUIRE(room.given().size() == 480);
    bool right = true;
    for (std::size_t i = 0; i < 480; ++i)
      right = right && room.given()[i].packet == 500 + static_cast<std::int64_t>(i) * shape.samples / 960;
    INFO(shape.samples);
    CHECK(right);
  }
  // Of long packets, a lost one is as many slots as it lasts.
  Room room(10'000'000);
  for (const std::uint32_t i : {0U, 1U, 3U, 4U}) room.Arrives(static_cast<std::uint16_t>(i), i * 2880, 1, 0x18);
  room.Arrives(5, 5 * 2880, 1, 0x18);
  REQUIRE(room.given().size() == 5);
  CHECK(room.given()[2].packet == 509);
  CHECK(room.given()[2].num_lost == 3);
}

TEST_CASE("SourceClock: whatever comes, numbers increase, nothing is given twice and nothing allocates", "[source_clock]") {
  Random random(3);
  SourceClock clock;
  const std::vector<std::uint8_t> payload(200, 0x78);
  std::int64_t last = -1;
  bool increasing = true;
  const SourcePacketSink sink = [&](const SourcePacket& p) {
    increasing = increasing && p.packet > last && p.num_lost >= 0 && p.num_lost < p.packet - last;
    last = p.packet;
  };
  std::uint16_t sequence = 0;
  std::uint32_t timestamp = 0;
  std::uint32_t ssrc = 1;
  std::int64_t now_us = 0;
  const auto before = NumAllocations();
  for (int i = 0; i < 200'000; ++i) {
    const auto dice = random.Below(200);
    if (dice == 0) sequence = static_cast<std::uint16_t>(random.Bits());
    if (dice == 1) timestamp = static_cast<std::uint32_t>(random.Bits());
    if (dice == 2) ssrc = static_cast<std::uint32_t>(random.Below(4));
    if (dice == 3) now_us += random.Below(3'000'000);
    if (dice < 20) sequence = static_cast<std::uint16_t>(sequence + random.Below(9) - 4);
    const auto size = dice == 50 ? 0 : payload.size();
    clock.Push(
        {.header = {.sequence = sequence++, .timestamp = timestamp, .ssrc = ssrc}, .payload = std::span(payload).first(size)},
        now_us, sink);
    timestamp += 960;
    now_us += random.Below(40'000);
    if (dice == 100) clock.Tick(now_us, sink);
  }
  CHECK(NumAllocations() == before);
  CHECK(increasing);
  CHECK(last > 100'000);
}

constexpr SourceClock::Options kAsItComes = {.wait_for_order = false};

TEST_CASE("SourceClock: without patience packets go on at once, and late ones in their place and under their number",
          "[source_clock]") {
  Room room(10'000'000, kAsItComes);
  room.NextFew(5);
  const auto s = room.sequence_;
  const auto t = room.timestamp_;
  for (const int i : {1, 2, 0, 2, 6, 5, -1})
    room.Arrives(static_cast<std::uint16_t>(s + i), t + 960 * static_cast<std::uint32_t>(i));
  REQUIRE(room.given().size() == 10);
  const std::vector<std::int64_t> wanted = {0, 1, 2, 3, 4, 6, 7, 5, 11, 10};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CHECK(room.given()[i].packet == 500 + wanted[i]);
    CHECK(room.given()[i].number == 500 + wanted[i]);
    CHECK(room.given()[i].late == (wanted[i] == 5 || wanted[i] == 10));
    CHECK(room.given()[i].after_pause == (i == 0));
  }
  CHECK(room.counts().lost == 2);
  CHECK(room.counts().late == 2);
  CHECK(room.counts().duplicate == 2);
}

TEST_CASE("SourceClock: nothing is placed where an earlier one has given out", "[source_clock]") {
  for (const std::int64_t first_packet : {480, 500, 520}) {
    Room room(10'007'000, {.wait_for_order = false, .first_packet = first_packet});
    room.NextFew(10);
    REQUIRE(room.given().size() == 10);
    CHECK(room.given()[0].packet == std::max<std::int64_t>(500, first_packet));
    CHECK(room.given()[0].num_lost == 0);
    CHECK(room.GaplessFrom(0));
  }
}

TEST_CASE("SourceClock: without patience, what is late by far or of before a start is dropped", "[source_clock]") {
  Room room(10'000'000, kAsItComes);
  room.NextFew(5);
  room.Lose(1);
  const auto missing = static_cast<std::uint16_t>(room.sequence_ - 1);
  const auto missing_timestamp = room.timestamp_ - 960;
  room.NextFew(70);
  room.Arrives(missing, missing_timestamp);
  CHECK(room.given().size() == 75);
  room.Arrives(static_cast<std::uint16_t>(room.sequence_ - 76), room.timestamp_ - 76 * 960);  // right before the first
  CHECK(room.given().size() == 75);
  CHECK(room.counts().lost == 1);
  // A timestamp of nowhere takes nothing back to nowhere.
  room.Lose(1);
  room.NextFew(2);
  for (const std::uint32_t timestamp : {0U, room.timestamp_ + 96'000, room.timestamp_ - 96'000})
    room.Arrives(static_cast<std::uint16_t>(room.sequence_ - 3), timestamp);
  CHECK(room.given().size() == 77);
}

TEST_CASE("SourceClock: numbers keep the gaps of losses alone", "[source_clock]") {
  Room room(10'000'000, kAsItComes);
  room.NextFew(10);
  room.Padding(room.sequence_++, room.timestamp_);
  room.NextFew(10);  // 510 …
  room.Lose(3);
  room.NextFew(10);  // 523 …
  room.Wait(700'000);
  room.timestamp_ += 700 * 48;
  room.NextFew(10);         // 533 …
  room.sequence_ = 40'000;  // a restart
  room.timestamp_ = 9;
  room.NextFew(11);  // the first one is not believed
  REQUIRE(room.given().size() == 50);
  const auto number = [&](std::size_t i) { return room.given()[i].number; };
  CHECK(number(0) == 500);
  CHECK(number(10) == 510);
  CHECK(number(19) == 519);
  CHECK(number(20) == 523);
  CHECK(number(30) == 533);
  CHECK(number(49) == 552);
  for (std::size_t i = 0; i < 50; ++i) CHECK(room.given()[i].after_pause == (i == 0 || i == 30 || i == 40));
}

TEST_CASE("SourceClock: packets of other durations have their place within slots", "[source_clock]") {
  struct Shape {
    std::uint8_t toc;
    std::uint32_t samples;
  };
  for (const Shape& shape :
       {Shape{0xE0, 120}, Shape{0xE8, 240}, Shape{0xF0, 480}, Shape{0xF8, 960}, Shape{0x10, 1920}, Shape{0x18, 2880}}) {
    for (const SourceClock::Options& options : {SourceClock::Options{}, kAsItComes}) {
      Room room(10'000'000, options);
      for (std::uint32_t i = 0; i < 100; ++i) {
        room.Arrives(static_cast<std::uint16_t>(i), 77 + i * shape.samples, 1, shape.toc);
        room.Wait(shape.samples * 1000 / 48);
      }
      REQUIRE(room.given().size() == 100);
      INFO(shape.samples);
      const std::int64_t first_number = 500 * 960 / shape.samples;
      bool right = true;
      for (std::size_t i = 0; i < 100; ++i) {
        const Given& given = room.given()[i];
        right = right && given.packet * 960 + given.offset_samples == 500 * 960 + static_cast<std::int64_t>(i * shape.samples);
        right = right && given.offset_samples >= 0 && given.offset_samples < 960 &&
                given.number == first_number + static_cast<std::int64_t>(i);
      }
      CHECK(right);
    }
  }
  // A source that changes from 10 to 20 ms in the middle of a slot stays where it is.
  Room room(10'000'000, kAsItComes);
  room.Arrives(0, 0, 1, 0xF0);
  room.Wait(10'000);
  room.Arrives(1, 480);
  room.Wait(20'000);
  room.Arrives(2, 1440);
  REQUIRE(room.given().size() == 3);
  CHECK(room.given()[1].offset_samples == 480);
  CHECK(room.given()[2].packet == 501);
  CHECK(room.given()[2].offset_samples == 480);
  CHECK_FALSE(room.given()[2].after_pause);
}

TEST_CASE("SourceClock: without patience, whatever comes, times and numbers of what is in order increase, and nothing allocates",
          "[source_clock]") {
  Random random(4);
  SourceClock clock(kAsItComes);
  const std::vector<std::uint8_t> payload(200, 0x78);
  std::int64_t last = -1;
  std::int64_t last_number = -1;
  std::int64_t num_late = 0;
  bool right = true;
  std::vector<bool> given(4'000'000);  // numbers
  const SourcePacketSink sink = [&](const SourcePacket& p) {
    const std::int64_t position = p.packet * 960 + p.offset_samples;
    right = right && p.offset_samples >= 0 && p.offset_samples < 960 && p.packet >= 0;
    const auto number = static_cast<std::size_t>(p.number);
    right = right && number < given.size() && !given[number];
    given[number % given.size()] = true;
    // Late is what comes behind a successor, also behind one that was too late itself and is not given out.
    if (p.late) {
      ++num_late;
      right = right && p.number < last_number + 64;
      return;
    }
    right = right && position > last && p.number > last_number;
    last = position;
    last_number = p.number;
  };
  std::uint16_t sequence = 0;
  std::uint32_t timestamp = 0;
  std::uint32_t ssrc = 1;
  std::int64_t now_us = 0;
  const auto before = NumAllocations();
  for (int i = 0; i < 200'000; ++i) {
    const auto dice = random.Below(200);
    if (dice == 0) sequence = static_cast<std::uint16_t>(random.Bits());
    if (dice == 1) timestamp = static_cast<std::uint32_t>(random.Bits());
    if (dice == 2) ssrc = static_cast<std::uint32_t>(random.Below(4));
    if (dice == 3) now_us += random.Below(3'000'000);
    if (dice < 20) {
      const auto jump = random.Below(9) - 4;
      sequence = static_cast<std::uint16_t>(sequence + jump);
      timestamp += static_cast<std::uint32_t>(960 * jump);
    }
    const auto size = dice == 50 ? 0 : payload.size();
    clock.Push(
        {.header = {.sequence = sequence++, .timestamp = timestamp, .ssrc = ssrc}, .payload = std::span(payload).first(size)},
        now_us, sink);
    timestamp += 960;
    now_us += random.Below(40'000);
    if (dice == 100) clock.Tick(now_us, sink);
  }
  CHECK(NumAllocations() == before);
  CHECK(right);
  CHECK(last > 100'000 * 960LL);
  CHECK(num_late > 100);
  CHECK(clock.counts().lost >= 0);
}

TEST_CASE("SourceClock: an oversized packet is counted and dropped", "[source_clock]") {
  SourceClock clock;
  const std::vector<std::uint8_t> payload(SourceClock::kMaxPayloadBytes + 1);
  int given = 0;
  clock.Push({.header = {}, .payload = payload}, 0, [&](const SourcePacket&) { ++given; });
  CHECK(given == 0);
  CHECK(clock.counts().unusable == 1);
}

}  // namespace
}  // namespace earmark
