// Addresses to listen on.
#pragma once

#include <string>

#include "dsp/core/result.h"

namespace earmark::server {

struct Address {
  std::string host;  // numeric, without brackets
  int port = 0;      // 0: any

  std::string ToString() const;  // HOST:PORT, [HOST]:PORT for IPv6
  // Whether packets from outside cannot reach it: 127.0.0.0/8 and ::1.
  bool IsLoopback() const;
};

// HOST:PORT with a numeric host, in brackets for IPv6, or localhost, which is 127.0.0.1. Other names are not taken: what they
// stand for can change. `field` names the setting in messages. kInvalidArgument: anything else.
Result<Address> ParseAddress(const std::string& text, const std::string& field);

}  // namespace earmark::server
