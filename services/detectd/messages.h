// Between the API's messages and the store's records.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "db/store.h"
#include "earmark/v1/detection.pb.h"
#include "services/common/account_evidence.h"

namespace earmark::detectd {

// Tells how the API names a source: its name, its number if the store does not know the name, nothing for a stream that was marked from a file.
// Reads each stream's names once. For one thread.
class SourceNames {
 public:
  // `store` must outlive it.
  explicit SourceNames(Store& store) : store_(store) {}
  std::string NameOf(const std::string& stream, int source);

 private:
  Store& store_;
  std::map<std::string, std::map<int, std::string>> names_;
};

// kDataLoss: `report_json` is not a report.
Result<v1::Finding> FindingOf(const FindingRecord& record, SourceNames& sources);
// Reads the finding of a scan that is done, too. Errors are the store's.
Result<v1::Scan> ScanOf(const ScanRecord& record, Store& store);
v1::ScanState StateOf(ScanState state);
v1::ScanProgress ProgressOf(const ScanRecord& record);
v1::Leak LeakOf(const Leak& leak);
v1::AccountEvidence MessageOf(const AccountEvidence& evidence);

// The filters of requests; kInvalidArgument: a field out of its range, or a page token that no answer gave.
Result<FindingFilter> FilterOf(const v1::ListFindingsRequest& request);
Result<LeakFilter> FilterOf(const v1::QueryLeaksRequest& request);
// Where the page after this last element begins, for paging::NextPage.
std::string PlaceAfter(const FindingRecord& last);
std::string PlaceAfter(const Leak& last);

}  // namespace earmark::detectd
