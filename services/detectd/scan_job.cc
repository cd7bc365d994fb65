#include "services/detectd/scan_job.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "services/common/digest.h"
#include "services/decode/sandboxed_tracks.h"

namespace earmark::detectd {
namespace {

constexpr std::int64_t kRescanPeriodUs = 2'000'000;

// Such a clip is unreadable, which is a finding; other errors, such as a full disk of ours, end the scan without one.
bool IsAboutTheClip(ErrorCode code) { return code == ErrorCode::kInvalidArgument || code == ErrorCode::kDataLoss; }

}  // namespace

Result<std::string> ScanJob::Run() {
  if (scan_.attempt - scan_.num_released > kMaxAttempts) {
    return Keep(Unreadable("its worker stopped before the end each of " + std::to_string(kMaxAttempts) + " times"));
  }
  const auto finding = Examine();
  EnterStage("");
  switch (lease_.stop_reason()) {
    case StopReason::kLost:
      return std::string("lost");
    case StopReason::kCancelled:
      return GiveUp({ErrorCode::kCancelled, "cancelled"});
    case StopReason::kDraining:
      if (finding) break;  // it is done all the same
      if (const auto released = store_.ReleaseScan(scan_.id, scan_.attempt); !released) return Pass(released);
      return std::string("released");
    case StopReason::kNone:
      break;
  }
  if (!finding) return GiveUp(finding.error());
  return Keep(*finding);
}

Result<FindingRecord> ScanJob::Examine() {
  auto file = ClipFile::Create();
  if (!file) return Pass(file);
  const auto fetched = store_.ReadClip(scan_.id, [&](std::span<const std::uint8_t> part) { return file->Append(part); });
  if (!fetched) return Pass(fetched);
  if (file->Sha256() != scan_.clip_sha256) return Fail(ErrorCode::kDataLoss, "the clip is damaged in the store; submit it again");
  auto clip = Decode(*file);
  if (!clip) return IsAboutTheClip(clip.error().code) ? Unreadable(clip.error().message) : Result<FindingRecord>(Pass(clip));
  auto report = Scan(SignalsOf(*clip));
  if (!report && IsAboutTheClip(report.error().code)) return Unreadable(report.error().message);
  if (!report) return Pass(report);
  report->notes.insert(report->notes.end(), clip->notes().begin(), clip->notes().end());
  if (clip->truncated()) report->notes.push_back("the clip breaks off; what was there has been scanned");
  return FindingFrom(*report);
}

// A decoder that somebody else killed, such as a machine that has no memory left, says nothing of the clip the first time.
Result<DecodedClip> ScanJob::Decode(const ClipFile& file) {
  constexpr int kMaxTries = 3;
  constexpr std::chrono::milliseconds kPause{1000};
  for (int i = 1;; ++i) {
    auto clip = DecodeOnce(file);
    if (clip || num_decoder_failures_ < i || clip.error().code != ErrorCode::kUnavailable) return clip;
    spdlog::warn("scan {}: {}, {} of {} times", scan_.id, clip.error().message, i, kMaxTries);
    if (i == kMaxTries)
      return Fail(ErrorCode::kDataLoss, clip.error().message + ", " + std::to_string(kMaxTries) + " times of as many");
    if (!lease_.Wait(kPause)) return Fail(ErrorCode::kCancelled, "stopped");
  }
}

// A decoder that did not end as it should has perhaps not told the truth before: nothing of such a clip is used.
Result<DecodedClip> ScanJob::DecodeOnce(const ClipFile& file) {
  auto tracks = decode::SandboxedTracks::Start(decoders_, file.fd(), [&] { return lease_.stop_reason() == StopReason::kNone; });
  if (!tracks) return Pass(tracks);
  auto clip = DecodedClip::Decode("the clip", **tracks, options_.max_clip_hours,
                                  [&](double fraction) { return Advance("decoding", fraction); });
  const auto& failure = (*tracks)->failure();
  if (!failure || failure->code == ErrorCode::kCancelled) return clip;
  ++num_decoder_failures_;
  return Fail(failure->code, "the clip cannot be decoded: " + failure->message);
}

void ScanJob::EnterStage(const std::string& stage) {
  if (stage == stage_) return;
  const auto now = std::chrono::steady_clock::now();
  stage_seconds_[stage_] += std::chrono::duration<double>(now - stage_began_).count();
  stage_ = stage;
  stage_began_ = now;
}

// How every stage tells where it is; false: stop.
bool ScanJob::Advance(const std::string& stage, double fraction) {
  EnterStage(stage);
  lease_.SetProgress(stage, fraction);
  return lease_.stop_reason() == StopReason::kNone;
}

Result<ScanReport> ScanJob::Scan(const ClipSignals& clip) {
  const ScanOptions options{.stream = scan_.stream, .max_false_accusation = scan_.max_false_accusation};
  const Progress progress = [&](const char* stage, double fraction) { return Advance(stage, fraction); };
  for (;;) {
    auto report = scan_.stream ? ScanClip(store_, master_, clip, options, progress)
                               : ScanClip(store_, master_, catalog_, clip, options, progress);
    // Nothing there to search yet, or nothing that was found.
    const bool in_vain = report ? report->verdict == Verdict::kUnknownAudio && report->trials == 0
                                : report.error().code == ErrorCode::kFailedPrecondition;
    if (!in_vain) return report;
    const auto again = SoundMayCome();
    if (!again) return Pass(again);
    if (!*again) return report;
    EnterStage("waiting");
    lease_.SetProgress("waiting", -1);
    const std::int64_t left_us = scan_.created_unix_us + options_.settle_us - UnixMicroseconds();
    const auto pause = std::chrono::microseconds(std::clamp<std::int64_t>(left_us, 1000, kRescanPeriodUs));
    if (!lease_.Wait(std::chrono::ceil<std::chrono::milliseconds>(pause))) return Fail(ErrorCode::kCancelled, "stopped");
  }
}

// Scanning again costs nothing of the bound as long as nobody was scored, so it is for sound that nothing at all was found of.
Result<bool> ScanJob::SoundMayCome() {
  const std::int64_t now_us = UnixMicroseconds();
  if (now_us >= scan_.created_unix_us + options_.settle_us) return false;
  const auto is_live = [&](const StreamRecord& stream) {
    return stream.live && stream.state == StreamState::kRecording && stream.leased_until_unix_us > now_us &&
           (!scan_.stream || *scan_.stream == stream.id);
  };
  const auto streams = store_.ListStreams();
  if (!streams) return Pass(streams);
  return std::any_of(streams->begin(), streams->end(), is_live);
}

FindingRecord ScanJob::FindingFrom(const ScanReport& report) const {
  FindingRecord finding;
  finding.clip_name = scan_.name;
  finding.clip_sha256 = scan_.clip_sha256;
  finding.case_label = scan_.case_label;
  finding.verdict = VerdictName(report.verdict);
  finding.report_json = ToJson(report);
  if (report.trials > 0) finding.alpha_spent = scan_.max_false_accusation;
  finding.num_scored = report.num_scored;
  for (const Accusation& a : report.accusations) {
    finding.accusations.push_back({.account = a.account, .stream = a.stream, .log10_p = a.log10_p, .log10_bound = a.log10_bound});
  }
  return finding;
}

FindingRecord ScanJob::Unreadable(const std::string& reason) const {
  constexpr char kVerdict[] = "unreadable";
  FindingRecord finding = FindingFrom({});
  auto report = nlohmann::ordered_json::parse(finding.report_json);
  report["verdict"] = kVerdict;
  report["reason"] = reason;
  finding.verdict = kVerdict;
  // A file's own words may be in the reason, and those need not be UTF-8.
  finding.report_json = report.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return finding;
}

// A finding is work that should not be lost to a moment's trouble of the store.
Result<std::string> ScanJob::Keep(const FindingRecord& finding) {
  constexpr int kMaxTries = 10;
  for (int i = 0;; ++i) {
    const auto kept = store_.FinishScan(scan_.id, scan_.attempt, finding);
    if (kept) alpha_spent_ = finding.alpha_spent;
    if (kept) return finding.verdict;
    if (kept.error().code == ErrorCode::kFailedPrecondition || kept.error().code == ErrorCode::kNotFound)
      return std::string("lost");
    if (kept.error().code != ErrorCode::kUnavailable) return GiveUp(kept.error());
    if (i == kMaxTries || !lease_.Wait(std::chrono::milliseconds(500))) return Pass(kept);
  }
}

Result<std::string> ScanJob::GiveUp(const Error& error) {
  // Nothing is wrong with the scan: whoever claims it next may find the store well again.
  if (error.code == ErrorCode::kUnavailable) return Fail(error.code, error.message);
  const auto told = store_.AbandonScan(scan_.id, scan_.attempt, error.message);
  if (!told && told.error().code == ErrorCode::kFailedPrecondition) return std::string("lost");
  if (!told) return Pass(told);
  return std::string(error.code == ErrorCode::kCancelled ? "cancelled" : "failed");
}

}  // namespace earmark::detectd
