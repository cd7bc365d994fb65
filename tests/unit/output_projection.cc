#include "dsp/rtp/output_projection.h"

#include <array>
#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "tests/support/marked_stream.h"

namespace earmark {
namespace {

TEST_CASE("OutputSequence: one slot after the other", "[output_projection]") {
  OutputSequence sequence;
  const OutputPlace first = sequence.Next(1000);
  CHECK(first.marker);
  CHECK(first.timestamp == 960'000);
  for (int i = 1; i < 70'000; ++i) {
    const OutputPlace place = sequence.Next(1000 + i);
    REQUIRE_FALSE(place.marker);
    REQUIRE(place.sequence == static_cast<std::uint16_t>(first.sequence + i));
    REQUIRE(place.timestamp == static_cast<std::uint32_t>((1000 + i) * 960));
  }
}

TEST_CASE("OutputSequence: what was lost stays missing, a pause does not", "[output_projection]") {
  OutputSequence sequence;
  CHECK(sequence.Next(10).sequence == 10);
  sequence.Lose(2);
  const OutputPlace behind_loss = sequence.Next(13);
  CHECK(behind_loss.sequence == 13);
  CHECK_FALSE(behind_loss.marker);
  const OutputPlace behind_pause = sequence.Next(500);
  CHECK(behind_pause.sequence == 14);
  CHECK(behind_pause.marker);
  CHECK(behind_pause.timestamp == 480'000);
  sequence.Lose(1);
  sequence.Lose(1);
  const OutputPlace behind_both = sequence.Next(600);
  CHECK(behind_both.sequence == 17);
  CHECK(behind_both.marker);
  // More lost than there is room for, or a mistaken number: time has its say.
  sequence.Lose(100);
  CHECK(sequence.Next(602).sequence == 19);
  sequence.Lose(-7);
  CHECK(sequence.Next(603).sequence == 20);
  CHECK(sequence.Next(std::int64_t{1} << 40).marker);
}

TEST_CASE("OutputProjection: every listener has own numbers that go on alike", "[output_projection]") {
  std::set<std::uint32_t> ssrcs;
  std::set<std::uint32_t> timestamps;
  std::set<std::uint16_t> sequences;
  for (int i = 0; i < 50; ++i) {
    OutputSequence sequence;
    const auto projection = OutputProjection::Derive(TestKey(static_cast<std::uint8_t>(i)), "mic", 111);
    std::vector<RtpHeader> headers;
    for (const std::int64_t packet : {7, 8, 9}) {
      std::array<std::uint8_t, kRtpHeaderBytes> bytes{};
      projection.WriteHeader(sequence.Next(packet), bytes);
      headers.push_back(Get(ParseRtp(bytes)).header);
      CHECK(headers.back().timestamp == projection.TimestampOf(packet));
    }
    CHECK(headers[0].marker);
    for (std::size_t n = 0; n < 3; ++n) {
      CHECK(headers[n].payload_type == 111);
      CHECK(headers[n].ssrc == projection.ssrc());
      CHECK(headers[n].sequence == static_cast<std::uint16_t>(headers[0].sequence + n));
      CHECK(headers[n].timestamp == static_cast<std::uint32_t>(headers[0].timestamp + 960 * n));
    }
    ssrcs.insert(headers[0].ssrc);
    timestamps.insert(headers[0].timestamp);
    sequences.insert(headers[0].sequence);
  }
  // Two of 50 random 32-bit numbers agree with a chance of 3e-7; of 16-bit ones, more than 5 with one below 1e-12.
  CHECK(ssrcs.size() == 50);
  CHECK(timestamps.size() == 50);
  CHECK(sequences.size() >= 45);
}

TEST_CASE("OutputProjection: the same seed and source give the same numbers, another source others", "[output_projection]") {
  const auto mic = OutputProjection::Derive(TestKey(1), "mic", 111);
  CHECK(OutputProjection::Derive(TestKey(1), "mic", 96).ssrc() == mic.ssrc());
  CHECK(OutputProjection::Derive(TestKey(1), "mic", 111).TimestampOf(5) == mic.TimestampOf(5));
  CHECK(OutputProjection::Derive(TestKey(1), "other", 111).ssrc() != mic.ssrc());
  CHECK(OutputProjection::Derive(TestKey(2), "mic", 111).ssrc() != mic.ssrc());
}

}  // namespace
}  // namespace earmark
