#include "db/migration.h"

#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {

Result<void> CheckSchemaVersion(int version, std::span<const Migration> migrations, const std::string& store) {
  const int newest = migrations.back().version;
  if (version > newest) {
    return Fail(ErrorCode::kFailedPrecondition, "the store " + Printable(store) + " has schema " + std::to_string(version) +
                                                    ", this build knows up to " + std::to_string(newest) +
                                                    "; use the newer Earmark that wrote it");
  }
  if (version < 0) {
    return Fail(ErrorCode::kDataLoss, "the store " + Printable(store) + " has the impossible schema number " +
                                          std::to_string(version) + "; restore it from a backup");
  }
  return {};
}

}  // namespace earmark
