// How findings and times are written for people and in JSON, by every command alike.
#pragma once

#include <cstdint>
#include <string>

#include "services/common/scan/scan.h"

namespace earmark::cli {

// What a scan found, on stdout. `clip` is its name.
void PrintReport(const std::string& clip, const ScanReport& report);

// "10^-8.2"
std::string Chance(double log10);

// RFC 3339, UTC, to the second.
std::string Utc(std::int64_t unix_us);

// A moment as people give it: RFC 3339, YYYY-MM-DD (midnight UTC), or how long before `now_unix_us`: 7d, 12h, 30m.
// What is before 1970 is 1970. kInvalidArgument names `option`.
Result<std::int64_t> ParseMoment(const std::string& text, const std::string& option, std::int64_t now_unix_us);

// The same of a moment to come: 90d is in ninety days. kInvalidArgument: also one that is over.
Result<std::int64_t> ParseDeadline(const std::string& text, const std::string& option, std::int64_t now_unix_us);

}  // namespace earmark::cli
