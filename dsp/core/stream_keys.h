// From one master key to everything a stream needs, by BLAKE2b as a keyed hash (libsodium's crypto_generichash).
//
//   stream  = H(master, "earmark.v1.stream"  ‖ len ‖ stream id ‖ salt)      salt: 16 random bytes, public, new for every stream
//   seal    = H(stream, "earmark.v1.seal")        seals the reference
//   carrier = H(stream, "earmark.v1.carrier")     the carriers' signs
//   code    = H(stream, "earmark.v1.code")        the listeners' trace codes
//
// The master key leaves this function nowhere; the three leaves are independent, so that the detector's reading side can hold `seal`
// without being able to compute anybody's code.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dsp/core/secret.h"

namespace earmark {

// What it takes to read a stream's reference and a clip of it; nobody's code can be computed from them. (dsp/tracing/code_key.h has the third.)
struct ReadingKeys {
  Key seal;
  Key carrier;
};

Key DeriveStreamKey(const Key& master, std::string_view stream_id, const std::array<std::uint8_t, 16>& salt);
ReadingKeys DeriveReadingKeys(const Key& master, std::string_view stream_id, const std::array<std::uint8_t, 16>& salt);

// 32 random bytes of the system's.
Key NewRandomKey();

// H(key, label ‖ 64-bit length ‖ data): the one construction that all derivations use.
Key DeriveKey(const Key& key, std::string_view label, std::string_view data = {});

}  // namespace earmark
