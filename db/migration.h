// The numbered steps that lead to an engine's schema, compiled in from db/migrations/.
#pragma once

#include <span>
#include <string>

#include "dsp/core/result.h"

namespace earmark {

struct Migration {
  int version;  // 1, 2, 3, ... without gaps
  const char* sql;
};

// All of this build, ascending.
std::span<const Migration> SqliteMigrations();
std::span<const Migration> PostgresMigrations();

// kFailedPrecondition: `version` is newer than this build knows; kDataLoss: impossible. `store` names it in messages.
Result<void> CheckSchemaVersion(int version, std::span<const Migration> migrations, const std::string& store);

}  // namespace earmark
