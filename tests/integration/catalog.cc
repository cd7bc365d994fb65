// A catalog that stays in memory while streams grow, come and go finds what one finds that was loaded anew.
#include "services/common/scan/catalog.h"

#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "dsp/core/resample.h"
#include "dsp/search/fingerprint.h"
#include "tests/integration/store_temp_folder.h"
#include "tests/support/marked_stream.h"
#include "tests/support/random.h"

namespace earmark {
namespace {

constexpr std::size_t kWordsPerChunk = static_cast<std::size_t>(kPacketsPerChunk / kPacketsPerFingerprintWord);

// Random words stand for sound.
std::vector<std::uint64_t> WordsOf(const std::string& stream, int source, int chunk) {
  Random random(std::hash<std::string>()(stream) + static_cast<std::uint64_t>(100 * source + chunk));
  std::vector<std::uint64_t> words(kWordsPerChunk);
  for (auto& word : words) word = random.Bits();
  return words;
}

ClipFingerprint ClipOf(std::span<const std::uint64_t> words) {
  ClipFingerprint clip;
  clip.phases.resize(kFingerprintPhases);
  for (const std::uint64_t word : words)
    clip.phases[0].push_back({.bits = word, .mask = ~std::uint64_t{0}, .strong = 0x0f0f0f0f0f0f0f0f});
  return clip;
}

struct Rooms {
  Rooms() : master{.key = TestKey(3), .id = KeyId(TestKey(3))}, store(Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate))) {}

  void Open(const std::string& id, std::uint8_t salt = 0) {
    StreamRecord record;
    record.id = id;
    record.key_id = master.id;
    record.salt[0] = salt;
    Check(store->CreateStream(record, {}));
  }
  void Append(const std::string& id, int source, int chunk) {
    ReferenceChunk record;
    record.source = source;
    record.first_packet = chunk * kPacketsPerChunk;
    record.num_packets = static_cast<int>(kPacketsPerChunk);
    record.sealed = {1};
    record.fingerprint = EncodeFingerprint(WordsOf(id, source, chunk));
    Check(store->AppendReference(id, record));
  }
  static void Check(const Result<void>& done) {
    if (!done) FAIL(done.error().message);
  }
  std::shared_ptr<const Catalog> Refresh() { return Get(catalog.Refresh(*store, context)); }

  // Four seconds around the joint of two chunks, or within one where `chunk` is the last.
  static std::vector<std::uint64_t> Stretch(const std::string& id, int source, int chunk, bool joint) {
    auto words = WordsOf(id, source, chunk);
    if (joint) {
      const auto next = WordsOf(id, source, chunk + 1);
      words.insert(words.end(), next.begin(), next.end());
    }
    const std::size_t first = joint ? kWordsPerChunk - 24 : 30;
    return {words.begin() + static_cast<std::ptrdiff_t>(first), words.begin() + static_cast<std::ptrdiff_t>(first + 48)};
  }

  TempFolder folder;
  MasterKey master;
  std::unique_ptr<Store> store;
  Progress progress;
  ScanContext context{progress};
  FingerprintCatalog catalog{master};
};

// Which stream and source the strongest match is of, and at which second; "" where chance is all there is.
std::string Find(const Catalog& catalog, const std::vector<std::uint64_t>& words) {
  const auto matches = catalog.index.Search(ClipOf(words), 3, 3);
  if (matches.empty() || matches[0].strength < 12) return "";
  const CatalogSource& source = catalog.At(matches[0].source);
  return source.stream.id + "/" + std::to_string(source.source) + "@" + std::to_string(std::lround(matches[0].stream_s));
}

TEST_CASE("FingerprintCatalog: rooms on air are found as they grow, across the joints of their chunks", "[catalog]") {
  Rooms rooms;
  for (const char* id : {"a", "b"}) rooms.Open(id);
  CHECK(rooms.Refresh()->sources.empty());
  for (int chunk = 0; chunk < 4; ++chunk) {
    for (const char* id : {"a", "b"}) {
      for (const int source : {0, 2}) rooms.Append(id, source, chunk);
    }
    const auto catalog = rooms.Refresh();
    CHECK(catalog->sources.size() == 4);
    CHECK(catalog->streams.at("a").num_packets == (chunk + 1) * kPacketsPerChunk);
    CHECK(catalog->At(0).stream.num_packets == (chunk + 1) * kPacketsPerChunk);
    for (const std::string id : {"a", "b"}) {
      for (const int source : {0, 2}) {
        const auto at = [&](double s) { return id + "/" + std::to_string(source) + "@" + std::to_string(std::lround(s)); };
        CHECK(Find(*catalog, Rooms::Stretch(id, source, chunk, false)) == at(10 * chunk + 30 * kFingerprintWordS));
        if (chunk > 0)
          CHECK(Find(*catalog, Rooms::Stretch(id, source, chunk - 1, true)) == at(10 * chunk - 24 * kFingerprintWordS));
      }
    }
    CHECK(rooms.Refresh() == catalog);  // nothing new
  }
}

TEST_CASE("FingerprintCatalog: a snapshot stays as it is; what is removed is found no more, nor is what stands under another key",
          "[catalog]") {
  Rooms rooms;
  for (const char* id : {"a", "b", "c"}) {
    rooms.Open(id);
    rooms.Append(id, 0, 0);
  }
  const auto before = rooms.Refresh();
  rooms.Check(rooms.store->RemoveStream("a"));
  StreamRecord foreign;
  foreign.id = "foreign";
  foreign.key_id = "0123456789abcdef";
  rooms.Check(rooms.store->CreateStream(foreign, {}));
  rooms.Append("foreign", 0, 0);
  const auto after = rooms.Refresh();
  CHECK(after->num_streams() == 2);
  CHECK(after->num_under_other_key == 1);
  CHECK(Find(*before, Rooms::Stretch("a", 0, 0, false)) != "");
  CHECK(Find(*after, Rooms::Stretch("a", 0, 0, false)) == "");
  CHECK(Find(*after, Rooms::Stretch("b", 0, 0, false)) != "");
  CHECK(Find(*after, Rooms::Stretch("foreign", 0, 0, false)) == "");
}

TEST_CASE("FingerprintCatalog: an id that was used again is the new stream, under its own keys", "[catalog]") {
  Rooms rooms;
  rooms.Open("kept");
  rooms.Append("kept", 0, 0);
  rooms.Open("again", 1);
  rooms.Append("again", 0, 0);
  const auto before = rooms.Refresh();
  rooms.Check(rooms.store->RemoveStream("again"));
  rooms.Open("again", 2);
  rooms.Append("again", 0, 5);
  const auto after = rooms.Refresh();
  CHECK(Find(*after, Rooms::Stretch("again", 0, 0, false)) == "");
  CHECK(Find(*after, Rooms::Stretch("again", 0, 5, false)) == "again/0@52");
  const auto salt_of = [](const Catalog& catalog, int chunk) {
    const auto matches = catalog.index.Search(ClipOf(Rooms::Stretch("again", 0, chunk, false)), 1, 1);
    return catalog.At(matches.at(0).source).stream.salt[0];
  };
  CHECK(salt_of(*before, 0) == 1);
  CHECK(salt_of(*after, 5) == 2);
}

TEST_CASE("FingerprintCatalog: what expired does not pile up", "[catalog]") {
  Rooms rooms;
  rooms.Open("kept");
  rooms.Append("kept", 0, 0);
  for (int day = 0; day < 20; ++day) {
    const std::string id = "day-" + std::to_string(day);
    rooms.Open(id);
    rooms.Append(id, 0, 0);
    (void)rooms.Refresh();
    rooms.Check(rooms.store->RemoveStream(id));
    const auto catalog = rooms.Refresh();
    CHECK(Find(*catalog, Rooms::Stretch("kept", 0, 0, false)) != "");
    CHECK(Find(*catalog, Rooms::Stretch(id, 0, 0, false)) == "");
    CHECK(catalog->index.num_words() <= 4 * static_cast<std::int64_t>(kWordsPerChunk));
  }
}

TEST_CASE("FingerprintCatalog: cancelling leaves it as it was; the next one reads on", "[catalog]") {
  Rooms rooms;
  for (int i = 0; i < 3; ++i) {
    rooms.Open(std::to_string(i));
    rooms.Append(std::to_string(i), 0, 0);
  }
  int asked = 0;
  const Progress stop_at_second = [&](const char*, double) { return ++asked < 2; };
  const ScanContext stopping(stop_at_second);
  const auto stopped = rooms.catalog.Refresh(*rooms.store, stopping);
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == ErrorCode::kCancelled);
  const auto catalog = rooms.Refresh();
  for (int i = 0; i < 3; ++i) CHECK(Find(*catalog, Rooms::Stretch(std::to_string(i), 0, 0, false)) != "");
}

TEST_CASE("FingerprintCatalog: searches go on in other threads while a room grows", "[catalog]") {
  Rooms rooms;
  rooms.Open("room");
  rooms.Append("room", 0, 0);
  const auto search = [&] {
    for (int i = 0; i < 10; ++i) {
      const auto store = Get(OpenStore(rooms.folder.Url(), OpenMode::kReadWrite));
      const auto catalog = Get(rooms.catalog.Refresh(*store, rooms.context));
      if (Find(*catalog, Rooms::Stretch("room", 0, 0, false)) != "room/0@2") return false;
    }
    return true;
  };
  auto one = std::async(std::launch::async, search);
  auto two = std::async(std::launch::async, search);
  for (int chunk = 1; chunk < 10; ++chunk) rooms.Append("room", 0, chunk);
  CHECK(one.get());
  CHECK(two.get());
  CHECK(Find(*rooms.Refresh(), Rooms::Stretch("room", 0, 9, false)) == "room/0@92");
}

}  // namespace
}  // namespace earmark
