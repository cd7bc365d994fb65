#include "dsp/core/sha256.h"

#include <array>

namespace earmark {

std::string Sha256::Hex() const {
  crypto_hash_sha256_state state = state_;
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256_final(&state, hash.data());
  std::array<char, 2 * crypto_hash_sha256_BYTES + 1> hex{};
  sodium_bin2hex(hex.data(), hex.size(), hash.data(), hash.size());
  return hex.data();
}

}  // namespace earmark
