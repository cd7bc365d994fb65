// How results for scripts are printed.
#pragma once

#include <nlohmann/json.hpp>

namespace earmark::cli {

// One line of UTF-8 to stdout whatever the strings in `value` hold: file names may be any bytes, and those that are not UTF-8 become U+FFFD.
void PrintJson(const nlohmann::ordered_json& value);

}  // namespace earmark::cli
