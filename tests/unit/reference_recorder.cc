#include "services/common/reference_recorder.h"

#include <catch2/catch.hpp>
#include <vector>

#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

// Marks speech and gives chosen slots to a recorder.
class Recording {
 public:
  explicit Recording(int packets_per_chunk, int source = 0)
      : recorder_("stream", format_, keys_.seal, source, packets_per_chunk, [this](ReferenceChunk chunk) -> Result<void> {
          chunks.push_back(std::move(chunk));
          return {};
        }) {}

  // Packets [first, end) of the speech, at their numbers plus `shift`.
  void Add(std::int64_t first, std::int64_t end, std::int64_t shift = 0) {
    auto marker = Get(StreamMarker::Create(format_, keys_));
    for (std::int64_t packet = 0; packet < end; ++packet) {
      const auto block = std::span(host_).subspan(static_cast<std::size_t>(packet) * kPacketSamples, kPacketSamples);
      Slot slot = Get(marker.Process(block));
      slot.packet = packet + shift;
      if (packet >= first) REQUIRE(recorder_.Add(slot, block));
    }
  }
  void Flush() { REQUIRE(recorder_.Flush()); }

  ReferenceChunkData Open(std::size_t i) const {
    return Get(
        ReferenceChunkData::Open(chunks[i].sealed, keys_.seal,
                                 {.stream_id = "stream", .source = chunks[i].source, .first_packet = chunks[i].first_packet}));
  }
  std::vector<std::pair<std::int64_t, int>> Places() const {
    std::vector<std::pair<std::int64_t, int>> places;
    for (const ReferenceChunk& chunk : chunks) places.emplace_back(chunk.first_packet, chunk.num_packets);
    return places;
  }

  std::vector<ReferenceChunk> chunks;

 private:
  StreamFormat format_;
  StreamKeys keys_ = TestKeys();
  std::vector<float> host_ = SpeechLike(8, 3);
  ReferenceRecorder recorder_;
};

using Places = std::vector<std::pair<std::int64_t, int>>;

bool IsGap(const ReferenceChunkData& chunk, int packet) { return chunk.SlotAt(packet).packets[0].empty(); }

TEST_CASE("ReferenceRecorder: chunks end on the grid, with a word of fingerprint for every four packets",
          "[reference_recorder]") {
  Recording recording(100);
  recording.Add(0, 250);
  recording.Flush();
  CHECK(recording.Places() == Places{{0, 100}, {100, 100}, {200, 50}});
  CHECK(recording.chunks[0].fingerprint.size() == 25 * 8);
  CHECK(recording.chunks[1].fingerprint.size() == 25 * 8);
  CHECK(recording.chunks[2].fingerprint.size() == 12 * 8);
  CHECK_FALSE(IsGap(recording.Open(2), 49));
}

TEST_CASE("ReferenceRecorder: a late start begins where a word may begin, with a gap before it", "[reference_recorder]") {
  Recording recording(100, 2);
  recording.Add(14, 120);
  recording.Flush();
  CHECK(recording.Places() == Places{{12, 88}, {100, 20}});
  CHECK(recording.chunks[0].source == 2);
  CHECK(IsGap(recording.Open(0), 1));
  CHECK_FALSE(IsGap(recording.Open(0), 2));
  CHECK(recording.chunks[0].fingerprint.size() == 22 * 8);
}

TEST_CASE("ReferenceRecorder: lost packets are gaps within a chunk, and the fingerprint keeps its place",
          "[reference_recorder]") {
  Recording whole(100);
  whole.Add(0, 300);
  Recording lossy(100);
  lossy.Add(0, 20);
  lossy.Add(23, 95);
  lossy.Add(105, 300);
  REQUIRE(lossy.Places() == whole.Places());
  CHECK(IsGap(lossy.Open(0), 20));
  CHECK(IsGap(lossy.Open(0), 22));
  CHECK_FALSE(IsGap(lossy.Open(0), 23));
  CHECK(IsGap(lossy.Open(0), 99));
  CHECK(IsGap(lossy.Open(1), 4));
  CHECK_FALSE(IsGap(lossy.Open(1), 5));
  // Words look back 160 ms; what is behind the loss by more than that is as if there had been none, but for the level that is averaged.
  const auto words = DecodeFingerprint(whole.chunks[2].fingerprint);
  const auto lossy_words = DecodeFingerprint(lossy.chunks[2].fingerprint);
  REQUIRE(words.size() == lossy_words.size());
  int differing = 0;
  for (std::size_t i = 0; i < words.size(); ++i) differing += __builtin_popcountll(words[i] ^ lossy_words[i]);
  CHECK(differing < 64 * 25 / 50);
}

TEST_CASE("ReferenceRecorder: a long pause ends a chunk, and the next one starts afresh", "[reference_recorder]") {
  Recording recording(100);
  recording.Add(0, 30);
  recording.Add(30, 60, 100'000);
  recording.Flush();
  CHECK(recording.Places() == Places{{0, 30}, {100'028, 32}});
  CHECK(recording.chunks[0].fingerprint.size() == 7 * 8);
  CHECK(recording.chunks[1].fingerprint.size() == 8 * 8);
}

TEST_CASE("ReferenceRecorder: after a flush it goes on at the next word, and never overlaps", "[reference_recorder]") {
  Recording recording(100);
  recording.Add(0, 30);
  recording.Flush();
  recording.Flush();  // there is nothing left
  recording.Add(30, 60);
  recording.Flush();
  CHECK(recording.Places() == Places{{0, 30}, {32, 28}});
}

}  // namespace
}  // namespace earmark
