#include "tools/earmark/json_output.h"

#include <cstdio>

namespace earmark::cli {

void PrintJson(const nlohmann::ordered_json& value) {
  std::printf("%s\n", value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

}  // namespace earmark::cli
