// The PostgreSQL store: the contract of every store, and what is particular to a store that is a server. ctest gives it a server of its own
// (tests/support/with_postgres.py).
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <pqxx/pqxx>
#include <string>
#include <thread>
#include <vector>

#include "db/store.h"
#include "tests/integration/store_contract.h"

namespace earmark {
namespace {

using store_contract::ClipOf;
using store_contract::kLeaseUs;
using store_contract::MakeChunk;
using store_contract::MakeFinding;
using store_contract::MakeScan;
using store_contract::MakeStream;
using store_contract::RequireError;
using store_contract::RequireOk;
using store_contract::RequireValue;

std::string ServerUrl() {
  const char* const url = std::getenv("EARMARK_TEST_POSTGRES");
  if (url == nullptr) FAIL("EARMARK_TEST_POSTGRES is not set: run this through ctest or tests/support/with_postgres.py");
  return url;
}

void RunSql(const std::string& url, const std::string& sql) {
  pqxx::connection connection(url);
  pqxx::nontransaction(connection).exec(sql);
}

// A schema of its own in the one database: as good as a database, and made in no time.
class PostgresDatabase final : public store_contract::Database {
 public:
  PostgresDatabase() {
    static std::atomic<int> num_databases{0};
    name_ = "store_" + std::to_string(++num_databases);
    RunSql(ServerUrl() + "/postgres", "CREATE SCHEMA " + name_);
  }
  ~PostgresDatabase() override { RunSql(ServerUrl() + "/postgres", "DROP SCHEMA " + name_ + " CASCADE"); }

  std::string Url() const { return ServerUrl() + "/postgres?options=-csearch_path%3D" + name_; }
  std::unique_ptr<Store> Open() override { return RequireValue(OpenStore(Url(), OpenMode::kReadWriteCreate)); }

 private:
  std::string name_;
};

TEST_CASE("Store: PostgreSQL keeps the contract of every store", "[store_postgres]") {
  for (const store_contract::Case& contract_case : store_contract::StoreContract()) {
    SECTION(contract_case.name) {
      PostgresDatabase database;
      contract_case.check(database);
    }
  }
}

TEST_CASE("Store: an empty database is no store until one is made in it", "[store_postgres]") {
  PostgresDatabase database;
  RequireError(OpenStore(database.Url(), OpenMode::kReadWrite), ErrorCode::kNotFound);
  database.Open();
  RequireOk(OpenStore(database.Url(), OpenMode::kReadWrite));
}

TEST_CASE("Store: a newer schema is refused and not altered", "[store_postgres]") {
  PostgresDatabase database;
  database.Open();
  RunSql(database.Url(), "UPDATE earmark_schema SET version = 1000");
  RequireError(OpenStore(database.Url(), OpenMode::kReadWriteCreate), ErrorCode::kFailedPrecondition);
}

// What 0005 and 0006 made. A column takes its indexes along.
constexpr char kUndoAccess[] =
    "ALTER TABLE scans DROP COLUMN keep_clip_us; ALTER TABLE scans DROP COLUMN clip_until_unix_us;"
    "ALTER TABLE findings DROP COLUMN num_scored; DROP TABLE finding_totals;"
    "DROP TABLE access_tokens; DROP TABLE access_log; ALTER TABLE findings DROP COLUMN alpha_spent;"
    " UPDATE earmark_schema SET version = 4;";

TEST_CASE("Store: the findings of a schema before the ledger spent nothing that is known, and there are no tokens yet",
          "[store_postgres]") {
  PostgresDatabase database;
  const std::int64_t id = RequireValue(database.Open()->AddFinding(MakeFinding("no_accusation", {})));
  RunSql(database.Url(), kUndoAccess);
  auto store = RequireValue(OpenStore(database.Url(), OpenMode::kReadWrite));
  CHECK(RequireValue(store->GetFinding(id)).alpha_spent == 0);
  CHECK(RequireValue(store->SumScored()) == 1);
  CHECK(RequireValue(store->SumAlphaSpent(0, std::nullopt)) == AlphaSpent{});
  CHECK(RequireValue(store->ListTokens({})).empty());
  RequireOk(store->CreateToken(store_contract::MakeToken(store_contract::kTokenA)));
  RequireOk(store->LogAccess({.token_id = store_contract::kTokenA, .call = "Detection.QueryLeaks"}));
  RequireOk(store->AddFinding(store_contract::Spending(0.5)));
  CHECK(RequireValue(store->SumAlphaSpent(0, std::nullopt)) == AlphaSpent{.alpha = 0.5, .num_scans = 1});
}

TEST_CASE("Store: the grants of a schema before revoking are not revoked, and can be", "[store_postgres]") {
  PostgresDatabase database;
  const std::vector<Grant> grants = {{.account = "ann"}};
  RequireOk(database.Open()->CreateStream(MakeStream("old"), grants));
  // What its migration and later ones made is all that the schema before lacks.
  RunSql(database.Url(),
         std::string(kUndoAccess) + "ALTER TABLE grants DROP COLUMN revoked_unix_us; UPDATE earmark_schema SET version = 3");
  auto store = RequireValue(OpenStore(database.Url(), OpenMode::kReadWrite));
  CHECK(store_contract::AllGrants(*store, "old") == grants);
  CHECK(RequireValue(store->RevokeGrants("old", std::vector<std::string>{"ann"})) == 1);
}

TEST_CASE("Store: a database with tables of another program is left alone", "[store_postgres]") {
  PostgresDatabase database;
  RunSql(database.Url(), "CREATE TABLE streams (theirs TEXT)");
  RequireError(OpenStore(database.Url(), OpenMode::kReadWriteCreate), ErrorCode::kFailedPrecondition);
  RequireError(OpenStore(database.Url(), OpenMode::kReadWrite), ErrorCode::kNotFound);
  RunSql(database.Url(), "INSERT INTO streams (theirs) VALUES ('still')");
}

TEST_CASE("Store: a stream in PostgreSQL is removed when its retention is over and nobody records it", "[store_postgres]") {
  PostgresDatabase database;
  auto store = database.Open();
  const auto add = [&](const std::string& id, int retention_days, bool recorded) {
    StreamRecord stream = MakeStream(id);
    stream.retention_days = retention_days;
    RequireOk(store->CreateStream(stream, {}, {.owner = "one", .duration_us = recorded ? 3'600'000'000 : 0}));
  };
  add("kept", 0, false);
  add("over", 1, false);
  add("on air", 1, true);
  CHECK_FALSE(RequireValue(store->RemoveExpiredStream()));
  RunSql(database.Url(), "UPDATE streams SET updated_unix_us = updated_unix_us - 86400000000");
  add("fresh", 1, false);
  CHECK(RequireValue(store->RemoveExpiredStream()) == "over");
  CHECK_FALSE(RequireValue(store->RemoveExpiredStream()));
  CHECK(RequireValue(store->ListStreams()).size() == 3);
}

TEST_CASE("Store: several that open an empty database at once make one schema", "[store_postgres]") {
  PostgresDatabase database;
  std::vector<std::thread> threads;
  constexpr int kThreads = 6;
  std::vector<std::string> failures(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const auto store = OpenStore(database.Url(), OpenMode::kReadWriteCreate);
      if (!store) failures[static_cast<std::size_t>(i)] = store.error().message;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == std::vector<std::string>(kThreads));
  RequireOk(database.Open()->CreateStream(MakeStream("s"), {}));
}

TEST_CASE("Store: a wrong password, database or port is one line without the password", "[store_postgres]") {
  const std::string url = ServerUrl();
  const std::string host = url.substr(url.find('@') + 1);
  for (const std::string& bad : std::vector<std::string>{"postgresql://earmark:wr0ng@" + host + "/postgres",
                                                         "postgresql://earmark:wr0ng@127.0.0.1:1/postgres",
                                                         "postgresql://nobody:wr0ng@" + host + "/none"}) {
    const auto opened = OpenStore(bad, OpenMode::kReadWriteCreate);
    RequireError(opened, ErrorCode::kUnavailable);
    CHECK(opened.error().message.find("wr0ng") == std::string::npos);
  }
}

TEST_CASE("Store: a connection that the server ended is made anew", "[store_postgres]") {
  PostgresDatabase database;
  auto store = database.Open();
  RequireOk(store->CreateStream(MakeStream("s"), {}));
  RunSql(ServerUrl() + "/postgres",
         "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()");
  RequireOk(store->AppendReference("s", MakeChunk(0)));
  CHECK(store_contract::AllChunks(*store, "s").size() == 1);
}

TEST_CASE("JobQueue: many workers at once finish every scan once", "[store_postgres]") {
  PostgresDatabase database;
  constexpr int kScans = 40;
  auto store = database.Open();
  for (int i = 0; i < kScans; ++i) RequireOk(store->EnqueueScan(MakeScan("scan-" + std::to_string(i)), ClipOf(1)));
  std::atomic<int> finished{0};
  std::vector<std::thread> workers;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&, w] {
      auto mine = OpenStore(database.Url(), OpenMode::kReadWrite).value();
      for (auto scan = mine->ClaimScan("w" + std::to_string(w), kLeaseUs).value(); scan;
           scan = mine->ClaimScan("w" + std::to_string(w), kLeaseUs).value()) {
        finished += mine->FinishScan(scan->id, scan->attempt, MakeFinding("no_accusation", {})) ? 1 : 0;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  CHECK(finished == kScans);
  CHECK(RequireValue(store->ListFindings({})).size() == kScans);
}

}  // namespace
}  // namespace earmark
