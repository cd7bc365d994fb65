// What every engine behind db/store.h must do. A test of an engine goes through StoreContract() with databases of its own.
#pragma once

#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "db/store.h"

namespace earmark::store_contract {

// One fresh, empty database. Each Open gives another connection to it.
class Database {
 public:
  virtual ~Database() = default;
  virtual std::unique_ptr<Store> Open() = 0;
};

struct Case {
  const char* name;
  std::function<void(Database&)> check;
};

// ---- helpers

inline StreamRecord MakeStream(const std::string& id) {
  StreamRecord stream;
  stream.id = id;
  stream.format = {.num_variants = 8,
                   .packets_per_symbol = 3,
                   .num_channels = 2,
                   .bitrate_bps = 64000,
                   .kind = ReferenceKind::kHostPackets,
                   .code_version = 1};
  stream.key_id = "key-1";
  for (std::size_t i = 0; i < stream.salt.size(); ++i) stream.salt[i] = static_cast<std::uint8_t>(250 + i);
  stream.input_digest = "c0ffee";
  return stream;
}

inline constexpr int kChunkPackets = 500;

// The chunk of this number; its bytes, NUL among them, tell it from all others.
inline ReferenceChunk MakeChunk(int number, int source = 0) {
  ReferenceChunk chunk;
  chunk.source = source;
  chunk.first_packet = std::int64_t{number} * kChunkPackets;
  chunk.num_packets = kChunkPackets;
  chunk.num_erased_slots = number % 3;
  for (int i = 0; i < 5000; ++i) chunk.sealed.push_back(static_cast<std::uint8_t>((i * 7 + number * 13 + source) % 256));
  for (int i = 0; i < 100; ++i) chunk.fingerprint.push_back(static_cast<std::uint8_t>((i * 3 + number + source * 100) % 256));
  return chunk;
}

inline FindingRecord MakeFinding(const std::string& verdict, std::vector<AccusationRecord> accusations) {
  return {.clip_name = "leak \"1\"\n.mp4",
          .clip_sha256 = std::string(64, 'a'),
          .verdict = verdict,
          .report_json = R"({"verdict": "Zoë"})",
          .accusations = std::move(accusations)};
}

inline FindingFilter Only(std::optional<std::string> account, std::optional<std::string> stream = {},
                          std::optional<std::string> verdict = {}) {
  FindingFilter filter;
  filter.account = std::move(account);
  filter.stream = std::move(stream);
  filter.verdict = std::move(verdict);
  return filter;
}

inline FindingFilter Since(std::int64_t unix_us) {
  FindingFilter filter;
  filter.since_unix_us = unix_us;
  return filter;
}

inline FindingFilter AtMost(int limit) {
  FindingFilter filter;
  filter.limit = limit;
  return filter;
}

template <typename T>
void RequireOk(const Result<T>& result) {
  if (!result) FAIL(result.error().message);
}

// Every error is of the wanted kind, in one line that says something.
template <typename T>
void RequireError(const Result<T>& result, ErrorCode code) {
  REQUIRE_FALSE(result);
  INFO(result.error().message);
  REQUIRE(result.error().code == code);
  REQUIRE(result.error().message.size() > 10);
  REQUIRE(result.error().message.find('\n') == std::string::npos);
}

template <typename T>
T RequireValue(Result<T> result) {
  RequireOk(result);
  return *std::move(result);
}

struct Visited {
  std::string stream;
  int source;
  std::int64_t first_packet;
  std::vector<std::uint8_t> fingerprint;
  bool operator==(const Visited&) const = default;
};

inline std::vector<Visited> Fingerprints(Store& store, std::optional<std::string_view> stream) {
  std::vector<Visited> visited;
  RequireOk(store.VisitFingerprints(stream, [&](std::string_view id, int source, std::int64_t first, auto bytes) {
    visited.push_back({std::string(id), source, first, {bytes.begin(), bytes.end()}});
  }));
  return visited;
}

inline Visited FingerprintOf(const std::string& stream, const ReferenceChunk& chunk) {
  return {stream, chunk.source, chunk.first_packet, chunk.fingerprint};
}

inline std::vector<ReferenceChunk> AllChunks(Store& store, const std::string& stream, int source = 0) {
  return RequireValue(store.ReadReference(stream, source, 0, std::numeric_limits<std::int64_t>::max()));
}

inline std::vector<Grant> AllGrants(Store& store, const std::string& stream) {
  return RequireValue(store.ListGrants(stream, 0, Grant::kOpenEnd));
}

inline std::int64_t NowUnixUs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

inline std::vector<std::string> Ids(const std::vector<StreamRecord>& streams) {
  std::vector<std::string> ids;
  for (const auto& stream : streams) ids.push_back(stream.id);
  return ids;
}

inline std::vector<std::int64_t> Ids(const std::vector<FindingRecord>& findings) {
  std::vector<std::int64_t> ids;
  for (const auto& finding : findings) ids.push_back(finding.id);
  return ids;
}

using AccountLine = std::tuple<std::string, std::int64_t, std::int64_t>;
inline std::vector<AccountLine> Accounts(Store& store, std::optional<std::string_view> stream) {
  std::vector<AccountLine> lines;
  for (const auto& account : RequireValue(store.ListAccounts(stream))) {
    lines.emplace_back(account.account, account.num_grants, account.num_accusing_clips);
  }
  return lines;
}

// ---- streams

inline std::vector<Case> StreamCases() {
  return {
      {"Store: a fresh one is empty",
       [](Database& db) {
         auto store = db.Open();
         CHECK(RequireValue(store->ListStreams()).empty());
         CHECK(RequireValue(store->ListFindings({})).empty());
         CHECK(Accounts(*store, std::nullopt).empty());
         CHECK(Fingerprints(*store, std::nullopt).empty());
       }},
      {"Store: a stream comes back as it was created, also through another connection",
       [](Database& db) {
         const StreamRecord wanted = MakeStream("room-7/ü 2024");
         const std::int64_t before = NowUnixUs();
         RequireOk(db.Open()->CreateStream(wanted, {}));
         const StreamRecord got = RequireValue(db.Open()->GetStream(wanted.id));
         CHECK(got.id == wanted.id);
         CHECK(got.format == wanted.format);
         CHECK(got.key_id == wanted.key_id);
         CHECK(got.salt == wanted.salt);
         CHECK(got.input_digest == wanted.input_digest);
         CHECK(got.created_unix_us >= before);
         CHECK(got.created_unix_us <= NowUnixUs());
         CHECK(got.updated_unix_us == got.created_unix_us);
       }},
      {"Store: a stream of source packets comes back whole, and its strength is nobody else's",
       [](Database& db) {
         auto store = db.Open();
         StreamRecord in_packets = MakeStream("in packets");
         in_packets.format = {.num_variants = 4, .kind = ReferenceKind::kSourcePackets, .code_version = 2, .strength = 73};
         RequireOk(store->CreateStream(in_packets, {}));
         RequireOk(store->CreateStream(MakeStream("of before"), {}));
         CHECK(RequireValue(db.Open()->GetStream("in packets")).format == in_packets.format);
         const auto streams = RequireValue(store->ListStreams());
         REQUIRE(streams.size() == 2);
         CHECK(streams[0].format == in_packets.format);
         CHECK(streams[1].format.kind == ReferenceKind::kHostPackets);
         CHECK(streams[1].format.strength == 50);
         in_packets.id = "of neither";
         in_packets.format.code_version = 1;
         RequireError(store->CreateStream(in_packets, {}), ErrorCode::kInvalidArgument);
       }},
      {"Store: a new stream starts empty and recording, whatever the given record says",
       [](Database& db) {
         auto store = db.Open();
         StreamRecord stream = MakeStream("s");
         stream.state = StreamState::kComplete;
         stream.created_unix_us = 5;
         stream.num_packets = 77;
         stream.num_erased_slots = 7;
         RequireOk(store->CreateStream(stream, {}));
         const StreamRecord got = RequireValue(store->GetStream("s"));
         CHECK(got.state == StreamState::kRecording);
         CHECK(got.created_unix_us > 5);
         CHECK(got.num_packets == 0);
         CHECK(got.num_erased_slots == 0);
       }},
      {"Store: a second stream of the same id is refused and changes nothing",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "ann"}};
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         StreamRecord other = MakeStream("s");
         other.input_digest = "other";
         RequireError(store->CreateStream(other, grants), ErrorCode::kAlreadyExists);
         CHECK(RequireValue(store->GetStream("s")).input_digest == "c0ffee");
         CHECK(AllGrants(*store, "s").empty());
       }},
      {"Store: ids that differ in case only are two streams",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("room"), {}));
         RequireOk(store->CreateStream(MakeStream("Room"), {}));
         CHECK(RequireValue(store->ListStreams()).size() == 2);
       }},
      {"Store: a stream with a bad grant is not created at all",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "ann"}, {.account = "bob", .from_stream_us = 5, .to_stream_us = 5}};
         RequireError(store->CreateStream(MakeStream("s"), grants), ErrorCode::kInvalidArgument);
         RequireError(store->GetStream("s"), ErrorCode::kNotFound);
       }},
      {"Store: a format out of range is refused",
       [](Database& db) {
         StreamRecord stream = MakeStream("s");
         stream.format.num_variants = 3;
         RequireError(db.Open()->CreateStream(stream, {}), ErrorCode::kInvalidArgument);
       }},
      {"Store: names that are empty, long, not UTF-8 or hold control characters are refused",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<std::string> bad_names = {"",
                                                     std::string(256, 'x'),
                                                     "a\nb",
                                                     std::string("a\0b", 3),
                                                     "\x7f",
                                                     "\xc2\x85",
                                                     "\xff",
                                                     "\xc3",
                                                     "\xc0\xaf",
                                                     "\xed\xa0\x80",
                                                     "\xf5\x80\x80\x80",
                                                     "a\xe2\x82"};
         for (const std::string& name : bad_names) {
           INFO("name of " << name.size() << " bytes");
           const std::vector<Grant> grants = {{.account = name}};
           RequireError(store->CreateStream(MakeStream(name), {}), ErrorCode::kInvalidArgument);
           RequireError(store->CreateStream(MakeStream("s"), grants), ErrorCode::kInvalidArgument);
           RequireError(store->GetStream(name), ErrorCode::kInvalidArgument);
           RequireError(store->RemoveStream(name), ErrorCode::kInvalidArgument);
           RequireError(store->CompleteStream(name, 4242), ErrorCode::kInvalidArgument);
           RequireError(store->AppendReference(name, MakeChunk(0)), ErrorCode::kInvalidArgument);
           RequireError(store->AddFinding(MakeFinding("accused", {{.account = name, .stream = "s"}})),
                        ErrorCode::kInvalidArgument);
         }
         CHECK(RequireValue(store->ListStreams()).empty());
       }},
      {"Store: names up to 255 bytes, with blanks, quotes and any script, are kept",
       [](Database& db) {
         auto store = db.Open();
         for (const std::string& name :
              {std::string(255, 'x'), std::string("'; DROP TABLE streams; --"), std::string("%_\\"), std::string("聴衆🎧é")}) {
           const std::vector<Grant> grants = {{.account = name}};
           RequireOk(store->CreateStream(MakeStream(name), grants));
           CHECK(RequireValue(store->GetStream(name)).id == name);
           CHECK(AllGrants(*store, name) == grants);
         }
       }},
      {"Store: streams are listed by creation",
       [](Database& db) {
         auto store = db.Open();
         for (const char* id : {"b", "a", "c"}) RequireOk(store->CreateStream(MakeStream(id), {}));
         const auto streams = RequireValue(store->ListStreams());
         REQUIRE(streams.size() == 3);
         for (std::size_t i = 1; i < streams.size(); ++i) {
           CHECK(std::tie(streams[i - 1].created_unix_us, streams[i - 1].id) <
                 std::tie(streams[i].created_unix_us, streams[i].id));
         }
       }},
      {"Store: what is asked of an unknown stream is not found",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "ann"}};
         RequireError(store->GetStream("s"), ErrorCode::kNotFound);
         RequireError(store->CompleteStream("s", 4242), ErrorCode::kNotFound);
         RequireError(store->RemoveStream("s"), ErrorCode::kNotFound);
         RequireError(store->AppendReference("s", MakeChunk(0)), ErrorCode::kNotFound);
         RequireError(store->AddGrants("s", grants), ErrorCode::kNotFound);
       }},
      {"Store: lists of an unknown stream are empty",
       [](Database& db) {
         auto store = db.Open();
         CHECK(AllChunks(*store, "s").empty());
         CHECK(AllGrants(*store, "s").empty());
         CHECK(Accounts(*store, "s").empty());
         CHECK(Fingerprints(*store, "s").empty());
       }},
      {"Store: completing a stream twice is the same as once",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->CompleteStream("s", 4242));
         const StreamRecord once = RequireValue(store->GetStream("s"));
         RequireOk(store->CompleteStream("s", 4242));
         const StreamRecord twice = RequireValue(store->GetStream("s"));
         CHECK(once.state == StreamState::kComplete);
         CHECK(once.updated_unix_us >= once.created_unix_us);
         CHECK(twice.state == StreamState::kComplete);
         CHECK(twice.updated_unix_us == once.updated_unix_us);
       }},
      {"Store: removing a stream takes its reference, fingerprints and grants, and nothing else",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "ann"}};
         for (const char* id : {"gone", "kept"}) {
           RequireOk(store->CreateStream(MakeStream(id), grants));
           RequireOk(store->AppendReference(id, MakeChunk(0)));
         }
         RequireOk(store->AddFinding(MakeFinding("accused", {{.account = "ann", .stream = "gone"}})));
         RequireOk(store->RemoveStream("gone"));
         CHECK(Ids(RequireValue(store->ListStreams())) == std::vector<std::string>{"kept"});
         CHECK(AllChunks(*store, "gone").empty());
         CHECK(AllGrants(*store, "gone").empty());
         CHECK(Fingerprints(*store, std::nullopt) == std::vector{FingerprintOf("kept", MakeChunk(0))});
         CHECK(AllChunks(*store, "kept").size() == 1);
         CHECK(AllGrants(*store, "kept") == grants);
         CHECK(RequireValue(store->ListFindings(Only({}, "gone"))).size() == 1);
       }},
      {"Store: a removed stream's id is free again, and starts from nothing",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->AppendReference("s", MakeChunk(0)));
         RequireOk(store->RemoveStream("s"));
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         CHECK(AllChunks(*store, "s").empty());
         RequireOk(store->AppendReference("s", MakeChunk(0)));
       }},
  };
}

// ---- reference

inline std::vector<Case> ReferenceCases() {
  return {
      {"Store: chunks come back byte for byte, in order, without fingerprints",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         for (int i = 0; i < 4; ++i) RequireOk(store->AppendReference("s", MakeChunk(i)));
         const auto chunks = AllChunks(*db.Open(), "s");
         REQUIRE(chunks.size() == 4);
         for (int i = 0; i < 4; ++i) {
           CHECK(chunks[i].source == 0);
           CHECK(chunks[i].first_packet == MakeChunk(i).first_packet);
           CHECK(chunks[i].num_packets == kChunkPackets);
           CHECK(chunks[i].num_erased_slots == MakeChunk(i).num_erased_slots);
           CHECK(chunks[i].sealed == MakeChunk(i).sealed);
           CHECK(chunks[i].fingerprint.empty());
         }
       }},
      {"Store: appending moves the stream's length, erased slots and time on",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         for (int i = 0; i < 3; ++i) RequireOk(store->AppendReference("s", MakeChunk(i)));
         const StreamRecord stream = RequireValue(store->GetStream("s"));
         CHECK(stream.num_packets == 3 * kChunkPackets);
         CHECK(stream.num_erased_slots == 0 + 1 + 2);
         CHECK(stream.updated_unix_us > stream.created_unix_us);
       }},
      {"Store: with several sources, the length is that of the longest and the erased slots add up",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         for (int i = 0; i < 3; ++i) RequireOk(store->AppendReference("s", MakeChunk(i, 0)));
         for (int i = 0; i < 2; ++i) RequireOk(store->AppendReference("s", MakeChunk(i, 5)));
         const StreamRecord stream = RequireValue(store->GetStream("s"));
         CHECK(stream.num_packets == 3 * kChunkPackets);
         CHECK(stream.num_erased_slots == 3 + 1);
         CHECK(AllChunks(*store, "s", 0).size() == 3);
         CHECK(AllChunks(*store, "s", 5).size() == 2);
         CHECK(AllChunks(*store, "s", 5)[1].sealed == MakeChunk(1, 5).sealed);
         CHECK(AllChunks(*store, "s", 1).empty());
       }},
      {"Store: a source may start late, and leave gaps",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->AppendReference("s", MakeChunk(1)));
         RequireOk(store->AppendReference("s", MakeChunk(4)));
         RequireOk(store->AppendReference("s", MakeChunk(2, 1)));
         CHECK(RequireValue(store->GetStream("s")).num_packets == 5 * kChunkPackets);
         const auto chunks = AllChunks(*store, "s");
         REQUIRE(chunks.size() == 2);
         CHECK(chunks[1].first_packet == 4 * kChunkPackets);
         CHECK(RequireValue(store->ReadReference("s", 0, 2 * kChunkPackets, 4 * kChunkPackets)).empty());
         CHECK(RequireValue(store->ReadReference("s", 0, 2 * kChunkPackets - 1, 4 * kChunkPackets + 1)).size() == 2);
         CHECK(RequireValue(store->ReadReference("s", 0, 0, 1)).empty());
         RequireError(store->AppendReference("s", MakeChunk(3)), ErrorCode::kFailedPrecondition);
       }},
      {"Store: a chunk that overlaps or repeats the last one is refused",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->AppendReference("s", MakeChunk(0)));
         ReferenceChunk overlapping = MakeChunk(1);
         overlapping.first_packet -= 1;
         RequireError(store->AppendReference("s", MakeChunk(0)), ErrorCode::kFailedPrecondition);
         RequireError(store->AppendReference("s", overlapping), ErrorCode::kFailedPrecondition);
         CHECK(RequireValue(store->GetStream("s")).num_packets == kChunkPackets);
         CHECK(Fingerprints(*store, "s").size() == 1);
       }},
      {"Store: a complete stream takes no more chunks",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->AppendReference("s", MakeChunk(0)));
         RequireOk(store->CompleteStream("s", 4242));
         RequireError(store->AppendReference("s", MakeChunk(1)), ErrorCode::kFailedPrecondition);
         CHECK(AllChunks(*store, "s").size() == 1);
       }},
      {"Store: a chunk out of range is refused",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         const auto refused = [&](auto spoil) {
           ReferenceChunk chunk = MakeChunk(0);
           spoil(chunk);
           RequireError(store->AppendReference("s", chunk), ErrorCode::kInvalidArgument);
         };
         refused([](ReferenceChunk& chunk) { chunk.source = -1; });
         refused([](ReferenceChunk& chunk) { chunk.num_packets = 0; });
         refused([](ReferenceChunk& chunk) { chunk.num_packets = -500; });
         refused([](ReferenceChunk& chunk) { chunk.num_erased_slots = -1; });
         refused([](ReferenceChunk& chunk) { chunk.sealed.clear(); });
         CHECK(RequireValue(store->GetStream("s")).num_packets == 0);
       }},
      {"Store: a range gives the chunks that overlap it, and no others",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         for (int i = 0; i < 4; ++i) RequireOk(store->AppendReference("s", MakeChunk(i)));
         const auto numbers = [&](std::int64_t first, std::int64_t end) {
           std::vector<std::int64_t> result;
           for (const auto& chunk : RequireValue(store->ReadReference("s", 0, first, end))) {
             result.push_back(chunk.first_packet / kChunkPackets);
           }
           return result;
         };
         using Numbers = std::vector<std::int64_t>;
         CHECK(numbers(0, 1) == Numbers{0});
         CHECK(numbers(499, 500) == Numbers{0});
         CHECK(numbers(500, 501) == Numbers{1});
         CHECK(numbers(499, 501) == Numbers{0, 1});
         CHECK(numbers(600, 1600) == Numbers{1, 2, 3});
         CHECK(numbers(-10, 10) == Numbers{0});
         CHECK(numbers(1999, 99999) == Numbers{3});
         CHECK(numbers(2000, 99999).empty());
         CHECK(numbers(-10, 0).empty());
         CHECK(numbers(700, 700).empty());
         CHECK(numbers(700, 600).empty());
       }},
      {"Store: fingerprints come by stream, source and packet; an empty one is left out",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("z-first"), {}));
         RequireOk(store->CreateStream(MakeStream("a-second"), {}));
         ReferenceChunk silent = MakeChunk(1);
         silent.fingerprint.clear();
         RequireOk(store->AppendReference("a-second", MakeChunk(0)));
         RequireOk(store->AppendReference("z-first", MakeChunk(0, 1)));
         RequireOk(store->AppendReference("z-first", MakeChunk(0)));
         RequireOk(store->AppendReference("z-first", silent));
         RequireOk(store->AppendReference("z-first", MakeChunk(2)));
         const std::vector<Visited> of_first = {FingerprintOf("z-first", MakeChunk(0)), FingerprintOf("z-first", MakeChunk(2)),
                                                FingerprintOf("z-first", MakeChunk(0, 1))};
         std::vector<Visited> of_all = of_first;
         of_all.push_back(FingerprintOf("a-second", MakeChunk(0)));
         CHECK(Fingerprints(*store, "z-first") == of_first);
         CHECK(Fingerprints(*store, std::nullopt) == of_all);
       }},
      {"Store: of a stream's fingerprints those come that are new to whoever asks",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->CreateStream(MakeStream("other"), {}));
         RequireOk(store->AppendReference("other", MakeChunk(0)));
         for (const int number : {0, 1, 3}) RequireOk(store->AppendReference("s", MakeChunk(number)));
         for (const int number : {2, 5}) RequireOk(store->AppendReference("s", MakeChunk(number, 4)));
         const auto from = [&](const std::map<int, std::int64_t>& from_packet) {
           std::vector<Visited> visited;
           RequireOk(store->VisitFingerprintsFrom(
               "s", from_packet, [&](std::string_view id, int source, std::int64_t first, auto bytes) {
                 visited.push_back({std::string(id), source, first, {bytes.begin(), bytes.end()}});
               }));
           return visited;
         };
         const auto of = [](int number, int source) { return FingerprintOf("s", MakeChunk(number, source)); };
         using All = std::vector<Visited>;
         const std::int64_t second = MakeChunk(1).first_packet;
         const std::int64_t last = MakeChunk(5).first_packet;
         CHECK(from({}) == All{of(0, 0), of(1, 0), of(3, 0), of(2, 4), of(5, 4)});
         CHECK(from({{0, second}}) == All{of(1, 0), of(3, 0), of(2, 4), of(5, 4)});
         CHECK(from({{0, second + 1}, {4, last}}) == All{of(3, 0), of(5, 4)});
         CHECK(from({{0, last}, {4, last + 1}, {7, 0}}).empty());
       }},
      {"Store: a visitor may read the store it is visiting",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         for (int i = 0; i < 3; ++i) RequireOk(store->AppendReference("s", MakeChunk(i)));
         std::size_t num_read = 0;
         RequireOk(store->VisitFingerprints(std::nullopt, [&](std::string_view id, int source, std::int64_t first, auto) {
           num_read += RequireValue(store->ReadReference(id, source, first, first + 1)).size();
         }));
         CHECK(num_read == 3);
       }},
      {"Store: what a visitor throws becomes an error, and the store goes on",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->AppendReference("s", MakeChunk(0)));
         const auto throwing = [](std::string_view, int, std::int64_t, std::span<const std::uint8_t>) {
           throw std::runtime_error("visitor");
         };
         RequireError(store->VisitFingerprints(std::nullopt, throwing), ErrorCode::kInternal);
         RequireOk(store->AppendReference("s", MakeChunk(1)));
       }},
  };
}

// ---- grants

inline std::vector<Case> GrantCases() {
  return {
      {"Store: grants come back by account, then from, in byte order",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> first = {{.account = "é"}, {.account = "b", .from_stream_us = 50, .to_stream_us = 60}};
         const std::vector<Grant> later = {
             {.account = "b", .from_stream_us = 5, .to_stream_us = 6}, {.account = "a"}, {.account = "Z"}};
         RequireOk(store->CreateStream(MakeStream("s"), first));
         RequireOk(store->AddGrants("s", later));
         const std::vector<Grant> wanted = {later[2], later[1], later[0], first[1], first[0]};
         CHECK(AllGrants(*db.Open(), "s") == wanted);
       }},
      {"Store: an identical grant again has no effect",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "ann", .from_stream_us = 1, .to_stream_us = 9},
                                            {.account = "ann", .from_stream_us = 1, .to_stream_us = 9}};
         RequireOk(store->CreateStream(MakeStream("s"), grants));
         RequireOk(store->AddGrants("s", grants));
         CHECK(AllGrants(*store, "s") == std::vector{grants[0]});
       }},
      {"Store: one account may have several grants in a stream, also overlapping ones",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "ann", .from_stream_us = 0, .to_stream_us = 10},
                                            {.account = "ann", .from_stream_us = 0, .to_stream_us = 20},
                                            {.account = "ann", .from_stream_us = 15}};
         RequireOk(store->CreateStream(MakeStream("s"), grants));
         CHECK(AllGrants(*store, "s") == grants);
       }},
      {"Store: a range gives the grants that overlap it; ends are exclusive",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "a", .from_stream_us = 10, .to_stream_us = 20},
                                            {.account = "b", .from_stream_us = 20}};
         RequireOk(store->CreateStream(MakeStream("s"), grants));
         const auto accounts = [&](std::int64_t from, std::int64_t to) {
           std::string result;
           for (const Grant& grant : RequireValue(store->ListGrants("s", from, to))) result += grant.account;
           return result;
         };
         CHECK(accounts(0, 10).empty());
         CHECK(accounts(0, 11) == "a");
         CHECK(accounts(19, 20) == "a");
         CHECK(accounts(20, 21) == "b");
         CHECK(accounts(19, 21) == "ab");
         CHECK(accounts(Grant::kOpenEnd - 1, Grant::kOpenEnd) == "b");
         CHECK(accounts(15, 15).empty());
         CHECK(accounts(18, 12).empty());
       }},
      {"Store: an empty or backward interval is refused, with all that came with it",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         for (const std::int64_t end : {7, 6, -1}) {
           const std::vector<Grant> grants = {{.account = "good"}, {.account = "bad", .from_stream_us = 7, .to_stream_us = end}};
           RequireError(store->AddGrants("s", grants), ErrorCode::kInvalidArgument);
         }
         CHECK(AllGrants(*store, "s").empty());
       }},
      {"Store: grants may be added to a complete stream",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "late"}};
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->CompleteStream("s", 4242));
         RequireOk(store->AddGrants("s", grants));
         CHECK(AllGrants(*store, "s") == grants);
       }},
      {"Store: grants of one stream are not those of another",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "ann"}};
         RequireOk(store->CreateStream(MakeStream("s"), grants));
         RequireOk(store->CreateStream(MakeStream("t"), {}));
         CHECK(AllGrants(*store, "t").empty());
       }},
      {"Store: ten thousand grants in one call",
       [](Database& db) {
         auto store = db.Open();
         std::vector<Grant> grants;
         for (int i = 0; i < 10000; ++i) grants.push_back({.account = "account-" + std::to_string(100000 + i)});
         RequireOk(store->CreateStream(MakeStream("s"), grants));
         CHECK(AllGrants(*store, "s") == grants);
       }},
      {"Store: accounts are counted over grants and clips that accuse them, or for one stream's grants",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> in_s = {
             {.account = "ann", .to_stream_us = 5}, {.account = "ann", .from_stream_us = 5}, {.account = "bob"}};
         const std::vector<Grant> in_t = {{.account = "ann"}, {.account = "cy"}};
         RequireOk(store->CreateStream(MakeStream("s"), in_s));
         RequireOk(store->CreateStream(MakeStream("t"), in_t));
         FindingRecord finding = MakeFinding(
             "accused",
             {{.account = "ann", .stream = "s"}, {.account = "ann", .stream = "t"}, {.account = "dee", .stream = "x"}});
         for (int scan = 0; scan < 3; ++scan) RequireOk(store->AddFinding(finding));  // of one clip
         finding.clip_sha256.assign(64, 'b');
         finding.accusations.resize(1);
         RequireOk(store->AddFinding(finding));
         CHECK(Accounts(*store, std::nullopt) ==
               std::vector<AccountLine>{{"ann", 3, 2}, {"bob", 1, 0}, {"cy", 1, 0}, {"dee", 0, 1}});
         // The clips that accuse an account do so in whatever stream.
         CHECK(Accounts(*store, "s") == std::vector<AccountLine>{{"ann", 2, 2}, {"bob", 1, 0}});
       }},
      {"Store: listeners of a stream are its accounts, however many grants they have",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> in_s = {
             {.account = "ann", .to_stream_us = 5}, {.account = "ann", .from_stream_us = 5}, {.account = "bob"}};
         const std::vector<Grant> in_t = {{.account = "ann"}};
         RequireOk(store->CreateStream(MakeStream("s"), in_s));
         RequireOk(store->CreateStream(MakeStream("t"), in_t));
         RequireOk(store->CreateStream(MakeStream("empty"), {}));
         CHECK(RequireValue(store->CountListeners()) ==
               std::map<std::string, ListenerCount>{{"s", {.num_listeners = 2}}, {"t", {.num_listeners = 1}}});
         RequireOk(store->RevokeGrants("s", std::vector<std::string>{"ann"}));
         RequireOk(store->AddGrants("s", std::vector<Grant>{{.account = "bob", .from_stream_us = 7}}));
         RequireOk(store->RevokeGrants("t", std::vector<std::string>{"ann"}));
         RequireOk(store->AddGrants("t", in_t));
         CHECK(RequireValue(store->CountListeners()) ==
               std::map<std::string, ListenerCount>{{"s", {.num_listeners = 2, .num_revoked = 1}}, {"t", {.num_listeners = 1}}});
       }},
      {"Store: a revoked grant stays in the lists, with the time",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {
             {.account = "ann", .to_stream_us = 5}, {.account = "ann", .from_stream_us = 5}, {.account = "bob"}};
         RequireOk(store->CreateStream(MakeStream("s"), grants));
         RequireOk(store->CreateStream(MakeStream("t"), grants));
         CHECK(RequireValue(store->RevokeGrants("s", std::vector<std::string>{"ann", "ann"})) == 1);
         const auto kept = AllGrants(*db.Open(), "s");
         REQUIRE(kept.size() == 3);
         CHECK(kept[0].revoked_unix_us >= RequireValue(store->GetStream("s")).created_unix_us);
         CHECK(kept[1].revoked_unix_us == kept[0].revoked_unix_us);
         CHECK(kept[2] == grants[2]);
         CHECK(AllGrants(*store, "t") == grants);
         CHECK(RequireValue(store->ListGrants("s", 2, 3)).size() == 2);
         CHECK(Accounts(*store, "s") == std::vector<AccountLine>{{"ann", 2, 0}, {"bob", 1, 0}});
         CHECK(RequireValue(store->RevokeGrants("s", std::vector<std::string>{"ann"})) == 0);
         CHECK(AllGrants(*store, "s") == kept);  // the first time counts
         CHECK(RequireValue(store->RevokeGrants("s", std::vector<std::string>{"ann", "bob"})) == 1);
       }},
      {"Store: granting again opens the revoked grant that is identical, and no other",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "ann"}, {.account = "bob", .to_stream_us = 9}, {.account = "bob"}};
         RequireOk(store->CreateStream(MakeStream("s"), grants));
         RequireOk(store->RevokeGrants("s", std::vector<std::string>{"ann", "bob"}));
         RequireOk(store->AddGrants(
             "s", std::vector<Grant>{grants[1], grants[1], {.account = "cy"}, {.account = "ann", .from_stream_us = 3}}));
         const auto now = AllGrants(*store, "s");
         REQUIRE(now.size() == 5);
         CHECK(now[0].revoked_unix_us > 0);
         CHECK(now[1] == Grant{.account = "ann", .from_stream_us = 3});
         CHECK(now[2] == grants[1]);
         CHECK(now[3].revoked_unix_us > 0);
         CHECK(now[4] == Grant{.account = "cy"});
       }},
      {"Store: revoking is for all of the accounts or none, and leaves grants with an id",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<Grant> grants = {{.account = "ann"}, {.account = "live", .id = "g1"}};
         RequireOk(store->CreateStream(MakeStream("s"), grants));
         for (const char* account : {"stranger", "live"}) {
           const auto refused = store->RevokeGrants("s", std::vector<std::string>{"ann", account});
           RequireError(refused, ErrorCode::kNotFound);
           CHECK(refused.error().message.find(account) != std::string::npos);
         }
         RequireError(store->RevokeGrants("s", std::vector<std::string>{"ann", ""}), ErrorCode::kInvalidArgument);
         RequireError(store->RevokeGrants("nowhere", std::vector<std::string>{"ann"}), ErrorCode::kNotFound);
         CHECK(AllGrants(*store, "s") == grants);
       }},
  };
}

// ---- findings

inline std::vector<Case> FindingCases() {
  return {
      {"Store: a finding comes back as it was added, its accusations in order",
       [](Database& db) {
         const FindingRecord wanted =
             MakeFinding("accused", {{.account = "zoe", .stream = "s", .log10_p = -14.25, .log10_bound = -10.125},
                                     {.account = "ann", .stream = "t", .log10_p = -INFINITY, .log10_bound = 0}});
         const std::int64_t before = NowUnixUs();
         const std::int64_t id = RequireValue(db.Open()->AddFinding(wanted));
         const auto findings = RequireValue(db.Open()->ListFindings({}));
         REQUIRE(findings.size() == 1);
         const FindingRecord& got = findings[0];
         CHECK(got.id == id);
         CHECK(got.created_unix_us >= before);
         CHECK(got.clip_name == wanted.clip_name);
         CHECK(got.clip_sha256 == wanted.clip_sha256);
         CHECK(got.verdict == wanted.verdict);
         CHECK(got.report_json == wanted.report_json);
         REQUIRE(got.accusations.size() == 2);
         for (int i = 0; i < 2; ++i) {
           CHECK(got.accusations[i].account == wanted.accusations[i].account);
           CHECK(got.accusations[i].stream == wanted.accusations[i].stream);
           CHECK(got.accusations[i].log10_p == wanted.accusations[i].log10_p);
           CHECK(got.accusations[i].log10_bound == wanted.accusations[i].log10_bound);
         }
       }},
      {"Store: a finding that accuses no one is a finding",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->AddFinding(MakeFinding("no_accusation", {})));
         const auto findings = RequireValue(store->ListFindings({}));
         REQUIRE(findings.size() == 1);
         CHECK(findings[0].accusations.empty());
       }},
      {"Store: an unknown verdict and scores that are no numbers are refused",
       [](Database& db) {
         auto store = db.Open();
         RequireError(store->AddFinding(MakeFinding("guilty", {})), ErrorCode::kInvalidArgument);
         RequireError(store->AddFinding(MakeFinding("", {})), ErrorCode::kInvalidArgument);
         RequireError(store->AddFinding(MakeFinding("accused", {{.account = "a", .stream = "s", .log10_p = NAN}})),
                      ErrorCode::kInvalidArgument);
         CHECK(RequireValue(store->ListFindings({})).empty());
       }},
      {"Store: findings are filtered by account, stream, verdict and time",
       [](Database& db) {
         auto store = db.Open();
         const auto add = [&](const char* verdict, std::vector<AccusationRecord> accusations) {
           return RequireValue(store->AddFinding(MakeFinding(verdict, std::move(accusations))));
         };
         const std::int64_t one = add("accused", {{.account = "ann", .stream = "s"}, {.account = "bob", .stream = "t"}});
         const std::int64_t two = add("accused", {{.account = "ann", .stream = "t"}, {.account = "ann", .stream = "t"}});
         const std::int64_t three = add("unknown_audio", {});
         CHECK(one < two);
         CHECK(two < three);
         using FindingIds = std::vector<std::int64_t>;
         const auto listed = [&](const FindingFilter& filter) { return Ids(RequireValue(store->ListFindings(filter))); };
         CHECK(listed({}) == FindingIds{one, two, three});
         CHECK(listed(Only("ann")) == FindingIds{one, two});
         CHECK(listed(Only("bob")) == FindingIds{one});
         CHECK(listed(Only({}, "t")) == FindingIds{one, two});
         CHECK(listed(Only("ann", "t")) == FindingIds{two});  // one and the same accusation
         CHECK(listed(Only({}, {}, "unknown_audio")) == FindingIds{three});
         CHECK(listed(Only({}, {}, "no_accusation")).empty());
         CHECK(listed(Only("nobody")).empty());
         CHECK(listed(Only("ann", {}, "unknown_audio")).empty());
         CHECK(listed(Since(NowUnixUs() + 60'000'000)).empty());
         CHECK(listed(Since(RequireValue(store->ListFindings({}))[0].created_unix_us)).size() == 3);
       }},
      {"Store: a filter does not hide the other accusations of a finding",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(
             store->AddFinding(MakeFinding("accused", {{.account = "ann", .stream = "s"}, {.account = "bob", .stream = "s"}})));
         CHECK(RequireValue(store->ListFindings(Only("bob")))[0].accusations.size() == 2);
       }},
      {"Store: findings are read page by page, each once",
       [](Database& db) {
         auto store = db.Open();
         std::vector<std::int64_t> added;
         for (int i = 0; i < 7; ++i) added.push_back(RequireValue(store->AddFinding(MakeFinding("no_accusation", {}))));
         std::vector<std::int64_t> paged;
         FindingFilter filter = AtMost(3);
         for (auto page = RequireValue(store->ListFindings(filter)); !page.empty();
              page = RequireValue(store->ListFindings(filter))) {
           CHECK(page.size() <= 3);
           for (const std::int64_t id : Ids(page)) paged.push_back(id);
           filter.after_id = paged.back();
         }
         CHECK(paged == added);
       }},
      {"Store: a filter out of range is refused",
       [](Database& db) {
         auto store = db.Open();
         RequireError(store->ListFindings(AtMost(0)), ErrorCode::kInvalidArgument);
         RequireError(store->ListFindings(AtMost(-1)), ErrorCode::kInvalidArgument);
         RequireError(store->ListFindings(AtMost(10001)), ErrorCode::kInvalidArgument);
         RequireError(store->ListFindings(Only({}, {}, "guilty")), ErrorCode::kInvalidArgument);
         RequireError(store->ListFindings(Only("")), ErrorCode::kInvalidArgument);
         RequireOk(store->ListFindings(AtMost(10000)));
       }},
  };
}

// ---- ownership, sources and live grants

inline constexpr Lease kHour = {.owner = {}, .duration_us = 3'600'000'000};
inline Lease HourOf(const std::string& owner) { return {.owner = owner, .duration_us = kHour.duration_us}; }

inline std::vector<Case> LiveCases() {
  return {
      {"Store: what a live stream is, is kept",
       [](Database& db) {
         auto store = db.Open();
         StreamRecord stream = MakeStream("s");
         stream.live = true;
         stream.retention_days = 30;
         const std::int64_t before = NowUnixUs();
         RequireOk(store->CreateStream(stream, {}, HourOf("one")));
         const StreamRecord got = RequireValue(store->GetStream("s"));
         CHECK(got.live);
         CHECK(got.retention_days == 30);
         CHECK(got.owner == "one");
         CHECK(got.epoch == kFirstEpoch);
         CHECK(got.leased_until_unix_us >= before + kHour.duration_us);
       }},
      {"Store: a stream under lease cannot be taken by another, and by its owner at once",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}, HourOf("one")));
         RequireError(store->TakeStream("s", HourOf("two")), ErrorCode::kFailedPrecondition);
         CHECK(RequireValue(store->TakeStream("s", HourOf("one"))) == kFirstEpoch + 1);
         CHECK(RequireValue(store->GetStream("s")).owner == "one");
       }},
      {"Store: after the lease anybody may take a stream, and the earlier owner's changes are refused",
       [](Database& db) {
         auto one = db.Open();
         auto two = db.Open();
         RequireOk(one->CreateStream(MakeStream("s"), {}, {.owner = "one"}));
         RequireOk(one->AppendReference("s", MakeChunk(0)));
         const std::int64_t epoch = RequireValue(two->TakeStream("s", HourOf("two")));
         RequireOk(two->AppendReference("s", MakeChunk(1), epoch));
         RequireError(one->AppendReference("s", MakeChunk(2)), ErrorCode::kFailedPrecondition);
         RequireError(one->RenewStream("s", kFirstEpoch), ErrorCode::kFailedPrecondition);
         RequireError(one->CompleteStream("s", 1), ErrorCode::kFailedPrecondition);
         RequireError(one->PutSource("s", kFirstEpoch, "mic", ""), ErrorCode::kFailedPrecondition);
         RequireOk(two->RenewStream("s", epoch));
         RequireOk(two->CompleteStream("s", 1, epoch));
         CHECK(AllChunks(*one, "s").size() == 2);
       }},
      {"Store: appending and renewing extend the lease",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}, HourOf("one")));
         const auto until = [&] { return RequireValue(store->GetStream("s")).leased_until_unix_us; };
         const std::int64_t first = until();
         RequireOk(store->AppendReference("s", MakeChunk(0)));
         const std::int64_t second = until();
         RequireOk(store->RenewStream("s", kFirstEpoch));
         CHECK(second > first);
         CHECK(until() > second);
       }},
      {"Store: a complete stream is not for taking, nor an unknown one",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->CompleteStream("s", 1));
         RequireError(store->TakeStream("s", HourOf("one")), ErrorCode::kFailedPrecondition);
         RequireError(store->TakeStream("t", HourOf("one")), ErrorCode::kNotFound);
         RequireError(store->RenewStream("t", 1), ErrorCode::kNotFound);
       }},
      {"Store: sources get numbers in order of arrival and keep them",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         RequireOk(store->CreateStream(MakeStream("t"), {}));
         CHECK(RequireValue(store->PutSource("s", kFirstEpoch, "zoe", "a")) == 0);
         CHECK(RequireValue(store->PutSource("s", kFirstEpoch, "ann", "b")) == 1);
         CHECK(RequireValue(store->PutSource("s", kFirstEpoch, "zoe", "c")) == 0);
         CHECK(RequireValue(store->PutSource("t", kFirstEpoch, "ann", "")) == 0);
         CHECK(RequireValue(db.Open()->ListSources("s")) == std::vector<SourceRecord>{{0, "zoe", "c"}, {1, "ann", "b"}});
         CHECK(RequireValue(store->ListSources("unknown")).empty());
         RequireError(store->PutSource("s", kFirstEpoch, "", ""), ErrorCode::kInvalidArgument);
         RequireOk(store->RemoveStream("s"));
         CHECK(RequireValue(store->ListSources("s")).empty());
       }},
      {"Store: a grant opens now and closes later",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         const std::vector<Grant> grants = {{.account = "ann", .from_stream_us = 100, .id = "g1", .delivery = "to ann"},
                                            {.account = "bob", .from_stream_us = 100, .id = "g2"}};
         RequireOk(store->AddGrants("s", grants));
         const LocatedGrant found = RequireValue(db.Open()->FindGrant("g1"));
         CHECK(found.stream_id == "s");
         CHECK(found.grant == grants[0]);
         RequireOk(store->CloseGrant("g1", 500));
         RequireOk(store->CloseGrant("g1", 900));  // it ended before
         CHECK(RequireValue(store->FindGrant("g1")).grant.to_stream_us == 500);
         CHECK(RequireValue(store->ListGrants("s", 499, 500)).size() == 2);
         CHECK(RequireValue(store->ListGrants("s", 500, 501)) == std::vector{grants[1]});
         RequireOk(store->CloseGrant("g2", 50));  // before it began: it keeps an instant
         CHECK(RequireValue(store->FindGrant("g2")).grant.to_stream_us == 101);
       }},
      {"Store: one account may hold several live grants of one interval, and each is closed by itself",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateStream(MakeStream("s"), {}));
         for (const char* id : {"g1", "g2", "g3"}) {
           const Grant grant{.account = "ann", .id = id};
           RequireOk(store->AddGrants("s", std::span(&grant, 1)));
         }
         CHECK(AllGrants(*store, "s").size() == 3);
         RequireOk(store->CloseGrant("g1", 500));
         RequireOk(store->CloseGrant("g2", 500));
         CHECK(RequireValue(store->FindGrant("g1")).grant.to_stream_us == 500);
         CHECK(RequireValue(store->FindGrant("g2")).grant.to_stream_us == 500);
         CHECK(RequireValue(store->ListGrants("s", 500, 501)) == std::vector<Grant>{{.account = "ann", .id = "g3"}});
         CHECK(Accounts(*store, "s") == std::vector<AccountLine>{{"ann", 3, 0}});
       }},
      {"Store: an unknown grant is not found",
       [](Database& db) {
         auto store = db.Open();
         RequireError(store->FindGrant("g"), ErrorCode::kNotFound);
         RequireError(store->CloseGrant("g", 1), ErrorCode::kNotFound);
         RequireError(store->FindGrant(""), ErrorCode::kInvalidArgument);
       }},
  };
}

// ---- leaks

inline std::vector<Case> LeakCases() {
  return {
      {"Store: leaks are the strongest finding of each account in each stream",
       [](Database& db) {
         auto store = db.Open();
         const auto add = [&](const std::string& label, std::vector<AccusationRecord> accusations) {
           FindingRecord finding = MakeFinding("accused", std::move(accusations));
           finding.case_label = label;
           return RequireValue(store->AddFinding(finding));
         };
         const auto one = add("spring", {{"ann", "s", -9, -5}, {"bob", "s", -20, -16}});
         const auto two = add("autumn", {{"ann", "s", -30, -26}});
         const auto three = add("", {{"ann", "t", -12, -8}});
         const auto line = [](const Leak& leak) {
           return std::tuple(leak.account, leak.stream, leak.finding_id, leak.log10_bound);
         };
         using Lines = std::vector<std::tuple<std::string, std::string, std::int64_t, double>>;
         const auto leaks = [&](const LeakFilter& filter) {
           Lines lines;
           for (const Leak& leak : RequireValue(store->QueryLeaks(filter))) lines.push_back(line(leak));
           return lines;
         };
         LeakFilter filter;
         CHECK(leaks(filter) == Lines{{"ann", "s", two, -26}, {"ann", "t", three, -8}, {"bob", "s", one, -16}});
         filter.limit = 2;
         CHECK(leaks(filter).size() == 2);
         filter.after_account = "ann";
         filter.after_stream = "t";
         CHECK(leaks(filter) == Lines{{"bob", "s", one, -16}});
         filter = {};
         filter.account = "ann";
         filter.stream = "s";
         const Leak both = RequireValue(store->QueryLeaks(filter)).at(0);
         CHECK(both.first_seen_unix_us < both.last_seen_unix_us);
         filter.case_label = "spring";
         CHECK(leaks(filter) == Lines{{"ann", "s", one, -5}});
         filter = {};
         filter.since_unix_us = both.last_seen_unix_us;
         CHECK(leaks(filter) == Lines{{"ann", "s", two, -26}, {"ann", "t", three, -8}});
         filter.until_unix_us = both.last_seen_unix_us;
         CHECK(leaks(filter).empty());
         filter = {};
         filter.limit = 0;
         RequireError(store->QueryLeaks(filter), ErrorCode::kInvalidArgument);
       }},
      {"Store: findings can be read newest first, and by case",
       [](Database& db) {
         auto store = db.Open();
         std::vector<std::int64_t> ids;
         for (int i = 0; i < 5; ++i) {
           FindingRecord finding = MakeFinding("no_accusation", {});
           finding.case_label = i % 2 == 0 ? "even" : "odd";
           ids.push_back(RequireValue(store->AddFinding(finding)));
         }
         FindingFilter filter = AtMost(2);
         filter.order = FindingOrder::kNewestFirst;
         CHECK(Ids(RequireValue(store->ListFindings(filter))) == std::vector{ids[4], ids[3]});
         filter.after_id = ids[3];
         CHECK(Ids(RequireValue(store->ListFindings(filter))) == std::vector{ids[2], ids[1]});
         filter = {};
         filter.case_label = "odd";
         CHECK(Ids(RequireValue(store->ListFindings(filter))) == std::vector{ids[1], ids[3]});
         CHECK(RequireValue(store->GetFinding(ids[2])).case_label == "even");
         RequireError(store->GetFinding(ids[4] + 1), ErrorCode::kNotFound);
       }},
  };
}

// ---- scans

inline NewScan MakeScan(const std::string& id, const std::string& key = {}) {
  NewScan scan;
  scan.id = id;
  scan.idempotency_key = key;
  scan.request_digest = "digest";
  scan.name = "clip.mp4";
  scan.stream = "s";
  scan.case_label = "spring";
  scan.max_false_accusation = 1e-9;
  scan.clip_sha256 = std::string(64, 'a');
  return scan;
}

// A clip of these many parts, each with bytes of its own.
inline JobQueue::ClipSource ClipOf(int num_parts) {
  auto bytes = std::make_shared<std::vector<std::uint8_t>>();
  return [=](std::int64_t part) -> Result<std::span<const std::uint8_t>> {
    bytes->clear();
    if (part < num_parts) bytes->assign(1000, static_cast<std::uint8_t>(part));
    return std::span<const std::uint8_t>(*bytes);
  };
}

inline std::size_t ClipBytes(Store& store, const std::string& id) {
  std::size_t total = 0;
  RequireOk(store.ReadClip(id, [&](std::span<const std::uint8_t> bytes) -> Result<void> {
    total += bytes.size();
    CHECK(bytes[0] == total / 1000 - 1);
    return {};
  }));
  return total;
}

inline constexpr std::int64_t kLeaseUs = 3'600'000'000;

inline std::vector<Case> JobCases() {
  return {
      {"JobQueue: a scan goes from the queue to its finding",
       [](Database& db) {
         auto store = db.Open();
         const ScanRecord queued = RequireValue(store->EnqueueScan(MakeScan("a"), ClipOf(3)));
         CHECK(queued.state == ScanState::kQueued);
         CHECK(queued.stream == "s");
         CHECK(queued.max_false_accusation == 1e-9);
         CHECK(RequireValue(store->CountScans()).waiting == 1);
         auto worker = db.Open();
         const auto claimed = RequireValue(worker->ClaimScan("w1", kLeaseUs));
         REQUIRE(claimed);
         CHECK(claimed->id == "a");
         CHECK(claimed->state == ScanState::kRunning);
         CHECK(claimed->attempt == 1);
         CHECK(ClipBytes(*worker, "a") == 3000);
         CHECK_FALSE(RequireValue(worker->RenewScan("a", 1, kLeaseUs, "searching", 0.5)).cancel_wanted);
         CHECK(RequireValue(store->GetScan("a")).stage == "searching");
         CHECK(RequireValue(store->GetScan("a")).fraction == 0.5);
         FindingRecord finding = MakeFinding("accused", {{.account = "ann", .stream = "s"}});
         finding.case_label = "spring";
         const std::int64_t id = RequireValue(worker->FinishScan("a", 1, finding));
         const ScanRecord done = RequireValue(store->GetScan("a"));
         CHECK(done.state == ScanState::kDone);
         CHECK(done.finding_id == id);
         CHECK(RequireValue(store->GetFinding(id)).scan_id == "a");
         RequireError(store->ReadClip("a", [](auto) -> Result<void> { return {}; }), ErrorCode::kNotFound);
         CHECK_FALSE(RequireValue(store->ClaimScan("w2", kLeaseUs)));
       }},
      {"JobQueue: a clip that is to be kept stays for its time, and is dropped once",
       [](Database& db) {
         auto store = db.Open();
         const auto finish = [&](const std::string& id, std::int64_t keep_us) {
           NewScan scan = MakeScan(id);
           scan.keep_clip_us = keep_us;
           RequireOk(store->EnqueueScan(scan, ClipOf(2)));
           CHECK(RequireValue(store->ClaimScan("w", kLeaseUs))->keep_clip_us == keep_us);
           RequireOk(store->FinishScan(id, 1, MakeFinding("no_accusation", {})));
         };
         finish("long", kLeaseUs);
         finish("short", 1);
         finish("never", 0);
         std::this_thread::sleep_for(std::chrono::milliseconds(2));
         CHECK(ClipBytes(*store, "long") == 2000);
         const auto is_gone = [&](const std::string& id) {
           RequireError(store->ReadClip(id, [](auto) -> Result<void> { return {}; }), ErrorCode::kNotFound);
         };
         is_gone("short");
         is_gone("never");
         CHECK(RequireValue(store->DropExpiredClip()));
         CHECK_FALSE(RequireValue(store->DropExpiredClip()));
         is_gone("short");
         CHECK(ClipBytes(*store, "long") == 2000);
         CHECK(RequireValue(store->GetScan("short")).state == ScanState::kDone);
       }},
      {"JobQueue: scans are claimed in order, each by one worker",
       [](Database& db) {
         auto one = db.Open();
         auto two = db.Open();
         for (const char* id : {"z", "y", "x"}) RequireOk(one->EnqueueScan(MakeScan(id), ClipOf(1)));
         CHECK(RequireValue(one->ClaimScan("w1", kLeaseUs))->id == "z");
         CHECK(RequireValue(two->ClaimScan("w2", kLeaseUs))->id == "y");
         CHECK(RequireValue(one->ClaimScan("w1", kLeaseUs))->id == "x");
         CHECK_FALSE(RequireValue(two->ClaimScan("w2", kLeaseUs)));
         CHECK(RequireValue(one->CountScans()).running == 3);
       }},
      {"JobQueue: when the lease has run out another takes the scan, and there is one finding",
       [](Database& db) {
         auto one = db.Open();
         auto two = db.Open();
         RequireOk(one->EnqueueScan(MakeScan("a"), ClipOf(1)));
         CHECK(RequireValue(one->ClaimScan("w1", 0))->attempt == 1);
         CHECK(RequireValue(two->ClaimScan("w2", kLeaseUs))->attempt == 2);
         const FindingRecord finding = MakeFinding("no_accusation", {});
         RequireError(one->FinishScan("a", 1, finding), ErrorCode::kFailedPrecondition);
         RequireError(one->RenewScan("a", 1, kLeaseUs, "x", 0), ErrorCode::kFailedPrecondition);
         RequireError(one->AbandonScan("a", 1, "x"), ErrorCode::kFailedPrecondition);
         RequireError(one->ReleaseScan("a", 1), ErrorCode::kFailedPrecondition);
         RequireOk(two->FinishScan("a", 2, finding));
         RequireError(two->FinishScan("a", 2, finding), ErrorCode::kFailedPrecondition);
         CHECK(RequireValue(one->ListFindings({})).size() == 1);
       }},
      {"JobQueue: the same request under its idempotency key is the same scan, another is refused",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->EnqueueScan(MakeScan("a", "key"), ClipOf(1)));
         CHECK(RequireValue(store->EnqueueScan(MakeScan("b", "key"), ClipOf(1))).id == "a");
         NewScan other = MakeScan("c", "key");
         other.request_digest = "other";
         RequireError(store->EnqueueScan(other, ClipOf(1)), ErrorCode::kAlreadyExists);
         RequireError(store->GetScan("b"), ErrorCode::kNotFound);
         RequireOk(store->EnqueueScan(MakeScan("d"), ClipOf(1)));
         RequireOk(store->EnqueueScan(MakeScan("e"), ClipOf(1)));
         CHECK(RequireValue(store->CountScans()).waiting == 3);
       }},
      {"JobQueue: an upload that breaks off leaves nothing",
       [](Database& db) {
         auto store = db.Open();
         const auto breaking = [](std::int64_t part) -> Result<std::span<const std::uint8_t>> {
           static const std::vector<std::uint8_t> kPart(10);
           if (part >= 2) return Fail(ErrorCode::kCancelled, "the client went away");
           return std::span<const std::uint8_t>(kPart);
         };
         RequireError(store->EnqueueScan(MakeScan("a", "key"), breaking), ErrorCode::kCancelled);
         RequireError(store->GetScan("a"), ErrorCode::kNotFound);
         RequireOk(store->EnqueueScan(MakeScan("a", "key"), ClipOf(1)));
       }},
      {"JobQueue: cancelling takes a waiting scan at once, and asks a running one",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->EnqueueScan(MakeScan("a"), ClipOf(1)));
         RequireOk(store->EnqueueScan(MakeScan("b"), ClipOf(1)));
         CHECK(RequireValue(store->ClaimScan("w", kLeaseUs))->id == "a");
         CHECK(RequireValue(store->CancelScan("b")).state == ScanState::kCancelled);
         CHECK(RequireValue(store->CancelScan("a")).state == ScanState::kRunning);
         CHECK(RequireValue(store->RenewScan("a", 1, kLeaseUs, "reading", 0)).cancel_wanted);
         RequireOk(store->AbandonScan("a", 1, "cancelled"));
         CHECK(RequireValue(store->GetScan("a")).state == ScanState::kCancelled);
         CHECK(RequireValue(store->CancelScan("a")).state == ScanState::kCancelled);
         RequireError(store->CancelScan("c"), ErrorCode::kNotFound);
         CHECK_FALSE(RequireValue(store->ClaimScan("w", kLeaseUs)));
       }},
      {"JobQueue: a scan that was to be cancelled when its worker died is not run again",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->EnqueueScan(MakeScan("a"), ClipOf(1)));
         RequireOk(store->EnqueueScan(MakeScan("b"), ClipOf(1)));
         RequireOk(store->ClaimScan("w", 0));
         RequireOk(store->CancelScan("a"));
         CHECK(RequireValue(store->ClaimScan("w", kLeaseUs))->id == "b");
         CHECK(RequireValue(store->GetScan("a")).state == ScanState::kCancelled);
       }},
      {"JobQueue: a scan that fails says why, and one that is released waits again",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->EnqueueScan(MakeScan("a"), ClipOf(1)));
         RequireOk(store->ClaimScan("w", kLeaseUs));
         RequireOk(store->ReleaseScan("a", 1));
         CHECK(RequireValue(store->GetScan("a")).state == ScanState::kQueued);
         CHECK(RequireValue(store->GetScan("a")).num_released == 1);
         CHECK(RequireValue(store->ClaimScan("w", kLeaseUs))->attempt == 2);
         CHECK(ClipBytes(*store, "a") == 1000);
         RequireOk(store->AbandonScan("a", 2, "no stream of this id"));
         CHECK(RequireValue(store->GetScan("a")).state == ScanState::kFailed);
         CHECK(RequireValue(store->GetScan("a")).error == "no stream of this id");
       }},
      {"JobQueue: a scan out of range is refused",
       [](Database& db) {
         auto store = db.Open();
         for (const double bound : {0.0, 1.0, -1.0, static_cast<double>(NAN)}) {
           NewScan scan = MakeScan("a");
           scan.max_false_accusation = bound;
           RequireError(store->EnqueueScan(scan, ClipOf(1)), ErrorCode::kInvalidArgument);
         }
         RequireError(store->EnqueueScan(MakeScan(""), ClipOf(1)), ErrorCode::kInvalidArgument);
         RequireError(store->EnqueueScan(MakeScan("a", "a\nb"), ClipOf(1)), ErrorCode::kInvalidArgument);
         RequireError(store->GetScan("a"), ErrorCode::kNotFound);
       }},
  };
}

// ---- what scans spent of the bound

inline FindingRecord Spending(double alpha) {
  FindingRecord finding = MakeFinding("no_accusation", {});
  finding.alpha_spent = alpha;
  return finding;
}

inline std::vector<Case> AlphaCases() {
  return {
      {"Store: what a scan spent is kept with its finding, whoever adds it",
       [](Database& db) {
         auto store = db.Open();
         const std::int64_t added = RequireValue(store->AddFinding(Spending(1e-6)));
         CHECK(RequireValue(db.Open()->GetFinding(added)).alpha_spent == 1e-6);
         RequireOk(store->EnqueueScan(MakeScan("a"), ClipOf(1)));
         RequireOk(store->ClaimScan("w", kLeaseUs));
         const std::int64_t finished = RequireValue(store->FinishScan("a", 1, Spending(0.25)));
         CHECK(RequireValue(store->GetFinding(finished)).alpha_spent == 0.25);
         CHECK(RequireValue(store->ListFindings({})).at(1).alpha_spent == 0.25);
         CHECK(RequireValue(store->GetFinding(RequireValue(store->AddFinding(Spending(0))))).alpha_spent == 0);
       }},
      {"Store: how often anybody was scored is summed over all findings",
       [](Database& db) {
         auto store = db.Open();
         CHECK(RequireValue(store->SumScored()) == 0);
         FindingRecord finding = Spending(1e-6);
         for (const std::int64_t num_scored : {3, 0, 4}) {
           finding.num_scored = num_scored;
           const std::int64_t id = RequireValue(store->AddFinding(finding));
           CHECK(RequireValue(store->GetFinding(id)).num_scored == num_scored);
         }
         CHECK(RequireValue(db.Open()->SumScored()) == 7);
         finding.num_scored = -1;
         RequireError(store->AddFinding(finding), ErrorCode::kInvalidArgument);
         CHECK(RequireValue(store->SumScored()) == 7);
       }},
      {"Store: what scans spent is summed from one time to another, and those that spent nothing are not counted",
       [](Database& db) {
         auto store = db.Open();
         CHECK(RequireValue(store->SumAlphaSpent(0, std::nullopt)) == AlphaSpent{});
         std::vector<std::int64_t> times;
         for (const double alpha : {0.5, 0.0, 0.25, 0.125}) {  // sums of these are exact
           times.push_back(RequireValue(store->GetFinding(RequireValue(store->AddFinding(Spending(alpha))))).created_unix_us);
         }
         const auto sum = [&](std::int64_t since, std::optional<std::int64_t> until = {}) {
           return RequireValue(store->SumAlphaSpent(since, until));
         };
         CHECK(sum(0) == AlphaSpent{.alpha = 0.875, .num_scans = 3});
         CHECK(sum(times[0], times[3] + 1) == AlphaSpent{.alpha = 0.875, .num_scans = 3});
         CHECK(sum(times[0] + 1) == AlphaSpent{.alpha = 0.375, .num_scans = 2});
         CHECK(sum(times[2]) == AlphaSpent{.alpha = 0.375, .num_scans = 2});
         CHECK(sum(0, times[2]) == AlphaSpent{.alpha = 0.5, .num_scans = 1});
         CHECK(sum(times[2], times[3]) == AlphaSpent{.alpha = 0.25, .num_scans = 1});
         CHECK(sum(times[1], times[2]) == AlphaSpent{});
         CHECK(sum(times[3] + 1) == AlphaSpent{});
         CHECK(sum(times[3], times[0]) == AlphaSpent{});
       }},
      {"Store: a bound that is no probability is refused",
       [](Database& db) {
         auto store = db.Open();
         for (const double alpha : {-1e-9, 1.5, static_cast<double>(INFINITY), static_cast<double>(NAN)}) {
           RequireError(store->AddFinding(Spending(alpha)), ErrorCode::kInvalidArgument);
         }
         CHECK(RequireValue(store->ListFindings({})).empty());
       }},
  };
}

inline std::vector<Case> AnswerCases() {
  return {
      {"AnswerStore: the first answer to a request is kept, and no other request gets it",
       [](Database& db) {
         auto store = db.Open();
         const std::vector<std::uint8_t> answer = {1, 0, 2};
         const std::vector<std::uint8_t> later = {9};
         CHECK_FALSE(RequireValue(store->FindAnswer("Grant", "key", "digest")));
         RequireOk(store->KeepAnswer("Grant", "key", "digest", answer));
         RequireOk(store->KeepAnswer("Grant", "key", "digest", later));
         CHECK(RequireValue(db.Open()->FindAnswer("Grant", "key", "digest")) == answer);
         RequireError(store->FindAnswer("Grant", "key", "other"), ErrorCode::kAlreadyExists);
         CHECK_FALSE(RequireValue(store->FindAnswer("Revoke", "key", "digest")));
         RequireError(store->FindAnswer("Grant", "", "digest"), ErrorCode::kInvalidArgument);
       }},
  };
}

// ---- access

inline constexpr char kTokenA[] = "000000000000000a";
inline constexpr char kTokenB[] = "000000000000000b";

// With bytes of its own as the hash, NUL among them.
inline TokenRecord MakeToken(const std::string& id, Role role = Role::kInvestigator) {
  TokenRecord token;
  token.id = id;
  token.name = "Zoë's \"laptop\"; DROP TABLE access_tokens --";
  token.role = role;
  for (std::size_t i = 0; i < kTokenHashBytes; ++i) token.secret_hash.push_back(static_cast<std::uint8_t>(i * 8));
  return token;
}

// The id of the token of this number.
inline std::string TokenId(int number) {
  std::string id = std::to_string(number);
  return std::string(16 - id.size(), '0') + id;
}

inline std::vector<std::string> TokenIds(const std::vector<TokenRecord>& tokens) {
  std::vector<std::string> ids;
  for (const TokenRecord& token : tokens) ids.push_back(token.id);
  return ids;
}

inline std::vector<std::int64_t> AccessIds(Store& store, const AccessFilter& filter) {
  std::vector<std::int64_t> ids;
  for (const AccessRecord& access : RequireValue(store.ListAccess(filter))) ids.push_back(access.id);
  return ids;
}

inline std::vector<Case> TokenCases() {
  return {
      {"AccessStore: a token comes back as it was created, by the store's clock",
       [](Database& db) {
         TokenRecord token = MakeToken(kTokenA, Role::kAdmin);
         token.expires_unix_us = 4'102'444'800'000'000;
         token.created_unix_us = 1;  // these three are the store's to set
         token.revoked_unix_us = 2;
         token.last_used_unix_us = 3;
         const std::int64_t before = NowUnixUs();
         const TokenRecord created = RequireValue(db.Open()->CreateToken(token));
         CHECK(created.created_unix_us >= before);
         CHECK(created.created_unix_us <= NowUnixUs());
         token.created_unix_us = created.created_unix_us;
         token.revoked_unix_us = {};
         token.last_used_unix_us = {};
         CHECK(created == token);
         CHECK(RequireValue(db.Open()->FindToken(kTokenA)) == token);
       }},
      {"AccessStore: every role, an empty name and a time that is over are kept",
       [](Database& db) {
         auto store = db.Open();
         int number = 0;
         for (const Role role : {Role::kRelay, Role::kInvestigator, Role::kAdmin}) {
           TokenRecord token = MakeToken(TokenId(++number), role);
           token.name = "";
           token.expires_unix_us = number;  // 1970: over, which is the caller's to notice
           RequireOk(store->CreateToken(token));
           const TokenRecord found = RequireValue(store->FindToken(token.id));
           CHECK(found.role == role);
           CHECK(found.name.empty());
           CHECK(found.expires_unix_us == number);
         }
       }},
      {"AccessStore: an id is taken once, also by a revoked token, which stays as it is",
       [](Database& db) {
         auto store = db.Open();
         const TokenRecord first = RequireValue(store->CreateToken(MakeToken(kTokenA, Role::kRelay)));
         RequireError(db.Open()->CreateToken(MakeToken(kTokenA, Role::kAdmin)), ErrorCode::kAlreadyExists);
         CHECK(RequireValue(store->FindToken(kTokenA)) == first);
         const TokenRecord revoked = RequireValue(store->RevokeToken(kTokenA));
         RequireError(store->CreateToken(MakeToken(kTokenA, Role::kAdmin)), ErrorCode::kAlreadyExists);
         CHECK(RequireValue(store->FindToken(kTokenA)) == revoked);
       }},
      {"AccessStore: an unknown token is not found",
       [](Database& db) {
         auto store = db.Open();
         RequireOk(store->CreateToken(MakeToken(kTokenA)));
         RequireError(store->FindToken(kTokenB), ErrorCode::kNotFound);
         RequireError(store->RevokeToken(kTokenB), ErrorCode::kNotFound);
         RequireError(store->TouchToken(kTokenB), ErrorCode::kNotFound);
         RequireError(store->ListTokens({.after_id = kTokenB}), ErrorCode::kNotFound);
       }},
      {"AccessStore: an id that cannot be is refused",
       [](Database& db) {
         auto store = db.Open();
         for (const char* id : {"", "000000000000000", "00000000000000000", "000000000000000A", "000000000000000g",
                                "' OR ''='' OR ''", "00000000000000\n0", "00000000000000é"}) {
           INFO(id);
           RequireError(store->CreateToken(MakeToken(id)), ErrorCode::kInvalidArgument);
           RequireError(store->FindToken(id), ErrorCode::kInvalidArgument);
           RequireError(store->RevokeToken(id), ErrorCode::kInvalidArgument);
           RequireError(store->TouchToken(id), ErrorCode::kInvalidArgument);
         }
         RequireError(store->ListTokens({.after_id = "x"}), ErrorCode::kInvalidArgument);
         CHECK(RequireValue(store->ListTokens({})).empty());
       }},
      {"AccessStore: a token out of range is refused",
       [](Database& db) {
         auto store = db.Open();
         const auto refuse = [&](auto change) {
           TokenRecord token = MakeToken(kTokenA);
           change(token);
           RequireError(store->CreateToken(token), ErrorCode::kInvalidArgument);
         };
         refuse([](TokenRecord& token) { token.name = std::string(256, 'x'); });
         refuse([](TokenRecord& token) { token.name = "a\nb"; });
         refuse([](TokenRecord& token) { token.name = "\xff"; });
         refuse([](TokenRecord& token) { token.name = "Zoe\u0308"; });  // not composed
         refuse([](TokenRecord& token) { token.secret_hash.clear(); });
         refuse([](TokenRecord& token) { token.secret_hash.pop_back(); });
         refuse([](TokenRecord& token) { token.secret_hash.push_back(0); });
         refuse([](TokenRecord& token) { token.role = static_cast<Role>(3); });
         refuse([](TokenRecord& token) { token.role = static_cast<Role>(-1); });
         RequireError(store->FindToken(kTokenA), ErrorCode::kNotFound);
         TokenRecord longest = MakeToken(kTokenA);
         longest.name = std::string(255, 'x');
         CHECK(RequireValue(store->CreateToken(longest)).name == longest.name);
       }},
      {"AccessStore: revoking a token twice keeps the first time, and revokes no other",
       [](Database& db) {
         auto store = db.Open();
         const TokenRecord created = RequireValue(store->CreateToken(MakeToken(kTokenA)));
         const TokenRecord other = RequireValue(store->CreateToken(MakeToken(kTokenB)));
         TokenRecord revoked = RequireValue(store->RevokeToken(kTokenA));
         CHECK(RequireValue(db.Open()->RevokeToken(kTokenA)) == revoked);
         CHECK(RequireValue(db.Open()->FindToken(kTokenA)) == revoked);
         REQUIRE(revoked.revoked_unix_us);
         CHECK(*revoked.revoked_unix_us >= created.created_unix_us);
         revoked.revoked_unix_us = {};
         CHECK(revoked == created);
         CHECK(RequireValue(store->FindToken(kTokenB)) == other);
       }},
      {"AccessStore: a token tells when it was last used",
       [](Database& db) {
         auto store = db.Open();
         const TokenRecord created = RequireValue(store->CreateToken(MakeToken(kTokenA)));
         const TokenRecord other = RequireValue(store->CreateToken(MakeToken(kTokenB)));
         RequireOk(store->TouchToken(kTokenA));
         const auto first = RequireValue(store->FindToken(kTokenA)).last_used_unix_us;
         CHECK(first >= created.created_unix_us);
         RequireOk(db.Open()->TouchToken(kTokenA));
         TokenRecord used = RequireValue(store->FindToken(kTokenA));
         CHECK(used.last_used_unix_us >= first);
         used.last_used_unix_us = {};
         CHECK(used == created);
         CHECK(RequireValue(store->FindToken(kTokenB)) == other);
       }},
      {"AccessStore: tokens are read page by page, each once, while others are created",
       [](Database& db) {
         auto store = db.Open();
         std::vector<std::string> added;
         const auto add = [&](int number) {  // descending ids: by creation is not by id
           added.push_back(TokenId(1000 - number));
           RequireOk(db.Open()->CreateToken(MakeToken(added.back())));
         };
         for (int i = 0; i < 7; ++i) add(i);
         std::vector<std::string> paged;
         TokenFilter filter{.limit = 3};
         for (auto page = RequireValue(store->ListTokens(filter)); !page.empty();
              page = RequireValue(store->ListTokens(filter))) {
           CHECK(page.size() <= 3);
           for (const std::string& id : TokenIds(page)) paged.push_back(id);
           filter.after_id = paged.back();
           RequireOk(store->RevokeToken(paged.front()));  // stays where it was
           if (added.size() < 10) add(static_cast<int>(added.size()));
         }
         CHECK(paged == added);
         CHECK(TokenIds(RequireValue(store->ListTokens({}))) == added);
         RequireError(store->ListTokens({.limit = 0}), ErrorCode::kInvalidArgument);
         RequireError(store->ListTokens({.limit = 10001}), ErrorCode::kInvalidArgument);
       }},
  };
}

inline std::vector<Case> AccessLogCases() {
  return {
      {"AccessStore: an access comes back as it was logged, by the store's clock",
       [](Database& db) {
         AccessRecord access{.id = 77,
                             .at_unix_us = 1,
                             .token_id = kTokenA,  // of no token of this store, which the log does not mind
                             .call = "Detection.QueryLeaks",
                             .subject = "account 'Zoë'; --\nsecond line",
                             .reason = std::string(1022, 'r') + "é"};
         const std::int64_t before = NowUnixUs();
         const std::int64_t id = RequireValue(db.Open()->LogAccess(access));
         const auto accesses = RequireValue(db.Open()->ListAccess({}));
         REQUIRE(accesses.size() == 1);
         CHECK(accesses[0].at_unix_us >= before);
         CHECK(accesses[0].at_unix_us <= NowUnixUs());
         access.id = id;
         access.at_unix_us = accesses[0].at_unix_us;
         CHECK(accesses[0] == access);
       }},
      {"AccessStore: accesses are filtered by time, token and call, newest first",
       [](Database& db) {
         auto store = db.Open();
         const auto log = [&](const char* token, const char* call) {
           return RequireValue(store->LogAccess({.token_id = token, .call = call}));
         };
         const std::int64_t one = log(kTokenA, "Detection.QueryLeaks");
         const std::int64_t two = log("", "Detection.QueryLeaks");
         const std::int64_t three = log(kTokenB, "Detection.GetFinding");
         const std::int64_t four = log(kTokenA, "Detection.GetFinding");
         CHECK(one < two);
         using LogIds = std::vector<std::int64_t>;
         CHECK(AccessIds(*store, {}) == LogIds{four, three, two, one});
         CHECK(AccessIds(*store, {.token_id = kTokenA}) == LogIds{four, one});
         CHECK(AccessIds(*store, {.token_id = ""}) == LogIds{two});
         CHECK(AccessIds(*store, {.token_id = "ffffffffffffffff"}).empty());
         CHECK(AccessIds(*store, {.call = "Detection.QueryLeaks"}) == LogIds{two, one});
         CHECK(AccessIds(*store, {.call = "Detection"}).empty());
         CHECK(AccessIds(*store, {.token_id = kTokenA, .call = "Detection.GetFinding"}) == LogIds{four});
         CHECK(AccessIds(*store, {.token_id = kTokenA, .after_id = four}) == LogIds{one});
         const std::int64_t moment = RequireValue(store->ListAccess({.token_id = kTokenB})).at(0).at_unix_us;
         CHECK(AccessIds(*store, {.since_unix_us = moment}) == LogIds{four, three});
         CHECK(AccessIds(*store, {.until_unix_us = moment}) == LogIds{two, one});
         CHECK(AccessIds(*store, {.since_unix_us = moment, .until_unix_us = moment + 1}) == LogIds{three});
         CHECK(AccessIds(*store, {.since_unix_us = NowUnixUs() + 60'000'000}).empty());
       }},
      {"AccessStore: the log is read page by page, each access once, while others are added",
       [](Database& db) {
         auto store = db.Open();
         std::vector<std::int64_t> newest_first;
         for (int i = 0; i < 7; ++i) {
           newest_first.insert(newest_first.begin(),
                               RequireValue(store->LogAccess({.token_id = {}, .call = "Detection.ListScans"})));
         }
         std::vector<std::int64_t> paged;
         AccessFilter filter{.limit = 3};
         for (auto page = AccessIds(*store, filter); !page.empty(); page = AccessIds(*store, filter)) {
           CHECK(page.size() <= 3);
           paged.insert(paged.end(), page.begin(), page.end());
           filter.after_id = paged.back();
           RequireOk(db.Open()->LogAccess({.token_id = {}, .call = "Detection.ListScans"}));
         }
         CHECK(paged == newest_first);
       }},
      {"AccessStore: an access out of range is refused and not logged",
       [](Database& db) {
         auto store = db.Open();
         const auto refuse = [&](auto change) {
           AccessRecord access{.token_id = kTokenA, .call = "Detection.QueryLeaks"};
           change(access);
           RequireError(store->LogAccess(access), ErrorCode::kInvalidArgument);
         };
         refuse([](AccessRecord& access) { access.token_id = "someone"; });
         refuse([](AccessRecord& access) { access.call = ""; });
         refuse([](AccessRecord& access) { access.call = std::string(256, 'x'); });
         refuse([](AccessRecord& access) { access.subject = std::string(1025, 'x'); });
         refuse([](AccessRecord& access) { access.subject = std::string("a\0b", 3); });
         refuse([](AccessRecord& access) { access.reason = std::string(1025, 'x'); });
         refuse([](AccessRecord& access) { access.reason = "\xff"; });
         RequireError(store->ListAccess({.token_id = "someone"}), ErrorCode::kInvalidArgument);
         RequireError(store->ListAccess({.call = ""}), ErrorCode::kInvalidArgument);
         RequireError(store->ListAccess({.limit = 0}), ErrorCode::kInvalidArgument);
         RequireError(store->ListAccess({.limit = 10001}), ErrorCode::kInvalidArgument);
         CHECK(RequireValue(store->ListAccess({})).empty());
       }},
  };
}

// ---- several connections

inline std::vector<Case> ConnectionCases() {
  return {
      {"Store: two connections take turns in one stream",
       [](Database& db) {
         auto one = db.Open();
         auto other = db.Open();
         RequireOk(one->CreateStream(MakeStream("s"), {}));
         for (int i = 0; i < 6; ++i) RequireOk((i % 2 == 0 ? one : other)->AppendReference("s", MakeChunk(i)));
         RequireError(one->AppendReference("s", MakeChunk(5)), ErrorCode::kFailedPrecondition);
         CHECK(AllChunks(*one, "s").size() == 6);
         CHECK(AllChunks(*other, "s").size() == 6);
       }},
      {"Store: closing one connection leaves the other working",
       [](Database& db) {
         auto one = db.Open();
         RequireOk(one->CreateStream(MakeStream("s"), {}));
         db.Open().reset();
         RequireOk(one->AppendReference("s", MakeChunk(0)));
         CHECK(AllChunks(*db.Open(), "s").size() == 1);
       }},
      {"Store: a visitor sees one moment of the store while another connection writes",
       [](Database& db) {
         auto reader = db.Open();
         auto writer = db.Open();
         RequireOk(writer->CreateStream(MakeStream("s"), {}));
         for (int i = 0; i < 3; ++i) RequireOk(writer->AppendReference("s", MakeChunk(i)));
         int num_visited = 0;
         RequireOk(reader->VisitFingerprints("s", [&](std::string_view, int, std::int64_t, auto) {
           RequireOk(writer->AppendReference("s", MakeChunk(3 + num_visited)));
           ++num_visited;
         }));
         CHECK(num_visited == 3);
         CHECK(Fingerprints(*reader, "s").size() == 6);
       }},
  };
}

inline std::vector<Case> StoreContract() {
  std::vector<Case> all;
  for (const auto& cases : {StreamCases(), ReferenceCases(), LiveCases(), GrantCases(), FindingCases(), LeakCases(), JobCases(),
                            AnswerCases(), AlphaCases(), TokenCases(), AccessLogCases(), ConnectionCases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

}  // namespace earmark::store_contract
