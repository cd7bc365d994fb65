// The key of a stream's trace codes: whoever holds it can name accounts, and nobody else can.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dsp/core/secret.h"
#include "dsp/core/stream_keys.h"

namespace earmark {

// A type of its own, so that nothing takes it for one of the others.
class CodeKey {
 public:
  CodeKey() = default;
  explicit CodeKey(const Key& key) : key_(key) {}
  const Key& key() const { return key_; }

 private:
  Key key_;
};

// All keys of a stream: for whoever marks it, and for scoring.
struct StreamKeys : ReadingKeys {
  CodeKey code;
};

StreamKeys DeriveStreamKeys(const Key& master, std::string_view stream_id, const std::array<std::uint8_t, 16>& salt);

}  // namespace earmark
