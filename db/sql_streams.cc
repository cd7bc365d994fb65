// Streams, their reference, sources and grants.
#include <algorithm>
#include <set>

#include "db/sql_store.h"
#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {
namespace {

// ---- streams

constexpr char kInsertStream[] =
    "INSERT INTO streams (id, num_variants, packets_per_symbol, num_channels, bitrate_bps, reference_kind, code_version, state,"
    " key_id, salt, input_digest, created_unix_us, updated_unix_us, live, retention_days, owner, lease_us, leased_until_unix_us, strength)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10, $11, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT (id) DO NOTHING";
constexpr char kSelectStreams[] =
    "SELECT id, num_variants, packets_per_symbol, num_channels, bitrate_bps, reference_kind, code_version, state, key_id, salt,"
    " input_digest, created_unix_us, updated_unix_us, num_packets, num_erased_slots, num_samples, live, retention_days, owner, epoch,"
    " leased_until_unix_us, strength FROM streams";
constexpr char kWhereId[] = " WHERE id = $1";
constexpr char kByCreation[] = " ORDER BY created_unix_us, id";
constexpr char kFindStream[] = "SELECT stream_key, state, epoch, owner, leased_until_unix_us FROM streams WHERE id = $1";
constexpr char kTakeStream[] =
    "UPDATE streams SET owner = $2, epoch = epoch + 1, lease_us = $3, leased_until_unix_us = $4 WHERE stream_key = $1";
constexpr char kRenewStream[] = "UPDATE streams SET leased_until_unix_us = $2 + lease_us WHERE stream_key = $1";
constexpr char kGrowStream[] =
    "UPDATE streams SET num_packets = CASE WHEN num_packets < $2 THEN $2 ELSE num_packets END, num_erased_slots = num_erased_slots + $3,"
    " updated_unix_us = CASE WHEN updated_unix_us < $4 THEN $4 ELSE updated_unix_us END, leased_until_unix_us = $4 + lease_us WHERE stream_key = $1";
constexpr char kCompleteStream[] =
    "UPDATE streams SET state = 1, updated_unix_us = CASE WHEN updated_unix_us < $2 THEN $2 ELSE updated_unix_us END, num_samples = $3,"
    " leased_until_unix_us = 0 WHERE stream_key = $1";
constexpr char kDeleteStream[] = "DELETE FROM streams WHERE id = $1";
constexpr char kExpiredStream[] =
    "SELECT id FROM streams WHERE retention_days > 0 AND leased_until_unix_us <= $1"
    " AND updated_unix_us + retention_days * 86400000000 <= $1 ORDER BY stream_key LIMIT 1";

// ---- reference

constexpr char kEndOfSource[] =
    "SELECT first_packet + num_packets FROM reference_chunks WHERE stream_key = $1 AND source = $2 ORDER BY first_packet DESC LIMIT 1";
constexpr char kInsertChunk[] =
    "INSERT INTO reference_chunks (stream_key, source, first_packet, num_packets, num_erased_slots, sealed) VALUES ($1, $2, $3, $4, $5, $6)";
constexpr char kInsertFingerprint[] =
    "INSERT INTO fingerprints (stream_key, source, first_packet, fingerprint) VALUES ($1, $2, $3, $4)";
// Chunks do not overlap, so those of a range start with the last one that begins at or before it.
constexpr char kSelectChunks[] =
    "SELECT c.first_packet, c.num_packets, c.num_erased_slots, c.sealed"
    " FROM streams s JOIN reference_chunks c ON c.stream_key = s.stream_key"
    " WHERE s.id = $1 AND c.source = $2 AND c.first_packet < $4 AND c.first_packet + c.num_packets > $3 AND c.first_packet >="
    " coalesce((SELECT max(b.first_packet) FROM reference_chunks b WHERE b.stream_key = s.stream_key AND b.source = $2"
    "           AND b.first_packet <= $3), 0)"
    " ORDER BY c.first_packet";
// CROSS JOIN fixes SQLite's order of the loops, so that both indexes give the wanted order and nothing is sorted or held in memory.
constexpr char kSelectFingerprints[] =
    "SELECT s.id, f.source, f.first_packet, f.fingerprint FROM streams s CROSS JOIN fingerprints f WHERE f.stream_key = s.stream_key"
    " ORDER BY s.created_unix_us, s.id, f.source, f.first_packet";
constexpr char kSelectFingerprintsOfStream[] =
    "SELECT s.id, f.source, f.first_packet, f.fingerprint FROM streams s CROSS JOIN fingerprints f WHERE f.stream_key = s.stream_key"
    " AND s.id = $1 ORDER BY f.source, f.first_packet";
// By the primary key, so that it costs as much as there are sources, not chunks.
constexpr char kSelectNextSource[] =
    "SELECT f.source FROM streams s CROSS JOIN fingerprints f WHERE f.stream_key = s.stream_key AND s.id = $1 AND f.source > $2"
    " ORDER BY f.source LIMIT 1";
constexpr char kSelectFingerprintsOfSource[] =
    "SELECT s.id, f.source, f.first_packet, f.fingerprint FROM streams s CROSS JOIN fingerprints f WHERE f.stream_key = s.stream_key"
    " AND s.id = $1 AND f.source = $2 AND f.first_packet >= $3 ORDER BY f.first_packet";

// ---- sources

constexpr char kFindSource[] = "SELECT source FROM sources WHERE stream_key = $1 AND name = $2";
constexpr char kNextSource[] = "SELECT coalesce(max(source) + 1, 0) FROM sources WHERE stream_key = $1";
constexpr char kPutSource[] =
    "INSERT INTO sources (stream_key, source, name, settings) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (stream_key, name) DO UPDATE SET settings = excluded.settings";
constexpr char kListSources[] =
    "SELECT o.source, o.name, o.settings FROM sources o JOIN streams s ON s.stream_key = o.stream_key WHERE s.id = $1 ORDER BY o.source";

// ---- grants

constexpr char kInsertGrants[] =
    "INSERT INTO grants (stream_key, account, from_stream_us, to_stream_us, grant_id, delivery) VALUES ";
constexpr char kUnlessThere[] = " ON CONFLICT DO NOTHING";
constexpr char kSelectGrants[] =
    "SELECT g.account, g.from_stream_us, g.to_stream_us, g.grant_id, g.delivery, g.revoked_unix_us"
    " FROM grants g JOIN streams s ON s.stream_key = g.stream_key"
    " WHERE s.id = $1 AND g.from_stream_us < $3 AND g.to_stream_us > $2 ORDER BY g.account, g.from_stream_us, g.to_stream_us";
constexpr char kFindGrant[] =
    "SELECT g.account, g.from_stream_us, g.to_stream_us, g.grant_id, g.delivery, g.revoked_unix_us, s.id"
    " FROM grants g JOIN streams s ON s.stream_key = g.stream_key"
    " WHERE g.grant_id = $1";
constexpr char kCloseGrant[] =
    "UPDATE grants SET to_stream_us = CASE WHEN from_stream_us < $2 THEN $2 ELSE from_stream_us + 1 END WHERE grant_id = $1 AND to_stream_us > $2";
constexpr char kCountGrantsOfAccount[] =
    "SELECT count(*) FROM grants WHERE stream_key = $1 AND account = $2 AND grant_id IS NULL";
constexpr char kRevokeGrants[] =
    "UPDATE grants SET revoked_unix_us = $3 WHERE stream_key = $1 AND account = $2 AND grant_id IS NULL AND revoked_unix_us IS NULL";
constexpr char kSelectRevokedAccounts[] =
    "SELECT DISTINCT account FROM grants WHERE stream_key = $1 AND revoked_unix_us IS NOT NULL";
constexpr char kReopenGrant[] =
    "UPDATE grants SET revoked_unix_us = NULL WHERE stream_key = $1 AND account = $2 AND from_stream_us = $3 AND to_stream_us = $4 AND grant_id IS NULL";
constexpr char kCountListeners[] =
    "SELECT s.id, count(DISTINCT g.account), count(DISTINCT CASE WHEN g.revoked_unix_us IS NULL THEN g.account END) FROM streams s JOIN grants g ON g.stream_key = s.stream_key GROUP BY s.id";
constexpr char kSelectAccounts[] =
    "SELECT account, sum(grants), sum(clips) FROM"
    " (SELECT account, count(*) AS grants, 0 AS clips FROM grants GROUP BY account"
    "  UNION ALL SELECT a.account, 0, count(DISTINCT f.clip_sha256) FROM accusations a JOIN findings f ON f.id = a.finding_id GROUP BY a.account) AS counts"
    " GROUP BY account ORDER BY account";
constexpr char kSelectAccountsOfStream[] =
    "SELECT g.account, count(*),"
    " (SELECT count(DISTINCT f.clip_sha256) FROM accusations a JOIN findings f ON f.id = a.finding_id WHERE a.account = g.account)"
    " FROM grants g JOIN streams s ON s.stream_key = g.stream_key WHERE s.id = $1 GROUP BY g.account ORDER BY g.account";

constexpr std::size_t kGrantsPerStatement = 100;

Result<StreamRecord> ReadStream(const SqlRow& row) {
  StreamRecord stream;
  stream.id = row.Text(0);
  stream.format.num_variants = static_cast<int>(row.Integer(1));
  stream.format.packets_per_symbol = static_cast<int>(row.Integer(2));
  stream.format.num_channels = static_cast<int>(row.Integer(3));
  stream.format.bitrate_bps = static_cast<int>(row.Integer(4));
  stream.format.kind = static_cast<ReferenceKind>(row.Integer(5));
  stream.format.code_version = static_cast<int>(row.Integer(6));
  stream.state = static_cast<StreamState>(row.Integer(7));
  stream.key_id = row.Text(8);
  const auto salt = row.Bytes(9);
  if (salt.size() != stream.salt.size()) {
    return Fail(ErrorCode::kDataLoss, "salt of stream '" + Printable(stream.id) + "': wanted " +
                                          std::to_string(stream.salt.size()) + " bytes, got " + std::to_string(salt.size()));
  }
  std::copy(salt.begin(), salt.end(), stream.salt.begin());
  stream.input_digest = row.Text(10);
  stream.created_unix_us = row.Integer(11);
  stream.updated_unix_us = row.Integer(12);
  stream.num_packets = row.Integer(13);
  stream.num_erased_slots = row.Integer(14);
  stream.num_samples = row.Integer(15);
  stream.live = row.Integer(16) != 0;
  stream.retention_days = static_cast<int>(row.Integer(17));
  stream.owner = row.Text(18);
  stream.epoch = row.Integer(19);
  stream.leased_until_unix_us = row.Integer(20);
  stream.format.strength = static_cast<int>(row.Integer(21));
  return stream;
}

Grant ReadGrant(const SqlRow& row) {
  return {.account = row.Text(0),
          .from_stream_us = row.Integer(1),
          .to_stream_us = row.Integer(2),
          .id = row.Text(3),
          .delivery = row.Text(4),
          .revoked_unix_us = row.IsNull(5) ? 0 : row.Integer(5)};
}

std::string Quoted(std::string_view stream_id) { return "stream '" + Printable(stream_id) + "'"; }

tl::unexpected<Error> NoSuchGrant(std::string_view grant_id) {
  return Fail(ErrorCode::kNotFound, "grant '" + Printable(grant_id) + "': there is none of this id in the store");
}

void VisitFingerprint(const SqlRow& row, const StreamStore::FingerprintVisitor& visit) {
  const auto fingerprint = row.Bytes(3);
  visit(row.Text(0), static_cast<int>(row.Integer(1)), row.Integer(2), fingerprint);
}

}  // namespace

Result<SqlStore::StreamRow> SqlStore::FindStream(std::string_view stream_id) {
  std::optional<StreamRow> found;
  sql_.Query(std::string(kFindStream) + sql_.lock_rows(), {stream_id}, [&](const SqlRow& row) {
    found = StreamRow{.key = row.Integer(0),
                      .state = static_cast<StreamState>(row.Integer(1)),
                      .epoch = row.Integer(2),
                      .owner = row.Text(3),
                      .leased_until_unix_us = row.Integer(4)};
  });
  if (!found) return Fail(ErrorCode::kNotFound, Quoted(stream_id) + ": there is none of this id in the store");
  return *std::move(found);
}

Result<SqlStore::StreamRow> SqlStore::FindOwnStream(std::string_view stream_id, std::int64_t epoch) {
  auto stream = FindStream(stream_id);
  if (!stream) return stream;
  if (stream->state == StreamState::kComplete) {
    return Fail(ErrorCode::kFailedPrecondition, Quoted(stream_id) + ": it is complete and cannot grow");
  }
  if (stream->epoch != epoch) {
    return Fail(ErrorCode::kFailedPrecondition, Quoted(stream_id) + ": '" + Printable(stream->owner) +
                                                    "' has taken it over (epoch " + std::to_string(stream->epoch) +
                                                    ", this is a change of epoch " + std::to_string(epoch) + ")");
  }
  return stream;
}

Result<void> SqlStore::CreateStream(const StreamRecord& stream, std::span<const Grant> grants, const Lease& lease) {
  if (auto checked = CheckNewStream(stream); !checked) return checked;
  if (auto checked = CheckGrants(grants); !checked) return checked;
  if (auto checked = CheckLease(lease); !checked) return checked;
  return sql_.Write("add " + Quoted(stream.id), [&]() -> Result<void> {
    const std::int64_t now = sql_.NowUnixUs();
    const StreamFormat& format = stream.format;
    const auto inserted =
        sql_.Execute(kInsertStream,
                     {stream.id, std::int64_t{format.num_variants}, std::int64_t{format.packets_per_symbol},
                      std::int64_t{format.num_channels}, std::int64_t{format.bitrate_bps}, static_cast<std::int64_t>(format.kind),
                      std::int64_t{format.code_version}, stream.key_id, std::span<const std::uint8_t>(stream.salt),
                      stream.input_digest, now, std::int64_t{stream.live ? 1 : 0}, std::int64_t{stream.retention_days},
                      lease.owner, lease.duration_us, now + lease.duration_us, std::int64_t{format.strength}});
    if (inserted == 0)
      return Fail(ErrorCode::kAlreadyExists, Quoted(stream.id) + ": the store has one of this id; choose another");
    if (grants.empty()) return {};
    auto row = FindStream(stream.id);
    if (!row) return Pass(row);
    InsertGrants(row->key, grants);
    return {};
  });
}

Result<std::int64_t> SqlStore::TakeStream(std::string_view stream_id, const Lease& lease) {
  if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
  if (auto checked = CheckLease(lease); !checked) return Pass(checked);
  return sql_.Write("take over " + Quoted(stream_id), [&]() -> Result<std::int64_t> {
    auto stream = FindStream(stream_id);
    if (!stream) return Pass(stream);
    if (stream->state == StreamState::kComplete)
      return Fail(ErrorCode::kFailedPrecondition, Quoted(stream_id) + ": it is complete and cannot be taken");
    const std::int64_t now = sql_.NowUnixUs();
    if (stream->owner != lease.owner && stream->leased_until_unix_us > now) {
      return Fail(ErrorCode::kFailedPrecondition,
                  Quoted(stream_id) + ": '" + Printable(stream->owner) + "' is recording it, for another " +
                      std::to_string((stream->leased_until_unix_us - now + 999'999) / 1'000'000) + " s at least");
    }
    sql_.Execute(kTakeStream, {stream->key, lease.owner, lease.duration_us, now + lease.duration_us});
    return stream->epoch + 1;
  });
}

Result<void> SqlStore::RenewStream(std::string_view stream_id, std::int64_t epoch) {
  if (auto checked = CheckStreamId(stream_id); !checked) return checked;
  return sql_.Write("extend the lease of " + Quoted(stream_id), [&]() -> Result<void> {
    auto stream = FindOwnStream(stream_id, epoch);
    if (!stream) return Pass(stream);
    sql_.Execute(kRenewStream, {stream->key, sql_.NowUnixUs()});
    return {};
  });
}

Result<void> SqlStore::CompleteStream(std::string_view stream_id, std::int64_t num_samples, std::int64_t epoch) {
  if (auto checked = CheckStreamId(stream_id); !checked) return checked;
  if (num_samples < 0)
    return Fail(ErrorCode::kInvalidArgument, "samples of a stream: wanted 0 or more, got " + std::to_string(num_samples));
  return sql_.Write("complete " + Quoted(stream_id), [&]() -> Result<void> {
    auto stream = FindStream(stream_id);
    if (stream && stream->state == StreamState::kComplete) return {};
    if (stream) stream = FindOwnStream(stream_id, epoch);
    if (!stream) return Pass(stream);
    sql_.Execute(kCompleteStream, {stream->key, sql_.NowUnixUs(), num_samples});
    return {};
  });
}

Result<void> SqlStore::RemoveStream(std::string_view stream_id) {
  if (auto checked = CheckStreamId(stream_id); !checked) return checked;
  return sql_.Write("remove " + Quoted(stream_id), [&]() -> Result<void> {
    if (auto stream = FindStream(stream_id); !stream) return Pass(stream);
    sql_.Execute(kDeleteStream, {stream_id});
    return {};
  });
}

Result<std::optional<std::string>> SqlStore::RemoveExpiredStream() {
  return sql_.Write("remove a stream whose retention is over", [&]() -> Result<std::optional<std::string>> {
    std::optional<std::string> id;
    sql_.Query(std::string(kExpiredStream) + sql_.lock_free_rows(), {sql_.NowUnixUs()},
               [&](const SqlRow& row) { id = row.Text(0); });
    if (id) sql_.Execute(kDeleteStream, {std::string_view(*id)});
    return id;
  });
}

Result<StreamRecord> SqlStore::GetStream(std::string_view stream_id) {
  if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
  return sql_.Read("read " + Quoted(stream_id), [&]() -> Result<StreamRecord> {
    Result<StreamRecord> stream = Fail(ErrorCode::kNotFound, Quoted(stream_id) + ": there is none of this id in the store");
    sql_.Query(std::string(kSelectStreams) + kWhereId, {stream_id}, [&](const SqlRow& row) { stream = ReadStream(row); });
    return stream;
  });
}

Result<std::vector<StreamRecord>> SqlStore::ListStreams() {
  return sql_.Read("list the streams", [&]() -> Result<std::vector<StreamRecord>> {
    std::vector<StreamRecord> streams;
    std::optional<Error> failed;
    sql_.Visit(std::string(kSelectStreams) + kByCreation, {}, [&](const SqlRow& row) {
      auto stream = ReadStream(row);
      if (stream) {
        streams.push_back(*std::move(stream));
      } else {
        failed = stream.error();
      }
    });
    if (failed) return tl::unexpected<Error>(*failed);
    return streams;
  });
}

Result<std::map<std::string, ListenerCount>> SqlStore::CountListeners() {
  return sql_.Read("count the listeners", [&]() -> Result<std::map<std::string, ListenerCount>> {
    std::map<std::string, ListenerCount> counts;
    sql_.Visit(kCountListeners, {}, [&](const SqlRow& row) {
      counts.emplace(row.Text(0), ListenerCount{.num_listeners = row.Integer(1), .num_revoked = row.Integer(1) - row.Integer(2)});
    });
    return counts;
  });
}

Result<void> SqlStore::AppendReference(std::string_view stream_id, const ReferenceChunk& chunk, std::int64_t epoch) {
  if (auto checked = CheckStreamId(stream_id); !checked) return checked;
  if (auto checked = CheckChunk(chunk); !checked) return checked;
  return sql_.Write("append to " + Quoted(stream_id), [&]() -> Result<void> {
    auto stream = FindOwnStream(stream_id, epoch);
    if (!stream) return Pass(stream);
    const std::int64_t source = chunk.source;
    std::int64_t end = 0;
    sql_.Query(kEndOfSource, {stream->key, source}, [&](const SqlRow& row) { end = row.Integer(0); });
    if (chunk.first_packet < end) {
      return Fail(ErrorCode::kFailedPrecondition, Quoted(stream_id) + ": source " + std::to_string(source) +
                                                      " is stored up to packet " + std::to_string(end) +
                                                      ", got a chunk that starts at " + std::to_string(chunk.first_packet));
    }
    sql_.Execute(kInsertChunk, {stream->key, source, chunk.first_packet, std::int64_t{chunk.num_packets},
                                std::int64_t{chunk.num_erased_slots}, std::span<const std::uint8_t>(chunk.sealed)});
    if (!chunk.fingerprint.empty()) {
      sql_.Execute(kInsertFingerprint,
                   {stream->key, source, chunk.first_packet, std::span<const std::uint8_t>(chunk.fingerprint)});
    }
    sql_.Execute(kGrowStream,
                 {stream->key, chunk.first_packet + chunk.num_packets, std::int64_t{chunk.num_erased_slots}, sql_.NowUnixUs()});
    return {};
  });
}

Result<std::vector<ReferenceChunk>> SqlStore::ReadReference(std::string_view stream_id, int source, std::int64_t first_packet,
                                                            std::int64_t end_packet) {
  if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
  return sql_.Read("read the reference of " + Quoted(stream_id), [&]() -> Result<std::vector<ReferenceChunk>> {
    std::vector<ReferenceChunk> chunks;
    if (first_packet >= end_packet) return chunks;
    sql_.Query(kSelectChunks, {stream_id, std::int64_t{source}, first_packet, end_packet}, [&](const SqlRow& row) {
      chunks.push_back({.source = source,
                        .first_packet = row.Integer(0),
                        .num_packets = static_cast<int>(row.Integer(1)),
                        .num_erased_slots = static_cast<int>(row.Integer(2)),
                        .sealed = row.Bytes(3),
                        .fingerprint = {}});
    });
    return chunks;
  });
}

Result<void> SqlStore::VisitFingerprints(std::optional<std::string_view> stream_id, const FingerprintVisitor& visit) {
  if (stream_id) {
    if (auto checked = CheckStreamId(*stream_id); !checked) return checked;
  }
  return sql_.Read("read the fingerprints", [&]() -> Result<void> {
    const SqlParameters parameters = stream_id ? SqlParameters{*stream_id} : SqlParameters{};
    sql_.Visit(stream_id ? kSelectFingerprintsOfStream : kSelectFingerprints, parameters,
               [&](const SqlRow& row) { VisitFingerprint(row, visit); });
    return {};
  });
}

Result<void> SqlStore::VisitFingerprintsFrom(std::string_view stream_id, const std::map<int, std::int64_t>& from_packet,
                                             const FingerprintVisitor& visit) {
  if (auto checked = CheckStreamId(stream_id); !checked) return checked;
  return sql_.Read("read the fingerprints", [&]() -> Result<void> {
    const auto next_source = [&](std::optional<std::int64_t> last) {
      std::optional<std::int64_t> next;
      sql_.Query(kSelectNextSource, {stream_id, last.value_or(-1)}, [&](const SqlRow& row) { next = row.Integer(0); });
      return next;
    };
    for (auto source = next_source({}); source; source = next_source(source)) {
      const auto known = from_packet.find(static_cast<int>(*source));
      const std::int64_t from = known == from_packet.end() ? 0 : known->second;
      sql_.Visit(kSelectFingerprintsOfSource, {stream_id, *source, from},
                 [&](const SqlRow& row) { VisitFingerprint(row, visit); });
    }
    return {};
  });
}

Result<int> SqlStore::PutSource(std::string_view stream_id, std::int64_t epoch, std::string_view name,
                                std::string_view settings) {
  if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
  if (auto checked = CheckName("source", name); !checked) return Pass(checked);
  return sql_.Write("add source '" + Printable(name) + "' to " + Quoted(stream_id), [&]() -> Result<int> {
    auto stream = FindOwnStream(stream_id, epoch);
    if (!stream) return Pass(stream);
    std::int64_t source = 0;
    const auto read_number = [&](const SqlRow& row) { source = row.Integer(0); };
    sql_.Query(kNextSource, {stream->key}, read_number);
    sql_.Query(kFindSource, {stream->key, name}, read_number);
    sql_.Execute(kPutSource, {stream->key, source, name, settings});
    return static_cast<int>(source);
  });
}

Result<std::vector<SourceRecord>> SqlStore::ListSources(std::string_view stream_id) {
  if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
  return sql_.Read("list the sources of " + Quoted(stream_id), [&]() -> Result<std::vector<SourceRecord>> {
    std::vector<SourceRecord> sources;
    sql_.Query(kListSources, {stream_id}, [&](const SqlRow& row) {
      sources.push_back({.source = static_cast<int>(row.Integer(0)), .name = row.Text(1), .settings = row.Text(2)});
    });
    return sources;
  });
}

// Many at a time: on PostgreSQL each statement is a round trip.
void SqlStore::InsertGrants(std::int64_t stream_key, std::span<const Grant> grants) {
  while (!grants.empty()) {
    const std::size_t count = grants.size() >= kGrantsPerStatement ? kGrantsPerStatement : 1;
    std::string sql = kInsertGrants;
    SqlParameters parameters = {stream_key};
    for (const Grant& grant : grants.first(count)) {
      const auto next = [&] { return ", $" + std::to_string(parameters.size()); };
      sql += parameters.size() == 1 ? "($1" : ", ($1";
      for (const SqlValue& value : SqlParameters{grant.account, grant.from_stream_us, grant.to_stream_us, TextOrNull(grant.id),
                                                 TextOrNull(grant.delivery)}) {
        parameters.push_back(value);
        sql += next();
      }
      sql += ")";
    }
    sql_.Execute(sql + kUnlessThere, parameters);
    grants = grants.subspan(count);
  }
}

// Asked once who was revoked at all, since on PostgreSQL a statement for each of a million new grants would be as many round trips.
void SqlStore::ReopenGrants(std::int64_t stream_key, std::span<const Grant> grants) {
  std::set<std::string> revoked;
  sql_.Query(kSelectRevokedAccounts, {stream_key}, [&](const SqlRow& row) { revoked.insert(row.Text(0)); });
  if (revoked.empty()) return;
  for (const Grant& grant : grants) {
    if (!grant.id.empty() || !revoked.contains(grant.account)) continue;
    sql_.Execute(kReopenGrant, {stream_key, grant.account, grant.from_stream_us, grant.to_stream_us});
  }
}

Result<void> SqlStore::AddGrants(std::string_view stream_id, std::span<const Grant> grants) {
  if (auto checked = CheckStreamId(stream_id); !checked) return checked;
  if (auto checked = CheckGrants(grants); !checked) return checked;
  return sql_.Write("add grants to " + Quoted(stream_id), [&]() -> Result<void> {
    auto stream = FindStream(stream_id);
    if (!stream) return Pass(stream);
    InsertGrants(stream->key, grants);
    ReopenGrants(stream->key, grants);
    return {};
  });
}

Result<std::int64_t> SqlStore::RevokeGrants(std::string_view stream_id, std::span<const std::string> accounts) {
  if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
  for (const std::string& account : accounts) {
    if (auto named = CheckName("account", account); !named) return Pass(named);
  }
  return sql_.Write("revoke grants of " + Quoted(stream_id), [&]() -> Result<std::int64_t> {
    auto stream = FindStream(stream_id);
    if (!stream) return Pass(stream);
    const std::int64_t now = sql_.NowUnixUs();
    std::int64_t num_revoked = 0;
    for (const std::string& account : accounts) {
      std::int64_t num_grants = 0;
      sql_.Query(kCountGrantsOfAccount, {stream->key, account}, [&](const SqlRow& row) { num_grants = row.Integer(0); });
      if (num_grants == 0)
        return Fail(ErrorCode::kNotFound, "account '" + Printable(account) + "' has no grant for " + Quoted(stream_id));
      if (sql_.Execute(kRevokeGrants, {stream->key, account, now}) > 0) ++num_revoked;
    }
    return num_revoked;
  });
}

Result<void> SqlStore::CloseGrant(std::string_view grant_id, std::int64_t to_stream_us) {
  return sql_.Write("close grant '" + Printable(grant_id) + "'", [&]() -> Result<void> {
    if (auto found = FindGrant(grant_id); !found) return Pass(found);
    sql_.Execute(kCloseGrant, {grant_id, to_stream_us});
    return {};
  });
}

Result<LocatedGrant> SqlStore::FindGrant(std::string_view grant_id) {
  if (auto checked = CheckName("grant id", grant_id); !checked) return Pass(checked);
  return sql_.Read("read grant '" + Printable(grant_id) + "'", [&]() -> Result<LocatedGrant> {
    Result<LocatedGrant> found = NoSuchGrant(grant_id);
    sql_.Query(kFindGrant, {grant_id},
               [&](const SqlRow& row) { found = LocatedGrant{.stream_id = row.Text(6), .grant = ReadGrant(row)}; });
    return found;
  });
}

Result<std::vector<Grant>> SqlStore::ListGrants(std::string_view stream_id, std::int64_t from_stream_us,
                                                std::int64_t to_stream_us) {
  if (auto checked = CheckStreamId(stream_id); !checked) return Pass(checked);
  return sql_.Read("list the grants of " + Quoted(stream_id), [&]() -> Result<std::vector<Grant>> {
    std::vector<Grant> grants;
    if (from_stream_us >= to_stream_us) return grants;
    sql_.Visit(kSelectGrants, {stream_id, from_stream_us, to_stream_us},
               [&](const SqlRow& row) { grants.push_back(ReadGrant(row)); });
    return grants;
  });
}

Result<std::vector<AccountSummary>> SqlStore::ListAccounts(std::optional<std::string_view> stream_id) {
  if (stream_id) {
    if (auto checked = CheckStreamId(*stream_id); !checked) return Pass(checked);
  }
  return sql_.Read("list the accounts", [&]() -> Result<std::vector<AccountSummary>> {
    std::vector<AccountSummary> accounts;
    const SqlParameters parameters = stream_id ? SqlParameters{*stream_id} : SqlParameters{};
    sql_.Visit(stream_id ? kSelectAccountsOfStream : kSelectAccounts, parameters, [&](const SqlRow& row) {
      accounts.push_back({.account = row.Text(0), .num_grants = row.Integer(1), .num_accusing_clips = row.Integer(2)});
    });
    return accounts;
  });
}

}  // namespace earmark
