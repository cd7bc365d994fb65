// ChaCha20 as a source of random-looking bytes that a key decides.
#pragma once

#include <cstdint>
#include <span>

#include "dsp/core/secret.h"

namespace earmark {

inline constexpr int kKeystreamBlockBytes = 64;  // ChaCha20's block

// Writes keystream blocks first_block, first_block+1, …; keystream.size() is a multiple of kKeystreamBlockBytes. Thread- and real-time-safe.
void Keystream(const Key& key, std::int64_t first_block, std::span<std::uint8_t> keystream) noexcept;

}  // namespace earmark
