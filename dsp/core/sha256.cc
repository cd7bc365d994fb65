#include "dsp/core/sha256.h"

#include <array>

#include "dsp/core/hex.h"

namespace earmark {

std::string Sha256::Hex() const {
  crypto_hash_sha256_state state = state_;
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256_final(&state, hash.data());
  return ToHex(hash);
}

}  // namespace earmark
