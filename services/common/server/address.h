// Addresses to listen on.
#pragma once

#include <string>

#include "dsp/core/result.h"

namespace earmark::server {

struct Address {
  std::string host;  // numeric, without brackets
  int port = 0;      // 0: any

  std::string ToString() const;  // HOST:PORT, [HOST]:PORT for IPv6
};

// HOST:PORT with a host in 127.0.0.0/8, ::1 (in brackets) or localhost, which is 127.0.0.1. `field` names the setting in
// messages. kInvalidArgument: anything else; there are no tokens and no TLS yet, and without them nothing but loopback is served.
Result<Address> ParseLoopbackAddress(const std::string& text, const std::string& field);

}  // namespace earmark::server
