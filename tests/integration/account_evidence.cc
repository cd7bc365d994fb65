// What is told of an account does not depend on how its rows come in pages.
#include "services/common/account_evidence.h"

#include <catch2/catch.hpp>
#include <map>

#include "dsp/scoring/combined_evidence.h"
#include "tests/integration/store_temp_folder.h"
#include "tests/support/marked_stream.h"

namespace earmark {
namespace {

FindingRecord Accusing(const std::vector<AccusationRecord>& accusations) {
  FindingRecord finding{
      .clip_name = "clip", .clip_sha256 = "", .verdict = "accused", .report_json = "{}", .accusations = accusations};
  finding.num_scored = static_cast<std::int64_t>(accusations.size()) + 1;
  return finding;
}

std::map<std::string, AccountEvidence> InPagesOf(Store& store, int rows, LeakFilter filter = {}) {
  filter.limit = rows;
  std::map<std::string, AccountEvidence> told;
  for (;;) {
    const auto page = Get(store.QueryLeaks(filter));
    for (const AccountEvidence& evidence : Get(EvidenceOf(store, filter, page))) {
      const auto [known, is_new] = told.emplace(evidence.account, evidence);
      CHECK(known->second == evidence);
    }
    if (static_cast<int>(page.size()) < rows) return told;
    filter.after_account = page.back().account;
    filter.after_stream = page.back().stream;
  }
}

TEST_CASE("Account evidence: streams are put together, the strongest finding of each, over all scans of the store",
          "[account_evidence]") {
  const TempFolder folder;
  const auto store = Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
  const auto add = [&](const std::string& account, const std::string& stream, double log10_bound) {
    return Get(store->AddFinding(
        Accusing({{.account = account, .stream = stream, .log10_p = log10_bound - 2, .log10_bound = log10_bound}})));
  };
  (void)add("ann", "a", -8);
  const std::int64_t strongest = add("ann", "a", -11);
  (void)add("ann", "b", -9);
  (void)add("ben", "a", -7);
  for (int i = 0; i < 5; ++i) (void)add("zoe", "s" + std::to_string(i), -10 - i);
  const auto told = InPagesOf(*store, 100);
  REQUIRE(told.size() == 3);
  const AccountEvidence& ann = told.at("ann");
  CHECK(ann.num_streams == 2);
  CHECK(ann.finding_id == strongest);
  CHECK(ann.log10_bound == -11);
  CHECK(ann.log10_combined_bound == CombinedLog10Bound(std::vector{-11.0, -9.0}, 18));
  CHECK(ann.log10_combined_bound < -13);
  CHECK(ann.first_seen_unix_us < ann.last_seen_unix_us);
  CHECK(told.at("ben").log10_combined_bound == Approx(-7 + std::log10(2 * 18)));
  for (int rows = 1; rows < 9; ++rows) {
    INFO(rows);
    CHECK(InPagesOf(*store, rows) == told);
  }
  LeakFilter of_one_stream;
  of_one_stream.stream = "b";
  const auto narrow = InPagesOf(*store, 1, of_one_stream);
  REQUIRE(narrow.size() == 1);
  CHECK(narrow.at("ann").num_streams == 1);
  CHECK(narrow.at("ann").log10_combined_bound == CombinedLog10Bound(std::vector{-9.0}, 18));
}

}  // namespace
}  // namespace earmark
