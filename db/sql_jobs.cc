// The queue of scans.
#include "db/sql_store.h"
#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {
namespace {

constexpr char kInsertScan[] =
    "INSERT INTO scans (id, idempotency_key, request_digest, created_unix_us, name, stream, case_label, max_false_accusation, clip_sha256, keep_clip_us, state)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0) ON CONFLICT (idempotency_key) DO NOTHING RETURNING scan_key";
constexpr char kInsertPart[] = "INSERT INTO clip_parts (scan_key, part, bytes) VALUES ($1, $2, $3)";
constexpr char kSelectParts[] =
    "SELECT p.bytes FROM clip_parts p JOIN scans s ON s.scan_key = p.scan_key WHERE s.id = $1 AND (s.state < 2 OR s.clip_until_unix_us > $2) ORDER BY p.part";
constexpr char kDeleteParts[] = "DELETE FROM clip_parts WHERE scan_key = (SELECT scan_key FROM scans WHERE id = $1)";
constexpr char kSelectScan[] =
    "SELECT id, idempotency_key, request_digest, created_unix_us, name, stream, case_label, max_false_accusation, clip_sha256, state, attempt,"
    " worker, cancel_wanted, stage, fraction, finding_id, error, num_released, keep_clip_us FROM scans WHERE ";
constexpr char kNextScan[] =
    "SELECT id FROM scans WHERE state = 0 OR (state = 1 AND leased_until_unix_us <= $1) ORDER BY scan_key LIMIT 1";
constexpr char kClaimScan[] =
    "UPDATE scans SET state = 1, attempt = attempt + 1, worker = $2, leased_until_unix_us = $3, stage = 'queued', fraction = 0 WHERE id = $1";
constexpr char kRenewScan[] = "UPDATE scans SET leased_until_unix_us = $2, stage = $3, fraction = $4 WHERE id = $1";
constexpr char kEndScan[] =
    "UPDATE scans SET state = $2, finding_id = $3, error = $4, leased_until_unix_us = 0, worker = '', stage = '', fraction = 0 WHERE id = $1";
constexpr char kReleaseScan[] =
    "UPDATE scans SET state = 0, num_released = num_released + 1, worker = '', leased_until_unix_us = 0, stage = '', fraction = 0 WHERE id = $1";
constexpr char kKeepClip[] = "UPDATE scans SET clip_until_unix_us = $2 WHERE id = $1";
constexpr char kExpiredClip[] = "SELECT id FROM scans WHERE clip_until_unix_us <= $1 ORDER BY clip_until_unix_us LIMIT 1";
constexpr char kWantCancelled[] = "UPDATE scans SET cancel_wanted = 1 WHERE id = $1";
constexpr char kCountScans[] = "SELECT state, count(*) FROM scans WHERE state < 2 GROUP BY state";

ScanRecord ReadScan(const SqlRow& row) {
  ScanRecord scan;
  scan.id = row.Text(0);
  scan.idempotency_key = row.Text(1);
  scan.request_digest = row.Text(2);
  scan.created_unix_us = row.Integer(3);
  scan.name = row.Text(4);
  if (!row.IsNull(5)) scan.stream = row.Text(5);
  scan.case_label = row.Text(6);
  scan.max_false_accusation = row.Real(7);
  scan.clip_sha256 = row.Text(8);
  scan.state = static_cast<ScanState>(row.Integer(9));
  scan.attempt = static_cast<int>(row.Integer(10));
  scan.worker = row.Text(11);
  scan.cancel_wanted = row.Integer(12) != 0;
  scan.stage = row.Text(13);
  scan.fraction = row.Real(14);
  if (!row.IsNull(15)) scan.finding_id = row.Integer(15);
  scan.error = row.Text(16);
  scan.num_released = static_cast<int>(row.Integer(17));
  scan.keep_clip_us = row.Integer(18);
  return scan;
}

std::string Quoted(std::string_view scan_id) { return "scan '" + Printable(scan_id) + "'"; }

}  // namespace

Result<ScanRecord> SqlStore::SelectScan(std::string_view where, const SqlParameters& parameters, std::string_view scan_id) {
  Result<ScanRecord> scan = Fail(ErrorCode::kNotFound, Quoted(scan_id) + ": there is none of this id in the store");
  sql_.Query(kSelectScan + std::string(where), parameters, [&](const SqlRow& row) { scan = ReadScan(row); });
  return scan;
}

Result<ScanRecord> SqlStore::EnqueueScan(const NewScan& scan, const ClipSource& clip) {
  if (auto checked = CheckNewScan(scan); !checked) return Pass(checked);
  return sql_.Write("queue a scan", [&]() -> Result<ScanRecord> {
    std::int64_t key = 0;
    sql_.Query(kInsertScan,
               {scan.id, TextOrNull(scan.idempotency_key), scan.request_digest, sql_.NowUnixUs(), scan.name,
                scan.stream ? SqlValue(std::string_view(*scan.stream)) : SqlValue(nullptr), scan.case_label,
                scan.max_false_accusation, scan.clip_sha256, scan.keep_clip_us},
               [&](const SqlRow& row) { key = row.Integer(0); });
    if (key == 0) {
      auto known = SelectScan("idempotency_key = $1", {std::string_view(scan.idempotency_key)}, scan.id);
      if (known && known->request_digest != scan.request_digest) {
        return Fail(ErrorCode::kAlreadyExists,
                    "idempotency_key '" + Printable(scan.idempotency_key) + "': it came with another request before");
      }
      return known;
    }
    for (std::int64_t part = 0;; ++part) {
      auto bytes = clip(part);
      if (!bytes) return Pass(bytes);
      if (bytes->empty()) break;
      sql_.Execute(kInsertPart, {key, part, *bytes});
    }
    return SelectScan("id = $1", {scan.id}, scan.id);
  });
}

Result<ScanRecord> SqlStore::GetScan(std::string_view scan_id) {
  if (auto checked = CheckName("scan id", scan_id); !checked) return Pass(checked);
  return sql_.Read("read " + Quoted(scan_id), [&] { return SelectScan("id = $1", {scan_id}, scan_id); });
}

Result<std::optional<ScanRecord>> SqlStore::ClaimScan(std::string_view worker, std::int64_t lease_us) {
  const auto next = [&] {
    std::string id;
    sql_.Query(std::string(kNextScan) + sql_.lock_free_rows(), {sql_.NowUnixUs()}, [&](const SqlRow& row) { id = row.Text(0); });
    return id;
  };
  return sql_.Write("claim a scan", [&]() -> Result<std::optional<ScanRecord>> {
    for (std::string id = next(); !id.empty(); id = next()) {
      auto scan = SelectScan("id = $1", {id}, id);
      if (!scan) return Pass(scan);
      if (scan->cancel_wanted) {  // its detector died before it could say so
        EndWithoutFinding(id, ScanState::kCancelled, "");
        continue;
      }
      sql_.Execute(kClaimScan, {id, worker, sql_.NowUnixUs() + lease_us});
      auto claimed = SelectScan("id = $1", {id}, id);
      if (!claimed) return Pass(claimed);
      return std::optional<ScanRecord>(std::move(*claimed));
    }
    return std::optional<ScanRecord>();
  });
}

Result<void> SqlStore::ReadClip(std::string_view scan_id, const ClipSink& sink) {
  if (auto checked = CheckName("scan id", scan_id); !checked) return checked;
  return sql_.Read("read the clip of " + Quoted(scan_id), [&]() -> Result<void> {
    Result<void> outcome = Fail(ErrorCode::kNotFound, Quoted(scan_id) + ": its clip is not kept, or not any more");
    bool first = true;
    sql_.Visit(kSelectParts, {scan_id, sql_.NowUnixUs()}, [&](const SqlRow& row) {
      if (std::exchange(first, false)) outcome = {};
      if (outcome) outcome = sink(row.Bytes(0));
    });
    return outcome;
  });
}

Result<ScanRecord> SqlStore::FindOwnScan(std::string_view scan_id, int attempt) {
  if (auto checked = CheckName("scan id", scan_id); !checked) return Pass(checked);
  auto scan = SelectScan(std::string("id = $1") + sql_.lock_rows(), {scan_id}, scan_id);
  if (scan && (scan->state != ScanState::kRunning || scan->attempt != attempt)) {
    return Fail(ErrorCode::kFailedPrecondition, Quoted(scan_id) + ": attempt " + std::to_string(attempt) + " no longer has it");
  }
  return scan;
}

Result<ScanRecord> SqlStore::RenewScan(std::string_view scan_id, int attempt, std::int64_t lease_us, std::string_view stage,
                                       double fraction) {
  return sql_.Write("tell the progress of " + Quoted(scan_id), [&]() -> Result<ScanRecord> {
    auto scan = FindOwnScan(scan_id, attempt);
    if (scan) sql_.Execute(kRenewScan, {scan_id, sql_.NowUnixUs() + lease_us, stage, fraction});
    return scan;
  });
}

void SqlStore::EndScan(std::string_view scan_id, ScanState state, SqlValue finding_id, std::string_view error) {
  sql_.Execute(kEndScan, {scan_id, static_cast<std::int64_t>(state), finding_id, error});
}

void SqlStore::EndWithoutFinding(std::string_view scan_id, ScanState state, std::string_view error) {
  EndScan(scan_id, state, nullptr, error);
  sql_.Execute(kDeleteParts, {scan_id});
}

Result<std::int64_t> SqlStore::FinishScan(std::string_view scan_id, int attempt, const FindingRecord& finding) {
  FindingRecord of_scan = finding;
  of_scan.scan_id = scan_id;
  if (auto checked = CheckFinding(of_scan); !checked) return Pass(checked);
  return sql_.Write("finish " + Quoted(scan_id), [&]() -> Result<std::int64_t> {
    const auto scan = FindOwnScan(scan_id, attempt);
    if (!scan) return Pass(scan);
    const std::int64_t id = InsertFinding(of_scan);
    EndScan(scan_id, ScanState::kDone, id, "");
    if (scan->keep_clip_us > 0)
      sql_.Execute(kKeepClip, {scan_id, sql_.NowUnixUs() + scan->keep_clip_us});
    else
      sql_.Execute(kDeleteParts, {scan_id});
    return id;
  });
}

Result<void> SqlStore::AbandonScan(std::string_view scan_id, int attempt, std::string_view error) {
  return sql_.Write("abandon " + Quoted(scan_id), [&]() -> Result<void> {
    auto scan = FindOwnScan(scan_id, attempt);
    if (!scan) return Pass(scan);
    EndWithoutFinding(scan_id, scan->cancel_wanted ? ScanState::kCancelled : ScanState::kFailed,
                      scan->cancel_wanted ? "" : error);
    return {};
  });
}

Result<void> SqlStore::ReleaseScan(std::string_view scan_id, int attempt) {
  return sql_.Write("release " + Quoted(scan_id), [&]() -> Result<void> {
    if (auto scan = FindOwnScan(scan_id, attempt); !scan) return Pass(scan);
    sql_.Execute(kReleaseScan, {scan_id});
    return {};
  });
}

Result<ScanRecord> SqlStore::CancelScan(std::string_view scan_id) {
  if (auto checked = CheckName("scan id", scan_id); !checked) return Pass(checked);
  return sql_.Write("cancel " + Quoted(scan_id), [&]() -> Result<ScanRecord> {
    auto scan = SelectScan(std::string("id = $1") + sql_.lock_rows(), {scan_id}, scan_id);
    if (!scan || scan->state >= ScanState::kDone) return scan;
    sql_.Execute(kWantCancelled, {scan_id});
    if (scan->state == ScanState::kQueued) EndWithoutFinding(scan_id, ScanState::kCancelled, "");
    return SelectScan("id = $1", {scan_id}, scan_id);
  });
}

Result<bool> SqlStore::DropExpiredClip() {
  return sql_.Write("drop a clip", [&]() -> Result<bool> {
    std::string id;
    sql_.Query(std::string(kExpiredClip) + sql_.lock_free_rows(), {sql_.NowUnixUs()},
               [&](const SqlRow& row) { id = row.Text(0); });
    if (id.empty()) return false;
    sql_.Execute(kDeleteParts, {id});
    sql_.Execute(kKeepClip, {id, nullptr});
    return true;
  });
}

Result<JobQueue::QueueLength> SqlStore::CountScans() {
  return sql_.Read("count the scans", [&]() -> Result<QueueLength> {
    QueueLength length;
    sql_.Query(kCountScans, {}, [&](const SqlRow& row) {
      (static_cast<ScanState>(row.Integer(0)) == ScanState::kQueued ? length.waiting : length.running) = row.Integer(1);
    });
    return length;
  });
}

}  // namespace earmark
