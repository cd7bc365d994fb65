// Which servers may be spoken to without TLS.
#pragma once

#include <string>

#include "dsp/core/result.h"

namespace earmark::cli {

struct ServerAddress {
  std::string text;       // HOST:PORT, as given
  bool loopback = false;  // the host is this machine: nobody can listen on the way
};

// HOST:PORT; an IPv6 host is in brackets. kInvalidArgument: anything else.
Result<ServerAddress> ParseServerAddress(const std::string& text);

}  // namespace earmark::cli
