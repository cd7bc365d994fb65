// The recorder behind the media thread, while its store cannot be written.
#include "services/sidecar/recorder.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <catch2/catch.hpp>

#include "tests/integration/store_temp_folder.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A stream in a store of its own, and slots to record.
struct Stream {
  Stream() {
    StreamRecord record{.id = "room", .format = {}, .key_id = "key", .input_digest = ""};
    if (!Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate))->CreateStream(record, {}))
      throw std::runtime_error("CreateStream");
    recording.counts = std::make_shared<ReferenceCounts>();
  }

  void Push(Recorder& recorder, std::int64_t number, int num_packets) {
    for (int i = 0; i < num_packets; ++i) {
      const auto block = std::span(host).subspan(static_cast<std::size_t>(i) * kPacketSamples, kPacketSamples);
      REQUIRE(recorder.queue().Push(number, 4, Get(marker.Process(block)), block, 1));
    }
  }
  std::int64_t NumStored() {
    std::int64_t packets = 0;
    for (const ReferenceChunk& chunk :
         Get(Get(OpenStore(folder.Url(), OpenMode::kReadWrite))->ReadReference("room", 0, 0, 1'000'000)))
      packets += chunk.num_packets;
    return packets;
  }

  TempFolder folder;
  StreamKeys keys = TestKeys();
  Recorder::Recording recording{
      .stream_id = "room", .format = {}, .seal_key = keys.seal, .source = 0, .epoch = kFirstEpoch, .counts = {}};
  std::vector<float> host = SpeechLike(10, 4);
  StreamMarker marker = Get(StreamMarker::Create({}, keys));
};

TEST_CASE("Recorder: what was pushed is stored", "[recorder]") {
  Stream stream;
  StorePool pool(stream.folder.Url());
  Recorder recorder(pool, {});
  const std::int64_t number = recorder.Open(stream.recording);
  stream.Push(recorder, number, 250);
  recorder.Close(number, seconds(10));
  REQUIRE(recorder.WaitUntilStored("room", seconds(10)));
  CHECK(stream.NumStored() == 250);
  CHECK(stream.recording.counts->stored == 250);
  CHECK(stream.recording.counts->dropped == 0);
}

TEST_CASE("Recorder: while the store is held up the reference waits, and nothing of it is lost", "[recorder]") {
  Stream stream;
  StorePool pool(stream.folder.Url());
  Recorder recorder(pool, {});
  SQLite::Database other(stream.folder.File("store.db"), SQLite::OPEN_READWRITE);
  other.exec("BEGIN IMMEDIATE");
  const std::int64_t number = recorder.Open(stream.recording);
  stream.Push(recorder, number, 250);
  recorder.Close(number, seconds(10));
  const auto waited = recorder.WaitUntilStored("room", milliseconds(100));
  REQUIRE_FALSE(waited);
  CHECK(waited.error().code == ErrorCode::kUnavailable);
  CHECK(recorder.bytes_waiting() > 0);
  CHECK(recorder.WaitUntilStored("another room", milliseconds(0)));
  other.exec("ROLLBACK");
  REQUIRE(recorder.WaitUntilStored("room", seconds(30)));
  CHECK(recorder.bytes_waiting() == 0);
  CHECK(stream.NumStored() == 250);
}

TEST_CASE("Recorder: what does not fit into memory is a gap, counted, and later chunks are stored", "[recorder]") {
  Stream stream;
  StorePool pool(stream.folder.Url());
  Recorder recorder(pool, {.max_bytes = 40'000});  // one chunk of 2 s is about 32 kB
  SQLite::Database other(stream.folder.File("store.db"), SQLite::OPEN_READWRITE);
  other.exec("BEGIN IMMEDIATE");
  const std::int64_t number = recorder.Open(stream.recording);
  stream.Push(recorder, number, 300);
  const auto deadline = std::chrono::steady_clock::now() + seconds(20);
  while (stream.recording.counts->dropped < 200 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(stream.recording.counts->dropped == 200);
  other.exec("ROLLBACK");
  REQUIRE(recorder.WaitUntilStored("room", seconds(30)));
  stream.Push(recorder, number, 50);
  recorder.Close(number, seconds(10));
  REQUIRE(recorder.WaitUntilStored("room", seconds(10)));
  CHECK(stream.NumStored() == 150);
}

TEST_CASE("Recorder: the reference of a stream that another took over is dropped and counted", "[recorder]") {
  Stream stream;
  StorePool pool(stream.folder.Url());
  Recorder recorder(pool, {});
  (void)Get(Get(OpenStore(stream.folder.Url(), OpenMode::kReadWrite))->TakeStream("room", {.owner = "another"}));
  const std::int64_t number = recorder.Open(stream.recording);
  stream.Push(recorder, number, 120);
  recorder.Close(number, seconds(10));
  REQUIRE(recorder.WaitUntilStored("room", seconds(10)));
  CHECK(stream.NumStored() == 0);
  CHECK(stream.recording.counts->dropped == 120);
}

}  // namespace
}  // namespace earmark
