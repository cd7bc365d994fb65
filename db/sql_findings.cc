// Findings, leaks and kept answers.
#include "db/sql_conditions.h"
#include "db/sql_store.h"
#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {
namespace {

constexpr char kInsertFinding[] =
    "INSERT INTO findings (created_unix_us, clip_name, clip_sha256, verdict, report_json, case_label, scan_id, alpha_spent, num_scored)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id";
constexpr char kAddScored[] = "UPDATE finding_totals SET num_scored = num_scored + $1";
constexpr char kSelectScored[] = "SELECT num_scored FROM finding_totals";
constexpr char kInsertAccusation[] =
    "INSERT INTO accusations (finding_id, position, account, stream, log10_p, log10_bound) VALUES ($1, $2, $3, $4, $5, $6)";
constexpr char kSelectFindings[] =
    "SELECT id, created_unix_us, clip_name, clip_sha256, verdict, report_json, case_label, scan_id, alpha_spent, num_scored FROM findings";
constexpr char kSelectAccusations[] =
    "SELECT account, stream, log10_p, log10_bound FROM accusations WHERE finding_id = $1 ORDER BY position";
// The strongest accusation of each account in each stream, and when there was a first and a last one.
constexpr char kSelectLeaks[] =
    "SELECT account, stream, finding_id, log10_bound, first_seen, last_seen FROM"
    " (SELECT a.account, a.stream, a.finding_id, a.log10_bound,"
    "   min(f.created_unix_us) OVER (PARTITION BY a.account, a.stream) AS first_seen,"
    "   max(f.created_unix_us) OVER (PARTITION BY a.account, a.stream) AS last_seen,"
    "   row_number() OVER (PARTITION BY a.account, a.stream ORDER BY a.log10_bound, a.finding_id) AS place"
    "  FROM accusations a JOIN findings f ON f.id = a.finding_id";
constexpr char kStrongestOnly[] = ") AS ranked WHERE place = 1 ORDER BY account, stream LIMIT ";

constexpr char kSumAlpha[] = "SELECT coalesce(sum(alpha_spent), 0.0), count(*) FROM findings";

constexpr char kSelectAnswer[] = "SELECT request_digest, answer FROM answers WHERE scope = $1 AND idempotency_key = $2";
constexpr char kInsertAnswer[] =
    "INSERT INTO answers (scope, idempotency_key, request_digest, answer, created_unix_us) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

FindingRecord ReadFinding(const SqlRow& row) {
  return {.id = row.Integer(0),
          .created_unix_us = row.Integer(1),
          .clip_name = row.Text(2),
          .clip_sha256 = row.Text(3),
          .verdict = row.Text(4),
          .report_json = row.Text(5),
          .accusations = {},
          .case_label = row.Text(6),
          .scan_id = row.Text(7),
          .alpha_spent = row.Real(8),
          .num_scored = row.Integer(9)};
}

}  // namespace

std::int64_t SqlStore::InsertFinding(const FindingRecord& finding) {
  std::int64_t id = 0;
  sql_.Query(kInsertFinding,
             {sql_.NowUnixUs(), finding.clip_name, finding.clip_sha256, finding.verdict, finding.report_json, finding.case_label,
              TextOrNull(finding.scan_id), finding.alpha_spent, finding.num_scored},
             [&](const SqlRow& row) { id = row.Integer(0); });
  if (finding.num_scored > 0) sql_.Execute(kAddScored, {finding.num_scored});
  std::int64_t position = 0;
  for (const AccusationRecord& accusation : finding.accusations) {
    sql_.Execute(kInsertAccusation,
                 {id, position++, accusation.account, accusation.stream, accusation.log10_p, accusation.log10_bound});
  }
  return id;
}

Result<std::int64_t> SqlStore::AddFinding(const FindingRecord& finding) {
  if (auto checked = CheckFinding(finding); !checked) return Pass(checked);
  return sql_.Write("add a finding", [&]() -> Result<std::int64_t> { return InsertFinding(finding); });
}

// The findings and their accusations. A finding never changes, so the two queries need no common moment.
Result<std::vector<FindingRecord>> SqlStore::SelectFindings(const std::string& sql, const SqlParameters& parameters) {
  return sql_.Read("list the findings", [&]() -> Result<std::vector<FindingRecord>> {
    std::vector<FindingRecord> findings;
    sql_.Query(sql, parameters, [&](const SqlRow& row) { findings.push_back(ReadFinding(row)); });
    for (FindingRecord& finding : findings) {
      sql_.Query(kSelectAccusations, {finding.id}, [&](const SqlRow& row) {
        finding.accusations.push_back(
            {.account = row.Text(0), .stream = row.Text(1), .log10_p = row.Real(2), .log10_bound = row.Real(3)});
      });
    }
    return findings;
  });
}

Result<std::vector<FindingRecord>> SqlStore::ListFindings(const FindingFilter& filter) {
  if (auto checked = CheckFilter(filter); !checked) return Pass(checked);
  Conditions where;
  where.Add("created_unix_us >= ", filter.since_unix_us);
  if (filter.until_unix_us) where.Add("created_unix_us < ", *filter.until_unix_us);
  where.AddIf(filter.verdict, "verdict = ");
  where.AddIf(filter.case_label, "case_label = ");
  const bool newest_first = filter.order == FindingOrder::kNewestFirst;
  if (filter.after_id != 0) where.Add(newest_first ? "id < " : "id > ", filter.after_id);
  if (filter.account || filter.stream) {  // of one and the same accusation
    std::string accused = "id IN (SELECT finding_id FROM accusations WHERE ";
    if (filter.account) accused += "account = " + where.Parameter(std::string_view(*filter.account));
    if (filter.account && filter.stream) accused += " AND ";
    if (filter.stream) accused += "stream = " + where.Parameter(std::string_view(*filter.stream));
    where.Append(accused + ")");
  }
  const std::string order = newest_first ? " ORDER BY id DESC LIMIT " : " ORDER BY id LIMIT ";
  const std::string limit = where.Parameter(std::int64_t{filter.limit});
  return SelectFindings(kSelectFindings + where.text() + order + limit, where.parameters());
}

Result<FindingRecord> SqlStore::GetFinding(std::int64_t id) {
  auto found = SelectFindings(std::string(kSelectFindings) + " WHERE id = $1", {id});
  if (!found) return Pass(found);
  if (found->empty())
    return Fail(ErrorCode::kNotFound, "finding " + std::to_string(id) + ": there is none of this id in the store");
  return std::move(found->front());
}

Result<std::vector<Leak>> SqlStore::QueryLeaks(const LeakFilter& filter) {
  if (auto checked = CheckLeakFilter(filter); !checked) return Pass(checked);
  Conditions where;
  where.Add("f.created_unix_us >= ", filter.since_unix_us);
  if (filter.until_unix_us) where.Add("f.created_unix_us < ", *filter.until_unix_us);
  where.AddIf(filter.account, "a.account = ");
  where.AddIf(filter.stream, "a.stream = ");
  where.AddIf(filter.case_label, "f.case_label = ");
  if (!filter.after_account.empty()) {
    const std::string account = where.Parameter(std::string_view(filter.after_account));
    const std::string stream = where.Parameter(std::string_view(filter.after_stream));
    where.Append("(a.account, a.stream) > (" + account + ", " + stream + ")");
  }
  const std::string limit = where.Parameter(std::int64_t{filter.limit});
  return sql_.Read("query the leaks", [&]() -> Result<std::vector<Leak>> {
    std::vector<Leak> leaks;
    sql_.Query(kSelectLeaks + where.text() + kStrongestOnly + limit, where.parameters(), [&](const SqlRow& row) {
      leaks.push_back({.account = row.Text(0),
                       .stream = row.Text(1),
                       .finding_id = row.Integer(2),
                       .log10_bound = row.Real(3),
                       .first_seen_unix_us = row.Integer(4),
                       .last_seen_unix_us = row.Integer(5)});
    });
    return leaks;
  });
}

Result<AlphaSpent> SqlStore::SumAlphaSpent(std::int64_t since_unix_us, std::optional<std::int64_t> until_unix_us) {
  Conditions where;
  where.Append("alpha_spent > 0");  // as the index says
  where.Add("created_unix_us >= ", since_unix_us);
  if (until_unix_us) where.Add("created_unix_us < ", *until_unix_us);
  return sql_.Read("sum up what scans spent", [&]() -> Result<AlphaSpent> {
    AlphaSpent spent;
    sql_.Query(kSumAlpha + where.text(), where.parameters(),
               [&](const SqlRow& row) { spent = {.alpha = row.Real(0), .num_scans = row.Integer(1)}; });
    return spent;
  });
}

Result<std::int64_t> SqlStore::SumScored() {
  return sql_.Read("sum up how often anybody was scored", [&]() -> Result<std::int64_t> {
    std::int64_t sum = 0;
    sql_.Query(kSelectScored, {}, [&](const SqlRow& row) { sum = row.Integer(0); });
    return sum;
  });
}

Result<std::optional<std::vector<std::uint8_t>>> SqlStore::FindAnswer(std::string_view scope, std::string_view key,
                                                                      std::string_view request_digest) {
  if (auto checked = CheckName("idempotency_key", key); !checked) return Pass(checked);
  return sql_.Read("look up an idempotency key", [&]() -> Result<std::optional<std::vector<std::uint8_t>>> {
    std::optional<std::vector<std::uint8_t>> answer;
    bool same = true;
    sql_.Query(kSelectAnswer, {scope, key}, [&](const SqlRow& row) {
      same = row.Text(0) == request_digest;
      answer = row.Bytes(1);
    });
    if (!same)
      return Fail(ErrorCode::kAlreadyExists, "idempotency_key '" + Printable(key) + "': it came with another request before");
    return answer;
  });
}

Result<void> SqlStore::KeepAnswer(std::string_view scope, std::string_view key, std::string_view request_digest,
                                  std::span<const std::uint8_t> answer) {
  if (auto checked = CheckName("idempotency_key", key); !checked) return checked;
  return sql_.Write("keep an answer", [&]() -> Result<void> {
    sql_.Execute(kInsertAnswer, {scope, key, request_digest, answer, sql_.NowUnixUs()});
    return {};
  });
}

}  // namespace earmark
