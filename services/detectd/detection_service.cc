#include "services/detectd/detection_service.h"

#include <chrono>

#include "services/access/serve.h"
#include "services/common/account_evidence.h"
#include "services/common/paging.h"
#include "services/common/server/status.h"
#include "services/detectd/messages.h"

namespace earmark::detectd {
namespace {

using access::Serve;
using server::ToStatus;

// How often a watcher looks. What a scan does is told to the store a few times a second.
constexpr std::chrono::milliseconds kWatchPeriod{100};

Result<void> CheckScanId(const std::string& scan_id) {
  if (!scan_id.empty()) return {};
  return Fail(ErrorCode::kInvalidArgument, "scan_id: wanted what SubmitScan gave, got none");
}

bool IsOver(v1::ScanState state) { return state == v1::DONE || state == v1::CANCELLED || state == v1::FAILED; }

bool IsSame(const v1::Progress& a, const v1::Progress& b) {
  return a.state() == b.state() && a.stage() == b.stage() && a.fraction() == b.fraction();
}

}  // namespace

// ---- who looked at what

// Of a scan that has one.
Result<void> DetectionService::NoteFinding(const Caller& caller, const char* call, const v1::Scan& scan,
                                           const std::string& reason) {
  if (!scan.has_finding()) return {};
  return access_.Note(caller, call, "finding " + scan.finding().finding_id(), reason);
}

template <typename Request, typename Response, typename Body>
grpc::Status DetectionService::Noted(const grpc::ServerContext& context, const char* call, const Request& request,
                                     Response& response, const Body& body) {
  return Serve(access_, context, call, response, [&](const Caller& caller) -> Result<Response> {
    auto answer = body();
    if (!answer) return answer;
    if (auto noted = access_.Note(caller, call, paging::FiltersOf(request).ShortDebugString(), request.reason()); !noted)
      return Pass(noted);
    return answer;
  });
}

// ---- SubmitScan

grpc::Status DetectionService::SubmitScan(grpc::ServerContext* context, grpc::ServerReader<v1::SubmitScanRequest>* reader,
                                          v1::Scan* response) {
  return Serve(access_, *context, "Detection.SubmitScan", *response,
               [&](const Caller& caller) { return Submit(*context, *reader, caller); });
}

Result<v1::Scan> DetectionService::Submit(grpc::ServerContext& context, grpc::ServerReader<v1::SubmitScanRequest>& reader,
                                          const Caller& caller) {
  v1::SubmitScanRequest first;
  if (!reader.Read(&first) || !first.has_header())
    return Fail(ErrorCode::kInvalidArgument, "header: wanted before the data, got none");
  const v1::SubmitScanHeader& header = first.header();
  if (const auto checked = CheckHeader(header, limits_.max_false_accusation); !checked) return Pass(checked);
  if (!header.stream_id().empty()) {
    auto store = stores_.Borrow();
    if (!store) return Pass(store);
    if (const auto stream = (*store)->GetStream(header.stream_id()); !stream) return Pass(stream);
  }
  Result<void> allowed;
  const MessageSource next = [&](v1::SubmitScanRequest& message) {
    if (!reader.Read(&message)) return false;
    allowed = access_.TakeBytes(caller, static_cast<std::int64_t>(message.data().size()));
    return allowed.has_value();
  };
  auto clip = ReceiveClip(header, next, limits_.max_clip_bytes);
  if (!allowed) return Pass(allowed);
  // A client that left looks like one that has sent all; half a clip must not be scanned.
  if (context.IsCancelled()) return Fail(ErrorCode::kCancelled, "the client left before the end of the clip");
  if (!clip) return Pass(clip);
  auto store = stores_.Borrow();
  if (!store) return Pass(store);
  const auto scan = (*store)->EnqueueScan(ScanFor(header, *clip, limits_), [&](std::int64_t part) {
    return clip->Read(part * std::int64_t{JobQueue::kClipPartBytes}, JobQueue::kClipPartBytes);
  });
  if (!scan) return Pass(scan);
  auto answer = ScanOf(*scan, **store);
  if (!answer) return answer;
  // An upload that comes again may find its scan done.
  if (auto noted = NoteFinding(caller, "Detection.SubmitScan", *answer, ""); !noted) return Pass(noted);
  return answer;
}

// ---- GetScan, WatchScan, CancelScan

Result<v1::Scan> DetectionService::ReadScan(const std::string& scan_id) {
  if (const auto checked = CheckScanId(scan_id); !checked) return Pass(checked);
  auto store = stores_.Borrow();
  if (!store) return Pass(store);
  const auto scan = (*store)->GetScan(scan_id);
  if (!scan) return Pass(scan);
  return ScanOf(*scan, **store);
}

grpc::Status DetectionService::GetScan(grpc::ServerContext* context, const v1::GetScanRequest* request, v1::Scan* response) {
  constexpr char kCall[] = "Detection.GetScan";
  return Serve(access_, *context, kCall, *response, [&](const Caller& caller) -> Result<v1::Scan> {
    auto scan = ReadScan(request->scan_id());
    if (!scan) return scan;
    if (auto noted = NoteFinding(caller, kCall, *scan, request->reason()); !noted) return Pass(noted);
    return scan;
  });
}

Result<v1::Progress> DetectionService::ReadProgress(const std::string& scan_id) {
  auto scan = ReadScan(scan_id);
  if (!scan) return Pass(scan);
  v1::Progress progress;
  progress.set_state(scan->state());
  progress.set_stage(scan->progress().stage());
  progress.set_fraction(scan->progress().fraction());
  if (IsOver(scan->state())) *progress.mutable_scan() = std::move(*scan);
  return progress;
}

grpc::Status DetectionService::WatchScan(grpc::ServerContext* context, const v1::WatchScanRequest* request,
                                         grpc::ServerWriter<v1::Progress>* writer) {
  constexpr char kCall[] = "Detection.WatchScan";
  const auto caller = access::Admit(access_, *context, kCall);
  if (!caller) return ToStatus(caller.error());
  v1::Progress told;  // no state yet, so the first one is news
  while (!context->IsCancelled()) {
    const auto now = ReadProgress(request->scan_id());
    if (!now) return ToStatus(now.error());
    if (auto noted = NoteFinding(*caller, kCall, now->scan(), request->reason()); !noted) return ToStatus(noted.error());
    if (!IsSame(*now, told) && !writer->Write(*now)) break;
    if (IsOver(now->state())) return grpc::Status::OK;
    told = *now;
    if (drain_.WaitFor(kWatchPeriod))
      return {grpc::StatusCode::UNAVAILABLE, "this daemon stops; the scan goes on, watch it again"};
  }
  return {grpc::StatusCode::CANCELLED, "the client left"};
}

grpc::Status DetectionService::CancelScan(grpc::ServerContext* context, const v1::CancelScanRequest* request,
                                          v1::Scan* response) {
  return Serve(access_, *context, "Detection.CancelScan", *response, [&](const Caller& caller) -> Result<v1::Scan> {
    auto scan = Cancel(*request);
    if (!scan) return scan;
    if (auto noted = NoteFinding(caller, "Detection.CancelScan", *scan, ""); !noted) return Pass(noted);
    return scan;
  });
}

Result<v1::Scan> DetectionService::Cancel(const v1::CancelScanRequest& request) {
  if (const auto checked = CheckScanId(request.scan_id()); !checked) return Pass(checked);
  auto store = stores_.Borrow();
  if (!store) return Pass(store);
  v1::Scan answer;
  const auto lock = key_locks_.Lock(request.idempotency_key());
  const auto done = Once(**store, "Detection.CancelScan", request, answer, [&]() -> Result<void> {
    const auto scan = (*store)->CancelScan(request.scan_id());
    if (!scan) return Pass(scan);
    auto cancelled = ScanOf(*scan, **store);
    if (!cancelled) return Pass(cancelled);
    answer = *std::move(cancelled);
    return {};
  });
  if (!done) return Pass(done);
  return answer;
}

// ---- GetClip

grpc::Status DetectionService::GetClip(grpc::ServerContext* context, const v1::GetClipRequest* request,
                                       grpc::ServerWriter<v1::ClipPart>* writer) {
  constexpr char kCall[] = "Detection.GetClip";
  const auto caller = access::Admit(access_, *context, kCall);
  if (!caller) return ToStatus(caller.error());
  auto clip = FetchClip(request->scan_id());
  if (!clip) return ToStatus(clip.error());
  const auto noted = access_.Note(*caller, kCall, "clip of scan " + request->scan_id(), request->reason());
  if (!noted) return ToStatus(noted.error());
  constexpr std::size_t kPartBytes = 3 << 18;  // in threes, so that base64 of all parts is base64 of the file
  v1::ClipPart part;
  for (std::int64_t sent = 0; sent < clip->size_bytes();) {
    const auto bytes = clip->Read(sent, kPartBytes);
    if (!bytes) return ToStatus(bytes.error());
    if (bytes->empty()) return {grpc::StatusCode::UNAVAILABLE, "the clip's temporary file was cut off"};
    part.set_data(bytes->data(), bytes->size());
    if (!writer->Write(part)) return {grpc::StatusCode::CANCELLED, "the client left"};
    sent += static_cast<std::int64_t>(bytes->size());
  }
  return grpc::Status::OK;
}

// Into a file of its own, so that no client who reads slowly holds the store.
Result<ClipFile> DetectionService::FetchClip(const std::string& scan_id) {
  if (const auto checked = CheckScanId(scan_id); !checked) return Pass(checked);
  auto store = stores_.Borrow();
  if (!store) return Pass(store);
  if (const auto scan = (*store)->GetScan(scan_id); !scan) return Pass(scan);
  auto clip = ClipFile::Create();
  if (!clip) return clip;
  const auto fetched = (*store)->ReadClip(scan_id, [&](std::span<const std::uint8_t> part) { return clip->Append(part); });
  if (!fetched) return Pass(fetched);
  return clip;
}

// ---- ListFindings, QueryLeaks

grpc::Status DetectionService::ListFindings(grpc::ServerContext* context, const v1::ListFindingsRequest* request,
                                            v1::ListFindingsResponse* response) {
  return Noted(*context, "Detection.ListFindings", *request, *response, [&] { return List(*request); });
}

Result<v1::ListFindingsResponse> DetectionService::List(const v1::ListFindingsRequest& request) {
  auto filter = FilterOf(request);
  if (!filter) return Pass(filter);
  const auto page_size = static_cast<std::size_t>(filter->limit++);  // one more tells whether there is another page
  auto store = stores_.Borrow();
  if (!store) return Pass(store);
  auto found = (*store)->ListFindings(*filter);
  if (!found) return Pass(found);
  v1::ListFindingsResponse page;
  if (found->size() > page_size) {
    found->resize(page_size);
    page.set_next_page_token(paging::NextPage(request, PlaceAfter(found->back())));
  }
  SourceNames sources(**store);
  for (const FindingRecord& record : *found) {
    auto finding = FindingOf(record, sources);
    if (!finding) return Pass(finding);
    *page.add_findings() = std::move(*finding);
  }
  return page;
}

grpc::Status DetectionService::QueryLeaks(grpc::ServerContext* context, const v1::QueryLeaksRequest* request,
                                          v1::QueryLeaksResponse* response) {
  return Noted(*context, "Detection.QueryLeaks", *request, *response, [&] { return Leaks(*request); });
}

Result<v1::QueryLeaksResponse> DetectionService::Leaks(const v1::QueryLeaksRequest& request) {
  auto filter = FilterOf(request);
  if (!filter) return Pass(filter);
  v1::QueryLeaksResponse page;
  if (!request.verdict().empty() && request.verdict() != "accused") return page;  // the others name nobody
  const auto page_size = static_cast<std::size_t>(filter->limit++);
  auto store = stores_.Borrow();
  if (!store) return Pass(store);
  auto leaks = (*store)->QueryLeaks(*filter);
  if (!leaks) return Pass(leaks);
  if (leaks->size() > page_size) {
    leaks->resize(page_size);
    page.set_next_page_token(paging::NextPage(request, PlaceAfter(leaks->back())));
  }
  for (const Leak& leak : *leaks) *page.add_leaks() = LeakOf(leak);
  const auto evidence = EvidenceOf(**store, *filter, *leaks);
  if (!evidence) return Pass(evidence);
  for (const AccountEvidence& of_account : *evidence) *page.add_accounts() = MessageOf(of_account);
  return page;
}

}  // namespace earmark::detectd
