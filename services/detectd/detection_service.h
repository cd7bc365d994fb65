// The calls of earmark.v1.Detection.
#pragma once

#include "db/store_pool.h"
#include "earmark/v1/detection.grpc.pb.h"
#include "services/access/access_control.h"
#include "services/common/idempotency.h"
#include "services/detectd/drain_signal.h"
#include "services/detectd/upload.h"

namespace earmark::detectd {

// Answers from the store alone; who carries the scans out is another matter (scan_workers.h), perhaps in another process. Thread-safe: gRPC
// calls it from many threads at once, and each call borrows a connection for as long as it needs one.
class DetectionService final : public v1::Detection::Service {
 public:
  // All three must outlive it. Once `drain` is raised, watchers are told UNAVAILABLE.
  DetectionService(StorePool& stores, AccessControl& access, const DrainSignal& drain, const UploadLimits& limits)
      : stores_(stores), access_(access), drain_(drain), limits_(limits) {}

  grpc::Status SubmitScan(grpc::ServerContext* context, grpc::ServerReader<v1::SubmitScanRequest>* reader,
                          v1::Scan* response) override;
  grpc::Status GetScan(grpc::ServerContext* context, const v1::GetScanRequest* request, v1::Scan* response) override;
  grpc::Status WatchScan(grpc::ServerContext* context, const v1::WatchScanRequest* request,
                         grpc::ServerWriter<v1::Progress>* writer) override;
  grpc::Status CancelScan(grpc::ServerContext* context, const v1::CancelScanRequest* request, v1::Scan* response) override;
  grpc::Status ListFindings(grpc::ServerContext* context, const v1::ListFindingsRequest* request,
                            v1::ListFindingsResponse* response) override;
  grpc::Status QueryLeaks(grpc::ServerContext* context, const v1::QueryLeaksRequest* request,
                          v1::QueryLeaksResponse* response) override;
  grpc::Status GetClip(grpc::ServerContext* context, const v1::GetClipRequest* request,
                       grpc::ServerWriter<v1::ClipPart>* writer) override;

 private:
  // The calls themselves, in terms of results.
  Result<v1::Scan> Submit(grpc::ServerContext& context, grpc::ServerReader<v1::SubmitScanRequest>& reader, const Caller& caller);
  Result<v1::Scan> Cancel(const v1::CancelScanRequest& request);
  Result<v1::ListFindingsResponse> List(const v1::ListFindingsRequest& request);
  Result<v1::QueryLeaksResponse> Leaks(const v1::QueryLeaksRequest& request);
  Result<v1::Progress> ReadProgress(const std::string& scan_id);
  Result<v1::Scan> ReadScan(const std::string& scan_id);
  Result<ClipFile> FetchClip(const std::string& scan_id);

  Result<void> NoteFinding(const Caller& caller, const char* call, const v1::Scan& scan, const std::string& reason);
  // Answers those who may call, and notes in the log of accesses what they asked for.
  template <typename Request, typename Response, typename Body>
  grpc::Status Noted(const grpc::ServerContext& context, const char* call, const Request& request, Response& response,
                     const Body& body);

  StorePool& stores_;
  AccessControl& access_;
  const DrainSignal& drain_;
  const UploadLimits limits_;
  KeyLocks key_locks_;
};

}  // namespace earmark::detectd
