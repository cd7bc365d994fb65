// SHA-256 of bytes that come in pieces.
#pragma once

#include <sodium.h>

#include <cstdint>
#include <span>
#include <string>

namespace earmark {

// Copies go on from where the original is. For one thread; real-time safe but for Hex.
class Sha256 {
 public:
  Sha256() noexcept { crypto_hash_sha256_init(&state_); }
  void Add(std::span<const std::uint8_t> bytes) noexcept { crypto_hash_sha256_update(&state_, bytes.data(), bytes.size()); }
  // Of all that was added so far, as 64 hex digits.
  std::string Hex() const;

 private:
  crypto_hash_sha256_state state_;
};

}  // namespace earmark
