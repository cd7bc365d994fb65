// The SQLite store: the contract of every store, and what is particular to a store that is a file.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "db/migration.h"
#include "db/sql_store.h"
#include "db/sqlite_connection.h"
#include "db/sqlite_schema.h"
#include "db/store.h"
#include "tests/integration/store_contract.h"
#include "tests/integration/store_temp_folder.h"

namespace earmark {
namespace {

namespace fs = std::filesystem;
using store_contract::AllChunks;
using store_contract::AllGrants;
using store_contract::MakeChunk;
using store_contract::MakeStream;
using store_contract::RequireError;
using store_contract::RequireOk;
using store_contract::RequireValue;

class SqliteDatabase final : public store_contract::Database {
 public:
  std::unique_ptr<Store> Open() override { return RequireValue(OpenStore(folder_.Url(), OpenMode::kReadWriteCreate)); }

 private:
  TempFolder folder_;
};

std::unique_ptr<Store> MakeStore(const TempFolder& folder) {
  return RequireValue(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
}

// One that waits 20 ms for other writers.
std::unique_ptr<Store> OpenImpatient(const TempFolder& folder) {
  return std::make_unique<SqlStore>(
      RequireValue(ConnectSqlite(folder.File("store.db"), OpenMode::kReadWrite, std::chrono::milliseconds(20))));
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFile(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

void RunSql(const std::string& path, const std::string& sql) {
  SQLite::Database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec(sql);
}

int ModeOf(const std::string& path) {
  struct stat status {};
  REQUIRE(stat(path.c_str(), &status) == 0);
  return static_cast<int>(status.st_mode & 07777);
}

// Sets the umask of the process for as long as it lives.
class Umask {
 public:
  explicit Umask(mode_t mask) : old_(umask(mask)) {}
  ~Umask() { umask(old_); }

 private:
  mode_t old_;
};

// Neither way of opening takes the file, and neither changes a byte of it or leaves files beside it.
void RequireRefusedUntouched(const TempFolder& folder, ErrorCode code) {
  const std::string before = ReadFile(folder.File("store.db"));
  for (const OpenMode mode : {OpenMode::kReadWriteCreate, OpenMode::kReadWrite}) {
    const auto refused = OpenStore(folder.Url(), mode);
    RequireError(refused, code);
    CHECK(refused.error().message.find(folder.File("store.db")) != std::string::npos);
  }
  CHECK(ReadFile(folder.File("store.db")) == before);
  CHECK(folder.Names() == std::vector<std::string>{"store.db"});
}

}  // namespace

TEST_CASE("Store: SQLite keeps the contract", "[store_sqlite]") {
  for (const store_contract::Case& contract_case : store_contract::StoreContract()) {
    DYNAMIC_SECTION(contract_case.name) {
      SqliteDatabase database;
      contract_case.check(database);
    }
  }
}

// ---- the URL

TEST_CASE("Store: a URL of another engine or of none is refused, and its password is not repeated", "[store_sqlite]") {
  for (const char* url : {"mysql://me:secret@host/db", "", "/secret/store.db", "SQLITE:/secret", "sqlite", "\nsecret\n:x"}) {
    INFO(url);
    const auto refused = OpenStore(url, OpenMode::kReadWriteCreate);
    RequireError(refused, ErrorCode::kInvalidArgument);
    CHECK(refused.error().message.find("sqlite:PATH") != std::string::npos);
    CHECK(refused.error().message.find("me:secret") == std::string::npos);
  }
}

TEST_CASE("Store: a URL is shown without its password", "[store_sqlite]") {
  CHECK(PrintableStoreUrl("sqlite:/var/lib/earmark/store.db") == "sqlite:/var/lib/earmark/store.db");
  CHECK(PrintableStoreUrl("postgresql://me:secret@host:5432/db") == "postgresql://me:…@host:5432/db");
  CHECK(PrintableStoreUrl("postgresql://me@host/db?password=secret") == "postgresql://me@host/db");
  CHECK(PrintableStoreUrl("postgresql://host/db") == "postgresql://host/db");
}

TEST_CASE("Store: a path that is no file's is refused", "[store_sqlite]") {
  const TempFolder folder;
  REQUIRE(mkdir(folder.File("folder").c_str(), 0700) == 0);
  REQUIRE(mkfifo(folder.File("pipe").c_str(), 0600) == 0);
  for (const std::string& url : {std::string("sqlite:"), folder.Url(""), folder.Url("folder"), folder.Url("pipe"),
                                 std::string("sqlite:/dev/null"), folder.Url(std::string("a\0b", 3))}) {
    RequireError(OpenStore(url, OpenMode::kReadWriteCreate), ErrorCode::kInvalidArgument);
  }
  CHECK(folder.Names().size() == 2);
}

TEST_CASE("Store: names that SQLite reads as no path are paths here", "[store_sqlite]") {
  const TempFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.File(""));
  for (const char* name : {":memory:", "file:x?mode=memory", "plain.db", "with blank and é"}) {
    CHECK(OpenStore(std::string("sqlite:") + name, OpenMode::kReadWriteCreate).has_value());
    CHECK(fs::exists(name));
  }
  fs::current_path(before);
}

// ---- making one

TEST_CASE("Store: without leave to create, a missing store is not found and not made", "[store_sqlite]") {
  const TempFolder folder;
  RequireError(OpenStore(folder.Url(), OpenMode::kReadWrite), ErrorCode::kNotFound);
  RequireError(OpenStore(folder.Url("deep/store.db"), OpenMode::kReadWrite), ErrorCode::kNotFound);
  CHECK(folder.Names().empty());
}

TEST_CASE("Store: a made one is found again, with what it held", "[store_sqlite]") {
  const TempFolder folder;
  RequireOk(MakeStore(folder)->CreateStream(MakeStream("s"), {}));
  auto again = RequireValue(OpenStore(folder.Url(), OpenMode::kReadWrite));
  CHECK(again->GetStream("s").has_value());
  again.reset();
  CHECK(folder.Names() == std::vector<std::string>{"store.db"});  // the last one out tidies up
}

TEST_CASE("Store: file and folders are the owner's alone, whatever the umask", "[store_sqlite]") {
  for (const mode_t mask : {mode_t{0}, mode_t{0277}}) {
    const TempFolder folder;
    const Umask umask_for_now(mask);
    auto store = RequireValue(OpenStore(folder.Url("a/b/store.db"), OpenMode::kReadWriteCreate));
    RequireOk(store->CreateStream(MakeStream("s"), {}));
    CHECK(ModeOf(folder.File("a")) == 0700);
    CHECK(ModeOf(folder.File("a/b")) == 0700);
    CHECK(ModeOf(folder.File("a/b/store.db")) == 0600);
    CHECK(ModeOf(folder.File("a/b/store.db-wal")) == 0600);
    CHECK(ModeOf(folder.File("a/b/store.db-shm")) == 0600);
  }
}

TEST_CASE("Store: where no folder can be made, the error says so and nothing stays", "[store_sqlite]") {
  const TempFolder folder;
  WriteFile(folder.File("file"), "x");
  RequireError(OpenStore(folder.Url("file/store.db"), OpenMode::kReadWriteCreate), ErrorCode::kInvalidArgument);
  RequireError(OpenStore("sqlite:/proc/earmark-no-such/store.db", OpenMode::kReadWriteCreate), ErrorCode::kPermissionDenied);
  RequireError(OpenStore(folder.Url("new/folder/" + std::string(300, 'x')), OpenMode::kReadWriteCreate),
               ErrorCode::kInvalidArgument);
  CHECK(folder.Names() == std::vector<std::string>{"file"});
}

TEST_CASE("Store: a log left over from a deleted database is not played into a new one", "[store_sqlite]") {
  for (const char* name : {"store.db-wal", "store.db-journal"}) {
    const TempFolder folder;
    WriteFile(folder.File(name), "old");
    RequireError(OpenStore(folder.Url(), OpenMode::kReadWriteCreate), ErrorCode::kFailedPrecondition);
    CHECK(folder.Names() == std::vector<std::string>{name});
    CHECK(ReadFile(folder.File(name)) == "old");
  }
}

// ---- files that are not ours

TEST_CASE("Store: a file that is not SQLite's is refused and left as it is", "[store_sqlite]") {
  for (const std::string& bytes : {std::string(), std::string("hello"), std::string(8192, 'x'), std::string(4096, '\0'),
                                   std::string("SQLite format 3\0", 16), std::string("SQLite format 3")}) {
    const TempFolder folder;
    WriteFile(folder.File("store.db"), bytes);
    RequireRefusedUntouched(folder, ErrorCode::kFailedPrecondition);
  }
}

TEST_CASE("Store: the SQLite file of another program is refused and left as it is", "[store_sqlite]") {
  for (const char* journal_mode : {"DELETE", "WAL"}) {
    const TempFolder folder;
    RunSql(folder.File("store.db"), std::string("PRAGMA journal_mode = ") + journal_mode + "; CREATE TABLE streams (id TEXT);");
    RequireRefusedUntouched(folder, ErrorCode::kFailedPrecondition);
  }
}

TEST_CASE("Store: another program's database with work in its log is refused and keeps its log", "[store_sqlite]") {
  const TempFolder folder;
  SQLite::Database theirs(folder.File("store.db"), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  theirs.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1);");
  const std::string log = ReadFile(folder.File("store.db-wal"));
  RequireError(OpenStore(folder.Url(), OpenMode::kReadWriteCreate), ErrorCode::kFailedPrecondition);
  CHECK(ReadFile(folder.File("store.db-wal")) == log);
  theirs.exec("INSERT INTO t VALUES (2);");
}

TEST_CASE("Store: a schema newer than the build is refused and left as it is", "[store_sqlite]") {
  const TempFolder folder;
  MakeStore(folder).reset();
  RunSql(folder.File("store.db"), "PRAGMA user_version = 1000");
  RequireRefusedUntouched(folder, ErrorCode::kFailedPrecondition);
}

TEST_CASE("Store: an impossible schema number is damage", "[store_sqlite]") {
  const TempFolder folder;
  MakeStore(folder).reset();
  RunSql(folder.File("store.db"), "PRAGMA user_version = -1");
  RequireRefusedUntouched(folder, ErrorCode::kDataLoss);
}

// ---- damage

TEST_CASE("Store: a truncated file is damage, found on opening", "[store_sqlite]") {
  const TempFolder folder;
  {
    auto store = MakeStore(folder);
    RequireOk(store->CreateStream(MakeStream("s"), {}));
    for (int i = 0; i < 20; ++i) RequireOk(store->AppendReference("s", MakeChunk(i)));
  }
  const auto size = fs::file_size(folder.File("store.db"));
  for (const std::uintmax_t kept : {size - 4096, size / 2, std::uintmax_t{4096}, std::uintmax_t{200}}) {
    fs::resize_file(folder.File("store.db"), kept);
    RequireError(OpenStore(folder.Url(), OpenMode::kReadWriteCreate), ErrorCode::kDataLoss);
  }
}

TEST_CASE("Store: pages of noise give an error, never a crash or a chunk that looks whole", "[store_sqlite]") {
  const TempFolder folder;
  {
    auto store = MakeStore(folder);
    RequireOk(store->CreateStream(MakeStream("s"), {}));
    for (int i = 0; i < 3; ++i) RequireOk(store->AppendReference("s", MakeChunk(i)));
  }
  const std::string good = ReadFile(folder.File("store.db"));
  const std::size_t num_pages = good.size() / 4096;
  for (std::size_t page = 1; page < num_pages; ++page) {  // page 0 has the header
    std::string bad = good;
    for (std::size_t i = 0; i < 4096; ++i) bad[page * 4096 + i] = static_cast<char>((i * 197 + page * 31 + 89) % 251);
    WriteFile(folder.File("store.db"), bad);
    auto store = OpenStore(folder.Url(), OpenMode::kReadWrite);
    if (!store) {
      RequireError(store, ErrorCode::kDataLoss);
      continue;
    }
    const auto chunks = (*store)->ReadReference("s", 0, 0, 10000);
    if (!chunks) RequireError(chunks, ErrorCode::kDataLoss);
    const auto finding = (*store)->ListFindings({});
    if (!finding) RequireError(finding, ErrorCode::kDataLoss);
    const auto grants = (*store)->ListGrants("s", 0, Grant::kOpenEnd);
    if (!grants) RequireError(grants, ErrorCode::kDataLoss);
  }
}

// ---- migration

// As a release of that schema left it, with what `rows` puts in.
void MakeStoreOfSchema(int version, const std::string& path, const char* rows) {
  SQLite::Database db(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  for (int i = 0; i < version; ++i) db.exec(SqliteMigrations()[static_cast<std::size_t>(i)].sql);
  db.exec("PRAGMA user_version = " + std::to_string(version));
  db.exec("PRAGMA application_id = " + std::to_string(kSqliteApplicationId));
  db.exec(rows);
}

// A store as the first release left it: its schema, a stream with all that belongs to it, and a finding.
void MakeStoreOfSchema1(const std::string& path) {
  MakeStoreOfSchema(
      1, path,
      "INSERT INTO streams VALUES (7, 'old', 4, 2, 1, 32000, 0, 1, 1, 'key-1', x'000102030405060708090a0b0c0d0e0f', 'c0ffee', 1000, 2000, 500, 3, 479000);"
      "INSERT INTO reference_chunks VALUES (7, 0, 0, 500, 3, x'0badcafe');"
      "INSERT INTO fingerprints VALUES (7, 0, 0, x'12345678');"
      "INSERT INTO grants VALUES (7, 'ann', 0, 9223372036854775807), (7, 'bob', 5, 6);"
      "INSERT INTO findings VALUES (3, 4000, 'clip.mp4', 'aa', 'accused', '{}'), (9, 5000, 'gone.mp4', 'bb', 'unknown_audio', '{}');"
      "INSERT INTO accusations VALUES (3, 0, 'ann', 'old', -14.5, -10.5), (3, 1, 'bob', 'old', -13.5, -9.5);"
      "DELETE FROM findings WHERE id = 9;");
}

TEST_CASE("Store: one of the first release is brought up to date with all its data", "[store_sqlite]") {
  const TempFolder folder;
  MakeStoreOfSchema1(folder.File("store.db"));
  auto store = RequireValue(OpenStore(folder.Url(), OpenMode::kReadWrite));
  const StreamRecord stream = RequireValue(store->GetStream("old"));
  CHECK(stream.state == StreamState::kComplete);
  CHECK(stream.num_samples == 479000);
  CHECK(stream.created_unix_us == 1000);
  CHECK_FALSE(stream.live);
  CHECK(AllChunks(*store, "old").size() == 1);
  CHECK(store_contract::Fingerprints(*store, "old").size() == 1);
  CHECK(AllGrants(*store, "old") ==
        std::vector<Grant>{{.account = "ann"}, {.account = "bob", .from_stream_us = 5, .to_stream_us = 6}});
  const auto findings = RequireValue(store->ListFindings({}));
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].id == 3);
  CHECK(findings[0].clip_name == "clip.mp4");
  CHECK(findings[0].case_label.empty());
  REQUIRE(findings[0].accusations.size() == 2);
  CHECK(findings[0].accusations[1].account == "bob");
  CHECK(findings[0].accusations[1].log10_bound == -9.5);
  CHECK(RequireValue(store->QueryLeaks({})).size() == 2);
  CHECK(RequireValue(store->AddFinding(store_contract::MakeFinding("unreadable", {}))) == 10);  // 9 was used once
  RequireOk(store->RemoveStream("old"));
}

// As the second schema left it: a stream of host packets that is live, one of variants, and what belongs to them.
void MakeStoreOfSchema2(const std::string& path) {
  SQLite::Database db(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  for (int i = 0; i < 2; ++i) db.exec(SqliteMigrations()[static_cast<std::size_t>(i)].sql);
  db.exec("PRAGMA user_version = 2");
  db.exec("PRAGMA application_id = " + std::to_string(kSqliteApplicationId));
  db.exec(
      "INSERT INTO streams VALUES (7, 'host', 8, 3, 2, 64000, 1, 1, 0, 'key-1', x'000102030405060708090a0b0c0d0e0f', '', 1000, 2000, 500, 3, 0, 1, 30,"
      " 'sidecar', 4, 5000, 6000), (8, 'variants', 4, 2, 1, 32000, 0, 1, 1, 'key-1', x'000102030405060708090a0b0c0d0e0f', 'c0ffee', 1001, 2001, 500, 0,"
      " 479000, 0, 0, '', 1, 0, 0);"
      "INSERT INTO sources VALUES (7, 0, 'desk', '{}');"
      "INSERT INTO reference_chunks VALUES (7, 0, 0, 500, 3, x'0badcafe'), (8, 0, 0, 500, 0, x'cafe');"
      "INSERT INTO fingerprints VALUES (7, 0, 0, x'12345678');"
      "INSERT INTO grants VALUES (1, 7, 'ann', 0, 9223372036854775807, 'grant-1', '{}');");
}

TEST_CASE("Store: one of the second schema keeps its streams and may get those of source packets", "[store_sqlite]") {
  const TempFolder folder;
  MakeStoreOfSchema2(folder.File("store.db"));
  auto store = RequireValue(OpenStore(folder.Url(), OpenMode::kReadWrite));
  const StreamRecord host = RequireValue(store->GetStream("host"));
  CHECK(host.format == StreamFormat{.num_variants = 8,
                                    .packets_per_symbol = 3,
                                    .num_channels = 2,
                                    .bitrate_bps = 64000,
                                    .kind = ReferenceKind::kHostPackets});
  CHECK(host.live);
  CHECK(host.owner == "sidecar");
  CHECK(host.epoch == 4);
  CHECK(host.leased_until_unix_us == 6000);
  CHECK(RequireValue(store->GetStream("variants")).format == StreamFormat{});
  CHECK(store_contract::Ids(RequireValue(store->ListStreams())) == std::vector<std::string>{"host", "variants"});
  CHECK(AllChunks(*store, "host").size() == 1);
  CHECK(AllChunks(*store, "variants").size() == 1);
  CHECK(store_contract::Fingerprints(*store, "host").size() == 1);
  CHECK(RequireValue(store->ListSources("host")).size() == 1);
  REQUIRE(AllGrants(*store, "host").size() == 1);
  CHECK(AllGrants(*store, "host")[0].id == "grant-1");
  StreamRecord stream = MakeStream("new");
  stream.format = {.kind = ReferenceKind::kSourcePackets, .code_version = 2, .strength = 7};
  RequireOk(store->CreateStream(stream, {}));
  CHECK(RequireValue(store->GetStream("new")).format == stream.format);
  RequireOk(store->RemoveStream("host"));
  CHECK(AllChunks(*store, "host").empty());
}

// As the fourth schema left it: grants that nobody could revoke.
void MakeStoreOfSchema4(const std::string& path) {
  MakeStoreOfSchema(
      4, path,
      "INSERT INTO streams (stream_key, id, num_variants, packets_per_symbol, num_channels, code_version, state, key_id, salt, input_digest, created_unix_us,"
      " updated_unix_us) VALUES (7, 'old', 4, 1, 1, 2, 1, 'key-1', x'000102030405060708090a0b0c0d0e0f', 'c0ffee', 1000, 2000);"
      "INSERT INTO grants VALUES (1, 7, 'ann', 0, 9223372036854775807, NULL, NULL), (2, 7, 'bob', 5, 6, 'grant-1', '{}');");
}

TEST_CASE("Store: the grants of one of the fourth schema are not revoked, and can be", "[store_sqlite]") {
  const TempFolder folder;
  MakeStoreOfSchema4(folder.File("store.db"));
  auto store = RequireValue(OpenStore(folder.Url(), OpenMode::kReadWrite));
  const std::vector<Grant> grants = {
      {.account = "ann"}, {.account = "bob", .from_stream_us = 5, .to_stream_us = 6, .id = "grant-1", .delivery = "{}"}};
  CHECK(AllGrants(*store, "old") == grants);
  CHECK(RequireValue(store->RevokeGrants("old", std::vector<std::string>{"ann"})) == 1);
  CHECK(AllGrants(*store, "old")[0].revoked_unix_us > 2000);
  RequireOk(store->AddGrants("old", std::span(grants).first(1)));
  CHECK(AllGrants(*store, "old") == grants);
}

// As the fifth schema left it: findings that do not say what they spent.
void MakeStoreOfSchema5(const std::string& path) {
  MakeStoreOfSchema(
      5, path,
      "INSERT INTO findings (id, created_unix_us, clip_name, clip_sha256, verdict, scan_id, case_label, report_json) VALUES"
      " (3, 4000, 'clip.mp4', 'aa', 'accused', 'scan-1', 'spring', '{}'), (4, 5000, 'gone.mp4', 'bb', 'unknown_audio', NULL, '', '{}');"
      "INSERT INTO accusations VALUES (3, 0, 'ann', 'old', -14.5, -10.5);");
}

TEST_CASE("Store: the findings of one of the fifth schema spent nothing that is known, and there are no tokens yet",
          "[store_sqlite]") {
  const TempFolder folder;
  MakeStoreOfSchema5(folder.File("store.db"));
  auto store = RequireValue(OpenStore(folder.Url(), OpenMode::kReadWrite));
  const auto findings = RequireValue(store->ListFindings({}));
  REQUIRE(findings.size() == 2);
  CHECK(findings[0].scan_id == "scan-1");
  CHECK(findings[0].case_label == "spring");
  CHECK(findings[0].accusations.size() == 1);
  CHECK(findings[0].alpha_spent == 0);
  CHECK(RequireValue(store->SumAlphaSpent(0, std::nullopt)) == AlphaSpent{});
  CHECK(RequireValue(store->ListTokens({})).empty());
  CHECK(RequireValue(store->ListAccess({})).empty());
  RequireOk(store->CreateToken(store_contract::MakeToken(store_contract::kTokenA)));
  RequireOk(store->LogAccess({.token_id = store_contract::kTokenA, .call = "Detection.QueryLeaks"}));
  CHECK(RequireValue(store->SumScored()) == 1);
  CHECK(RequireValue(store->AddFinding(store_contract::Spending(0.5))) == 5);
  CHECK(RequireValue(store->SumAlphaSpent(0, std::nullopt)) == AlphaSpent{.alpha = 0.5, .num_scans = 1});
}

TEST_CASE("Store: the sum of what scans spent reads an index and no reports", "[store_sqlite]") {
  const TempFolder folder;
  MakeStore(folder).reset();
  SQLite::Database db(folder.File("store.db"), SQLite::OPEN_READONLY);
  SQLite::Statement plan(db,
                         "EXPLAIN QUERY PLAN SELECT coalesce(sum(alpha_spent), 0.0), count(*) FROM findings"
                         " WHERE alpha_spent > 0 AND created_unix_us >= $1 AND created_unix_us < $2");
  REQUIRE(plan.executeStep());
  CHECK(plan.getColumn(3).getString().find("USING COVERING INDEX findings_by_alpha") != std::string::npos);
}

TEST_CASE("Store: a stream is removed when its retention is over and nobody records it", "[store_sqlite]") {
  const TempFolder folder;
  auto store = MakeStore(folder);
  const auto add = [&](const std::string& id, int retention_days, bool recorded) {
    StreamRecord stream = MakeStream(id);
    stream.retention_days = retention_days;
    RequireOk(store->CreateStream(stream, {}, {.owner = "one", .duration_us = recorded ? 3'600'000'000 : 0}));
  };
  add("kept", 0, false);
  add("over", 1, false);
  add("on air", 1, true);
  CHECK_FALSE(RequireValue(store->RemoveExpiredStream()));
  RunSql(folder.File("store.db"), "UPDATE streams SET updated_unix_us = updated_unix_us - 86400000000");
  add("fresh", 1, false);
  CHECK(RequireValue(store->RemoveExpiredStream()) == "over");
  CHECK_FALSE(RequireValue(store->RemoveExpiredStream()));
  CHECK(RequireValue(store->ListStreams()).size() == 3);
}

// ---- locks and journals

TEST_CASE("Store: a writer that waits too long for another is told to try again", "[store_sqlite]") {
  const TempFolder folder;
  MakeStore(folder).reset();
  auto store = OpenImpatient(folder);
  SQLite::Database other(folder.File("store.db"), SQLite::OPEN_READWRITE);
  other.exec("BEGIN IMMEDIATE");
  RequireError(store->CreateStream(MakeStream("s"), {}), ErrorCode::kUnavailable);
  RequireOk(store->ListStreams());  // readers do not wait
  RequireOk(OpenStore(folder.Url(), OpenMode::kReadWrite));
  other.exec("ROLLBACK");
  RequireOk(store->CreateStream(MakeStream("s"), {}));
}

TEST_CASE("Store: one brought back in another journal mode works, and goes back to WAL", "[store_sqlite]") {
  const TempFolder folder;
  RequireOk(MakeStore(folder)->CreateStream(MakeStream("s"), {}));
  RunSql(folder.File("store.db"), "PRAGMA journal_mode = DELETE");
  auto store = RequireValue(OpenStore(folder.Url(), OpenMode::kReadWrite));
  RequireOk(store->AppendReference("s", MakeChunk(0)));
  CHECK(fs::exists(folder.File("store.db-wal")));
}

TEST_CASE("Store: a copy made by VACUUM INTO is a whole store", "[store_sqlite]") {
  const TempFolder folder;
  auto store = MakeStore(folder);
  RequireOk(store->CreateStream(MakeStream("s"), {}));
  RequireOk(store->AppendReference("s", MakeChunk(0)));
  RunSql(folder.File("store.db"), "VACUUM INTO '" + folder.File("copy.db") + "'");
  auto copy = RequireValue(OpenStore(folder.Url("copy.db"), OpenMode::kReadWrite));
  CHECK(AllChunks(*copy, "s").size() == 1);
  RequireOk(copy->AppendReference("s", MakeChunk(1)));
}

TEST_CASE("Store: a closed connection does not take the locks of another in the same process", "[store_sqlite]") {
  const TempFolder folder;
  auto store = MakeStore(folder);
  auto impatient = OpenImpatient(folder);
  SQLite::Database holder(folder.File("store.db"), SQLite::OPEN_READWRITE);
  holder.exec("BEGIN IMMEDIATE");
  OpenStore(folder.Url(), OpenMode::kReadWrite).value().reset();
  RequireError(impatient->CreateStream(MakeStream("s"), {}), ErrorCode::kUnavailable);
}

TEST_CASE("Store: the bytes of a removed stream are overwritten in the file", "[store_sqlite]") {
  const TempFolder folder;
  ReferenceChunk chunk = MakeChunk(0);
  const std::string needle = "a-rather-unlikely-fingerprint";
  chunk.fingerprint.assign(needle.begin(), needle.end());
  auto store = MakeStore(folder);
  RequireOk(store->CreateStream(MakeStream("s"), {}));
  RequireOk(store->AppendReference("s", chunk));
  store.reset();
  CHECK(ReadFile(folder.File("store.db")).find(needle) != std::string::npos);
  store = MakeStore(folder);
  RequireOk(store->RemoveStream("s"));
  store.reset();
  CHECK(ReadFile(folder.File("store.db")).find(needle) == std::string::npos);
}

// Hidden: run `integration_tests "[store_speed]"` by hand on a quiet machine. The numbers stand in docs/formats/store.md.
TEST_CASE("Store: how long the big calls take", "[store_speed][.]") {
  const TempFolder folder;
  auto store = MakeStore(folder);
  std::vector<Grant> grants;
  for (int i = 0; i < 1'000'000; ++i)
    grants.push_back({.account = "account-" + std::to_string(std::int64_t{i} * 7919 % 1'000'003)});
  const auto timed = [](const std::string& what, const auto& call) {
    const auto start = std::chrono::steady_clock::now();
    call();
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    WARN(what << ": " << taken.count() << " ms");
  };
  timed("CreateStream with 10,000 grants",
        [&] { RequireOk(store->CreateStream(MakeStream("small"), std::span(grants).first(10000))); });
  timed("CreateStream with 1,000,000 grants", [&] { RequireOk(store->CreateStream(MakeStream("big"), grants)); });
  timed("ListGrants of 1,000,000", [&] { CHECK(AllGrants(*store, "big").size() == grants.size()); });
  timed("ListAccounts of 1,000,000", [&] { CHECK(RequireValue(store->ListAccounts("big")).size() == grants.size()); });
  ReferenceChunk chunk = MakeChunk(0);
  chunk.sealed.resize(160'000);  // 10 s of four variants at 32 kb/s
  chunk.fingerprint.resize(4000);
  timed("AppendReference, 360 chunks of 160 kB (one hour)", [&] {
    for (int i = 0; i < 360; ++i) {
      chunk.first_packet = std::int64_t{i} * chunk.num_packets;
      RequireOk(store->AppendReference("big", chunk));
    }
  });
  timed("VisitFingerprints of one hour", [&] { CHECK(store_contract::Fingerprints(*store, "big").size() == 360); });
  timed("RemoveStream of one hour and 1,000,000 grants", [&] { RequireOk(store->RemoveStream("big")); });
}

}  // namespace earmark
