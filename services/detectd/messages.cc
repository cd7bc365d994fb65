#include "services/detectd/messages.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "services/common/paging.h"
#include "services/common/server/timestamp.h"

namespace earmark::detectd {
namespace {

using nlohmann::json;
using paging::PlaceOf;
using paging::Refuse;
using paging::RowsOf;
using server::MicrosecondsOf;
using server::TimestampOf;

// ---- reports

void FillAccusation(const json& from, v1::Accusation& to) {
  to.set_account(from.at("account").get<std::string>());
  to.set_stream_id(from.at("stream").get<std::string>());
  to.set_log10_p(from.at("log10_p").get<double>());
  to.set_log10_bound(from.at("log10_bound").get<double>());
  to.set_score(from.value("score", 0.0));
  to.set_clip_start_s(from.value("clip_start_s", 0.0));
  to.set_clip_end_s(from.value("clip_end_s", 0.0));
}

void FillAlignment(const json& from, SourceNames& sources, v1::Alignment& to) {
  to.set_stream_id(from.at("stream").get<std::string>());
  to.set_source(sources.NameOf(to.stream_id(), from.value("source", 0)));
  to.set_clip_start_s(from.at("clip_start_s").get<double>());
  to.set_clip_end_s(from.at("clip_end_s").get<double>());
  to.set_stream_start_s(from.at("stream_start_s").get<double>());
  to.set_speed(from.at("speed").get<double>());
}

void FillFromReport(const json& report, SourceNames& sources, v1::Finding& finding) {
  for (const json& accusation : report.at("accusations")) FillAccusation(accusation, *finding.add_accusations());
  for (const json& alignment : report.at("alignments")) FillAlignment(alignment, sources, *finding.add_alignments());
  finding.set_candidates(report.at("candidates").get<std::int64_t>());
  finding.set_trials(report.value("trials", finding.candidates()));  // left out where it is the same
  finding.set_symbols_used(report.at("symbols_used").get<std::int64_t>());
  if (report.contains("seconds_needed") && !report["seconds_needed"].is_null())
    finding.set_seconds_needed(report["seconds_needed"].get<double>());
  for (const json& note : report.value("notes", json::array())) finding.add_notes(note.get<std::string>());
  finding.set_reason(report.value("reason", std::string()));
}

// ---- requests

// since and until, of both requests alike.
template <typename Request, typename Filter>
Result<void> FillTimes(const Request& request, Filter& filter) {
  if (request.has_since()) {
    const auto since = MicrosecondsOf("since", request.since());
    if (!since) return Pass(since);
    filter.since_unix_us = *since;
  }
  if (request.has_until()) {
    const auto until = MicrosecondsOf("until", request.until());
    if (!until) return Pass(until);
    filter.until_unix_us = *until;
  }
  return {};
}

Result<void> CheckVerdict(const std::string& verdict) {
  for (const char* known : {"", "accused", "no_accusation", "unknown_audio", "unreadable"}) {
    if (verdict == known) return {};
  }
  return Refuse("verdict", "one of accused, no_accusation, unknown_audio, unreadable", "another word");
}

std::optional<std::string> IfAny(const std::string& text) { return text.empty() ? std::nullopt : std::optional(text); }

}  // namespace

std::string SourceNames::NameOf(const std::string& stream, int source) {
  const auto [known, is_new] = names_.try_emplace(stream);
  if (is_new) {
    // A name is for people: where the store cannot be asked the number does.
    if (const auto listed = store_.ListSources(stream)) {
      for (const SourceRecord& record : *listed) known->second[record.source] = record.name;
    }
  }
  const auto name = known->second.find(source);
  if (name != known->second.end()) return name->second;
  return source == 0 ? std::string() : std::to_string(source);
}

Result<v1::Finding> FindingOf(const FindingRecord& record, SourceNames& sources) {
  v1::Finding finding;
  finding.set_finding_id(std::to_string(record.id));
  finding.set_scan_id(record.scan_id);
  *finding.mutable_created_at() = TimestampOf(record.created_unix_us);
  finding.set_name(record.clip_name);
  finding.set_case_label(record.case_label);
  finding.set_clip_sha256(record.clip_sha256);
  finding.set_verdict(record.verdict);
  finding.set_report_json(record.report_json);
  try {
    FillFromReport(json::parse(record.report_json), sources, finding);
  } catch (const json::exception&) {
    return Fail(ErrorCode::kDataLoss, "finding " + std::to_string(record.id) + ": its report is damaged");
  }
  return finding;
}

v1::ScanState StateOf(ScanState state) {
  switch (state) {
    case ScanState::kQueued:
      return v1::QUEUED;
    case ScanState::kRunning:
      return v1::RUNNING;
    case ScanState::kDone:
      return v1::DONE;
    case ScanState::kCancelled:
      return v1::CANCELLED;
    case ScanState::kFailed:
      return v1::FAILED;
  }
  return v1::SCAN_STATE_UNSPECIFIED;
}

v1::ScanProgress ProgressOf(const ScanRecord& record) {
  v1::ScanProgress progress;
  switch (record.state) {
    case ScanState::kQueued:
      progress.set_stage("queued");
      break;
    case ScanState::kRunning:
      progress.set_stage(record.stage == "queued" ? "decoding" : record.stage);  // claimed a moment ago
      progress.set_fraction(record.fraction);
      break;
    case ScanState::kDone:
      progress.set_stage("done");
      progress.set_fraction(1);
      break;
    case ScanState::kCancelled:
    case ScanState::kFailed:
      break;
  }
  return progress;
}

Result<v1::Scan> ScanOf(const ScanRecord& record, Store& store) {
  v1::Scan scan;
  scan.set_scan_id(record.id);
  scan.set_state(StateOf(record.state));
  *scan.mutable_progress() = ProgressOf(record);
  scan.set_reason(record.error);
  if (!record.finding_id) return scan;
  const auto kept = store.GetFinding(*record.finding_id);
  if (!kept) return Pass(kept);
  SourceNames sources(store);
  auto finding = FindingOf(*kept, sources);
  if (!finding) return Pass(finding);
  *scan.mutable_finding() = std::move(*finding);
  return scan;
}

v1::Leak LeakOf(const Leak& leak) {
  v1::Leak message;
  message.set_account(leak.account);
  message.set_stream_id(leak.stream);
  message.set_finding_id(std::to_string(leak.finding_id));
  message.set_log10_bound(leak.log10_bound);
  *message.mutable_first_seen() = TimestampOf(leak.first_seen_unix_us);
  *message.mutable_last_seen() = TimestampOf(leak.last_seen_unix_us);
  return message;
}

v1::AccountEvidence MessageOf(const AccountEvidence& evidence) {
  v1::AccountEvidence message;
  message.set_account(evidence.account);
  message.set_streams(evidence.num_streams);
  message.set_finding_id(std::to_string(evidence.finding_id));
  message.set_log10_bound(evidence.log10_bound);
  message.set_log10_combined_bound(evidence.log10_combined_bound);
  *message.mutable_first_seen() = TimestampOf(evidence.first_seen_unix_us);
  *message.mutable_last_seen() = TimestampOf(evidence.last_seen_unix_us);
  return message;
}

Result<FindingFilter> FilterOf(const v1::ListFindingsRequest& request) {
  FindingFilter filter{
      .verdict = IfAny(request.verdict()), .case_label = IfAny(request.case_label()), .order = FindingOrder::kNewestFirst};
  const auto rows = RowsOf(request.page_size());
  if (!rows) return Pass(rows);
  filter.limit = *rows;
  if (const auto verdict = CheckVerdict(request.verdict()); !verdict) return Pass(verdict);
  if (const auto times = FillTimes(request, filter); !times) return Pass(times);
  const auto place = PlaceOf(request);
  if (!place) return Pass(place);
  std::from_chars(place->data(), place->data() + place->size(), filter.after_id);
  return filter;
}

Result<LeakFilter> FilterOf(const v1::QueryLeaksRequest& request) {
  LeakFilter filter{
      .account = IfAny(request.account()), .stream = IfAny(request.stream_id()), .case_label = IfAny(request.case_label())};
  const auto rows = RowsOf(request.page_size());
  if (!rows) return Pass(rows);
  filter.limit = *rows;
  if (const auto verdict = CheckVerdict(request.verdict()); !verdict) return Pass(verdict);
  if (const auto times = FillTimes(request, filter); !times) return Pass(times);
  const auto place = PlaceOf(request);
  if (!place) return Pass(place);
  const std::size_t separator = place->find('\0');
  if (separator == std::string::npos) return filter;
  filter.after_account = place->substr(0, separator);
  filter.after_stream = place->substr(separator + 1);
  return filter;
}

std::string PlaceAfter(const FindingRecord& last) { return std::to_string(last.id); }

// Accounts and stream ids hold no NUL.
std::string PlaceAfter(const Leak& last) { return last.account + '\0' + last.stream; }

}  // namespace earmark::detectd
