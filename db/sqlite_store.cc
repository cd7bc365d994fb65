#include "db/sqlite_store.h"

#include <SQLiteCpp/SQLiteCpp.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "db/sqlite_error.h"
#include "db/sqlite_open.h"
#include "db/store_checks.h"

namespace earmark {
namespace {

// ---- streams

constexpr char kInsertStream[] =
    "INSERT INTO streams (id, num_variants, packets_per_symbol, num_channels, bitrate_bps, reference_kind, code_version, state,"
    " key_id, salt, input_digest, created_unix_us, updated_unix_us)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)";
constexpr char kSelectStream[] =
    "SELECT id, num_variants, packets_per_symbol, num_channels, bitrate_bps, reference_kind, code_version, state, key_id, salt,"
    " input_digest, created_unix_us, updated_unix_us, num_packets, num_erased_slots, num_samples FROM streams WHERE id = ?1";
constexpr char kListStreams[] =
    "SELECT id, num_variants, packets_per_symbol, num_channels, bitrate_bps, reference_kind, code_version, state, key_id, salt,"
    " input_digest, created_unix_us, updated_unix_us, num_packets, num_erased_slots, num_samples FROM streams ORDER BY created_unix_us, id";
constexpr char kFindStream[] = "SELECT stream_key, state FROM streams WHERE id = ?1";
constexpr char kGrowStream[] =
    "UPDATE streams SET num_packets = max(num_packets, ?2), num_erased_slots = num_erased_slots + ?3,"
    " updated_unix_us = max(updated_unix_us, ?4) WHERE stream_key = ?1";
constexpr char kCompleteStream[] =
    "UPDATE streams SET state = ?2, updated_unix_us = max(updated_unix_us, ?3), num_samples = ?4 WHERE stream_key = ?1";
constexpr char kDeleteStream[] = "DELETE FROM streams WHERE id = ?1";

// ---- reference

constexpr char kEndOfSource[] =
    "SELECT first_packet + num_packets FROM reference_chunks WHERE stream_key = ?1 AND source = ?2"
    " ORDER BY first_packet DESC LIMIT 1";
constexpr char kInsertChunk[] =
    "INSERT INTO reference_chunks (stream_key, source, first_packet, num_packets, num_erased_slots, sealed)"
    " VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
constexpr char kInsertFingerprint[] =
    "INSERT INTO fingerprints (stream_key, source, first_packet, fingerprint) VALUES (?1, ?2, ?3, ?4)";
// Chunks neither overlap nor leave gaps, so those of a range start with the last one that begins at or before it.
constexpr char kSelectChunks[] =
    "SELECT c.first_packet, c.num_packets, c.num_erased_slots, c.sealed"
    " FROM streams s JOIN reference_chunks c ON c.stream_key = s.stream_key"
    " WHERE s.id = ?1 AND c.source = ?2 AND c.first_packet < ?4 AND c.first_packet + c.num_packets > ?3 AND c.first_packet >="
    " coalesce((SELECT max(b.first_packet) FROM reference_chunks b WHERE b.stream_key = s.stream_key AND b.source = ?2"
    "           AND b.first_packet <= ?3), 0)"
    " ORDER BY c.first_packet";
// CROSS JOIN fixes the order of the loops, so that both indexes give the wanted order and nothing is sorted or held in memory.
constexpr char kSelectFingerprints[] =
    "SELECT s.id, f.source, f.first_packet, f.fingerprint FROM streams s CROSS JOIN fingerprints f ON f.stream_key = s.stream_key"
    " ORDER BY s.created_unix_us, s.id, f.source, f.first_packet";
constexpr char kSelectFingerprintsOfStream[] =
    "SELECT s.id, f.source, f.first_packet, f.fingerprint FROM streams s CROSS JOIN fingerprints f ON f.stream_key = s.stream_key"
    " WHERE s.id = ?1 ORDER BY f.source, f.first_packet";

// ---- grants

constexpr char kInsertGrant[] =
    "INSERT INTO grants (stream_key, account, from_stream_us, to_stream_us) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
constexpr char kSelectGrants[] =
    "SELECT g.account, g.from_stream_us, g.to_stream_us FROM grants g JOIN streams s ON s.stream_key = g.stream_key"
    " WHERE s.id = ?1 AND g.from_stream_us < ?3 AND g.to_stream_us > ?2 AND ?2 < ?3"
    " ORDER BY g.account, g.from_stream_us, g.to_stream_us";
constexpr char kSelectAccounts[] =
    "SELECT account, sum(grants), sum(accusations) FROM"
    " (SELECT account, count(*) AS grants, 0 AS accusations FROM grants GROUP BY account"
    "  UNION ALL SELECT account, 0, count(*) FROM accusations GROUP BY account)"
    " GROUP BY account ORDER BY account";
constexpr char kSelectAccountsOfStream[] =
    "SELECT g.account, count(*), (SELECT count(*) FROM accusations a WHERE a.account = g.account)"
    " FROM grants g JOIN streams s ON s.stream_key = g.stream_key WHERE s.id = ?1 GROUP BY g.account ORDER BY g.account";

// ---- findings

constexpr char kInsertFinding[] =
    "INSERT INTO findings (created_unix_us, clip_name, clip_sha256, verdict, report_json) VALUES (?1, ?2, ?3, ?4, ?5)";
constexpr char kInsertAccusation[] =
    "INSERT INTO accusations (finding_id, position, account, stream, log10_p, log10_bound) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
constexpr char kSelectFindings[] =
    "SELECT id, created_unix_us, clip_name, clip_sha256, verdict, report_json FROM findings"
    " WHERE id > ?1 AND created_unix_us >= ?2 AND (?3 IS NULL OR verdict = ?3)";
// Continuations of the one above.
constexpr char kWhereAccountAccused[] = " AND id IN (SELECT finding_id FROM accusations WHERE account = ?5)";
constexpr char kWhereStreamAccused[] = " AND id IN (SELECT finding_id FROM accusations WHERE stream = ?6)";
constexpr char kWhereBothAccused[] = " AND id IN (SELECT finding_id FROM accusations WHERE account = ?5 AND stream = ?6)";
constexpr char kOrderFindings[] = " ORDER BY id LIMIT ?4";
constexpr char kSelectAccusations[] =
    "SELECT account, stream, log10_p, log10_bound FROM accusations WHERE finding_id = ?1 ORDER BY position";

std::int64_t NowUnixUs() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
}

// ---- binding and reading

void BindText(SQLite::Statement& statement, int index, std::string_view text) { statement.bind(index, std::string(text)); }

// The bytes must outlive the next step. They are not empty: SQLite would take a null pointer for NULL.
void BindBytes(SQLite::Statement& statement, int index, std::span<const std::uint8_t> bytes) {
  statement.bindNoCopy(index, bytes.data(), static_cast<int>(bytes.size()));
}

std::span<const std::uint8_t> Bytes(const SQLite::Column& column) {
  return {static_cast<const std::uint8_t*>(column.getBlob()), static_cast<std::size_t>(column.getBytes())};
}

Result<StreamRecord> ReadStream(const SQLite::Statement& row) {
  StreamRecord stream;
  stream.id = row.getColumn(0).getString();
  stream.format.num_variants = row.getColumn(1).getInt();
  stream.format.packets_per_symbol = row.getColumn(2).getInt();
  stream.format.num_channels = row.getColumn(3).getInt();
  stream.format.bitrate_bps = row.getColumn(4).getInt();
  stream.format.kind = static_cast<ReferenceKind>(row.getColumn(5).getInt());
  stream.format.code_version = row.getColumn(6).getInt();
  stream.state = static_cast<StreamState>(row.getColumn(7).getInt());
  stream.key_id = row.getColumn(8).getString();
  const SQLite::Column salt_column = row.getColumn(9);
  const auto salt = Bytes(salt_column);
  if (salt.size() != stream.salt.size()) {
    return Fail(ErrorCode::kDataLoss, "salt of stream '" + Printable(stream.id) + "': wanted " +
                                          std::to_string(stream.salt.size()) + " bytes, got " + std::to_string(salt.size()));
  }
  std::copy(salt.begin(), salt.end(), stream.salt.begin());
  stream.input_digest = row.getColumn(10).getString();
  stream.created_unix_us = row.getColumn(11).getInt64();
  stream.updated_unix_us = row.getColumn(12).getInt64();
  stream.num_packets = row.getColumn(13).getInt64();
  stream.num_erased_slots = row.getColumn(14).getInt64();
  stream.num_samples = row.getColumn(15).getInt64();
  return stream;
}

FindingRecord ReadFinding(const SQLite::Statement& row) {
  FindingRecord finding;
  finding.id = row.getColumn(0).getInt64();
  finding.created_unix_us = row.getColumn(1).getInt64();
  finding.clip_name = row.getColumn(2).getString();
  finding.clip_sha256 = row.getColumn(3).getString();
  finding.verdict = row.getColumn(4).getString();
  finding.report_json = row.getColumn(5).getString();
  return finding;
}

std::string FindingQuery(const FindingFilter& filter) {
  std::string query = kSelectFindings;
  if (filter.account && filter.stream) {
    query += kWhereBothAccused;
  } else if (filter.account) {
    query += kWhereAccountAccused;
  } else if (filter.stream) {
    query += kWhereStreamAccused;
  }
  return query + kOrderFindings;
}

tl::unexpected<Error> NoSuchStream(std::string_view stream_id) {
  return Fail(ErrorCode::kNotFound, "stream '" + Printable(stream_id) + "': there is none of this id in the store");
}

std::string Quoted(std::string_view stream_id) { return "stream '" + Printable(stream_id) + "'"; }

// ---- the store

class SqliteStore final : public Store {
 public:
  SqliteStore(SQLite::Database db, std::string path) : db_(std::move(db)), path_(std::move(path)) {}

  Result<void> CreateStream(const StreamRecord& stream, std::span<const Grant> grants) override {
    if (auto checked = CheckNewStream(stream); !checked) return checked;
    if (auto checked = CheckGrants(grants); !checked) return checked;
    return Write("add " + Quoted(stream.id), [&]() -> Result<void> {
      if (FindStream(stream.id)) {
        return Fail(ErrorCode::kAlreadyExists, Quoted(stream.id) + ": the store has one of this id; choose another");
      }
      InsertStream(stream);
      InsertGrants(db_.getLastInsertRowid(), grants);
      return {};
    });
  }

  Result<void> AppendReference(std::string_view stream_id, const ReferenceChunk& chunk) override {
    if (auto checked = CheckStreamId(stream_id); !checked) return checked;
    if (auto checked = CheckChunk(chunk); !checked) return checked;
    return Write("append to " + Quoted(stream_id), [&]() -> Result<void> {
      const auto stream = FindStream(stream_id);
      if (!stream) return NoSuchStream(stream_id);
      if (stream->state == StreamState::kComplete) {
        return Fail(ErrorCode::kFailedPrecondition, Quoted(stream_id) + ": it is complete and cannot grow");
      }
      const std::int64_t end = EndOfSource(stream->key, chunk.source);
      if (chunk.first_packet != end) {
        return Fail(ErrorCode::kFailedPrecondition,
                    Quoted(stream_id) + ": the next chunk of source " + std::to_string(chunk.source) + " starts at packet " +
                        std::to_string(end) + ", got one that starts at " + std::to_string(chunk.first_packet));
      }
      InsertChunk(stream->key, chunk);
      GrowStream(stream->key, chunk);
      return {};
    });
  }

  Result<void> CompleteStream(std::string_view stream_id, std::int64_t num_samples) override {
    if (auto checked = CheckStreamId(stream_id); !checked) return checked;
    if (num_samples < 0) return Fail(ErrorCode::kInvalidArgument, "samples of a stream: wanted 0 or more, got " + std::to_string(num_samples));
    return Write("complete " + Quoted(stream_id), [&]() -> Result<void> {
      const auto stream = FindStream(stream_id);
      if (!stream) return NoSuchStream(stream_id);
      if (stream->state == StreamState::kComplete) return {};
      SQLite::Statement update(db_, kCompleteStream);
      update.bind(1, stream->key);
      update.bind(2, static_cast<int>(StreamState::kComplete));
      update.bind(3, NowUnixUs());
      update.bind(4, num_samples);
      update.exec();
      return {};
    });
  }

  Result<void> RemoveStream(std::string_view stream_id) override {
    if (auto checked = CheckStreamId(stream_id); !checked) return checked;
    return Write("remove " + Quoted(stream_id), [&]() -> Result<void> {
      SQLite::Statement remove(db_, kDeleteStream);
      BindText(remove, 1, stream_id);
      if (remove.exec() == 0) return NoSuchStream(stream_id);
      return {};
    });
  }

  Result<StreamRecord> GetStream(std::string_view stream_id) override {
    if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
    return Read("read " + Quoted(stream_id), [&]() -> Result<StreamRecord> {
      SQLite::Statement select(db_, kSelectStream);
      BindText(select, 1, stream_id);
      if (!select.executeStep()) return NoSuchStream(stream_id);
      return ReadStream(select);
    });
  }

  Result<std::vector<StreamRecord>> ListStreams() override {
    return Read("list the streams", [&]() -> Result<std::vector<StreamRecord>> {
      std::vector<StreamRecord> streams;
      SQLite::Statement select(db_, kListStreams);
      while (select.executeStep()) {
        auto stream = ReadStream(select);
        if (!stream) return Pass(stream);
        streams.push_back(*std::move(stream));
      }
      return streams;
    });
  }

  Result<std::vector<ReferenceChunk>> ReadReference(std::string_view stream_id, int source, std::int64_t first_packet,
                                                    std::int64_t end_packet) override {
    if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
    return Read("read the reference of " + Quoted(stream_id), [&]() -> Result<std::vector<ReferenceChunk>> {
      std::vector<ReferenceChunk> chunks;
      if (first_packet >= end_packet) return chunks;
      SQLite::Statement select(db_, kSelectChunks);
      BindText(select, 1, stream_id);
      select.bind(2, source);
      select.bind(3, first_packet);
      select.bind(4, end_packet);
      while (select.executeStep()) {
        const SQLite::Column sealed_column = select.getColumn(3);
        const auto sealed = Bytes(sealed_column);
        chunks.push_back({.source = source,
                          .first_packet = select.getColumn(0).getInt64(),
                          .num_packets = select.getColumn(1).getInt(),
                          .num_erased_slots = select.getColumn(2).getInt(),
                          .sealed = {sealed.begin(), sealed.end()},
                          .fingerprint = {}});
      }
      return chunks;
    });
  }

  Result<void> VisitFingerprints(std::optional<std::string_view> stream_id, const FingerprintVisitor& visit) override {
    if (stream_id) {
      if (auto checked = CheckStreamId(*stream_id); !checked) return checked;
    }
    return Read("read the fingerprints", [&]() -> Result<void> {
      SQLite::Statement select(db_, stream_id ? kSelectFingerprintsOfStream : kSelectFingerprints);
      if (stream_id) BindText(select, 1, *stream_id);
      while (select.executeStep()) {
        const SQLite::Column fingerprint = select.getColumn(3);
        visit(select.getColumn(0).getString(), select.getColumn(1).getInt(), select.getColumn(2).getInt64(), Bytes(fingerprint));
      }
      return {};
    });
  }

  Result<void> AddGrants(std::string_view stream_id, std::span<const Grant> grants) override {
    if (auto checked = CheckStreamId(stream_id); !checked) return checked;
    if (auto checked = CheckGrants(grants); !checked) return checked;
    return Write("add grants to " + Quoted(stream_id), [&]() -> Result<void> {
      const auto stream = FindStream(stream_id);
      if (!stream) return NoSuchStream(stream_id);
      InsertGrants(stream->key, grants);
      return {};
    });
  }

  Result<std::vector<Grant>> ListGrants(std::string_view stream_id, std::int64_t from_stream_us,
                                        std::int64_t to_stream_us) override {
    if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
    return Read("list the grants of " + Quoted(stream_id), [&]() -> Result<std::vector<Grant>> {
      std::vector<Grant> grants;
      SQLite::Statement select(db_, kSelectGrants);
      BindText(select, 1, stream_id);
      select.bind(2, from_stream_us);
      select.bind(3, to_stream_us);
      while (select.executeStep()) {
        grants.push_back({.account = select.getColumn(0).getString(),
                          .from_stream_us = select.getColumn(1).getInt64(),
                          .to_stream_us = select.getColumn(2).getInt64()});
      }
      return grants;
    });
  }

  Result<std::vector<AccountSummary>> ListAccounts(std::optional<std::string_view> stream_id) override {
    if (stream_id) {
      if (auto checked = CheckStreamId(*stream_id); !checked) return Pass(checked);
    }
    return Read("list the accounts", [&]() -> Result<std::vector<AccountSummary>> {
      std::vector<AccountSummary> accounts;
      SQLite::Statement select(db_, stream_id ? kSelectAccountsOfStream : kSelectAccounts);
      if (stream_id) BindText(select, 1, *stream_id);
      while (select.executeStep()) {
        accounts.push_back({.account = select.getColumn(0).getString(),
                            .num_grants = select.getColumn(1).getInt64(),
                            .num_accusations = select.getColumn(2).getInt64()});
      }
      return accounts;
    });
  }

  Result<std::int64_t> AddFinding(const FindingRecord& finding) override {
    if (auto checked = CheckFinding(finding); !checked) return Pass(checked);
    return Write("add a finding", [&]() -> Result<std::int64_t> {
      SQLite::Statement insert(db_, kInsertFinding);
      insert.bind(1, NowUnixUs());
      insert.bindNoCopy(2, finding.clip_name);
      insert.bindNoCopy(3, finding.clip_sha256);
      insert.bindNoCopy(4, finding.verdict);
      insert.bindNoCopy(5, finding.report_json);
      insert.exec();
      const std::int64_t id = db_.getLastInsertRowid();
      InsertAccusations(id, finding.accusations);
      return id;
    });
  }

  Result<std::vector<FindingRecord>> ListFindings(const FindingFilter& filter) override {
    if (auto checked = CheckFilter(filter); !checked) return Pass(checked);
    return Read("list the findings", [&]() -> Result<std::vector<FindingRecord>> {
      std::vector<FindingRecord> findings;
      SQLite::Statement select(db_, FindingQuery(filter));
      select.bind(1, filter.after_id);
      select.bind(2, filter.since_unix_us);
      if (filter.verdict) BindText(select, 3, *filter.verdict);
      select.bind(4, filter.limit);
      if (filter.account) BindText(select, 5, *filter.account);
      if (filter.stream) BindText(select, 6, *filter.stream);
      while (select.executeStep()) findings.push_back(ReadFinding(select));
      ReadAccusations(findings);
      return findings;
    });
  }

 private:
  struct StreamRow {
    std::int64_t key;
    StreamState state;
  };

  // Runs `body`, which returns some Result, and turns what it throws into an Error. `doing` completes "cannot ...".
  template <typename Body>
  std::invoke_result_t<const Body&> Read(const std::string& doing, const Body& body) {
    return CatchSqlite(
        doing + " in the store " + path_, [this] { return SystemErrnoOf(db_); }, body);
  }

  // The same in a write transaction, kept only if `body` returns no Error. It takes the write lock at once: a transaction that
  // began as a reader could not wait for another writer to finish.
  template <typename Body>
  std::invoke_result_t<const Body&> Write(const std::string& doing, const Body& body) {
    return Read(doing, [&] {
      SQLite::Transaction transaction(db_, SQLite::TransactionBehavior::IMMEDIATE);
      auto result = body();
      if (result) transaction.commit();
      return result;
    });
  }

  std::optional<StreamRow> FindStream(std::string_view stream_id) {
    SQLite::Statement find(db_, kFindStream);
    BindText(find, 1, stream_id);
    if (!find.executeStep()) return std::nullopt;
    return StreamRow{find.getColumn(0).getInt64(), static_cast<StreamState>(find.getColumn(1).getInt())};
  }

  void InsertStream(const StreamRecord& stream) {
    SQLite::Statement insert(db_, kInsertStream);
    insert.bindNoCopy(1, stream.id);
    insert.bind(2, stream.format.num_variants);
    insert.bind(3, stream.format.packets_per_symbol);
    insert.bind(4, stream.format.num_channels);
    insert.bind(5, stream.format.bitrate_bps);
    insert.bind(6, static_cast<int>(stream.format.kind));
    insert.bind(7, stream.format.code_version);
    insert.bind(8, static_cast<int>(StreamState::kRecording));
    insert.bindNoCopy(9, stream.key_id);
    BindBytes(insert, 10, stream.salt);
    insert.bindNoCopy(11, stream.input_digest);
    insert.bind(12, NowUnixUs());
    insert.exec();
  }

  void InsertGrants(std::int64_t stream_key, std::span<const Grant> grants) {
    SQLite::Statement insert(db_, kInsertGrant);
    insert.bind(1, stream_key);
    for (const Grant& grant : grants) {
      insert.bindNoCopy(2, grant.account);
      insert.bind(3, grant.from_stream_us);
      insert.bind(4, grant.to_stream_us);
      insert.exec();
      insert.reset();
    }
  }

  // Where the next chunk of a source starts.
  std::int64_t EndOfSource(std::int64_t stream_key, int source) {
    SQLite::Statement select(db_, kEndOfSource);
    select.bind(1, stream_key);
    select.bind(2, source);
    return select.executeStep() ? select.getColumn(0).getInt64() : 0;
  }

  void InsertChunk(std::int64_t stream_key, const ReferenceChunk& chunk) {
    SQLite::Statement insert(db_, kInsertChunk);
    insert.bind(1, stream_key);
    insert.bind(2, chunk.source);
    insert.bind(3, chunk.first_packet);
    insert.bind(4, chunk.num_packets);
    insert.bind(5, chunk.num_erased_slots);
    BindBytes(insert, 6, chunk.sealed);
    insert.exec();
    if (chunk.fingerprint.empty()) return;
    SQLite::Statement insert_fingerprint(db_, kInsertFingerprint);
    insert_fingerprint.bind(1, stream_key);
    insert_fingerprint.bind(2, chunk.source);
    insert_fingerprint.bind(3, chunk.first_packet);
    BindBytes(insert_fingerprint, 4, chunk.fingerprint);
    insert_fingerprint.exec();
  }

  void GrowStream(std::int64_t stream_key, const ReferenceChunk& chunk) {
    SQLite::Statement update(db_, kGrowStream);
    update.bind(1, stream_key);
    update.bind(2, chunk.first_packet + chunk.num_packets);
    update.bind(3, chunk.num_erased_slots);
    update.bind(4, NowUnixUs());
    update.exec();
  }

  void InsertAccusations(std::int64_t finding_id, std::span<const AccusationRecord> accusations) {
    SQLite::Statement insert(db_, kInsertAccusation);
    insert.bind(1, finding_id);
    int position = 0;
    for (const AccusationRecord& accusation : accusations) {
      insert.bind(2, position++);
      insert.bindNoCopy(3, accusation.account);
      insert.bindNoCopy(4, accusation.stream);
      insert.bind(5, accusation.log10_p);
      insert.bind(6, accusation.log10_bound);
      insert.exec();
      insert.reset();
    }
  }

  // Fills in the accusations of `findings`. No transaction around the two queries is needed: a finding never changes.
  void ReadAccusations(std::span<FindingRecord> findings) {
    SQLite::Statement select(db_, kSelectAccusations);
    for (FindingRecord& finding : findings) {
      select.bind(1, finding.id);
      while (select.executeStep()) {
        finding.accusations.push_back({.account = select.getColumn(0).getString(),
                                       .stream = select.getColumn(1).getString(),
                                       .log10_p = select.getColumn(2).getDouble(),
                                       .log10_bound = select.getColumn(3).getDouble()});
      }
      select.reset();
    }
  }

  SQLite::Database db_;
  std::string path_;  // for messages
};

}  // namespace

Result<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path, OpenMode mode, std::chrono::milliseconds busy_timeout) {
  auto db = OpenSqliteDatabase(path, mode, busy_timeout);
  if (!db) return Pass(db);
  return std::make_unique<SqliteStore>(*std::move(db), Printable(path));
}

}  // namespace earmark
