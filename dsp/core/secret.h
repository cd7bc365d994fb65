// Secret bytes that cannot be printed, copied into a log or compared by accident.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sodium.h>

namespace earmark {

// A key of N bytes. It wipes itself, has no stream operator and no ==; its bytes are read through `RevealBytes`, a word to grep for.
template <std::size_t N>
class Secret {
 public:
  Secret() { bytes_.fill(0); }
  explicit Secret(std::span<const std::uint8_t, N> bytes) {
    for (std::size_t i = 0; i < N; ++i) bytes_[i] = bytes[i];
  }
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret() { sodium_memzero(bytes_.data(), N); }

  bool operator==(const Secret&) const = delete;
  bool EqualsInConstantTime(const Secret& other) const { return sodium_memcmp(bytes_.data(), other.bytes_.data(), N) == 0; }

  std::span<const std::uint8_t, N> RevealBytes() const { return std::span<const std::uint8_t, N>(bytes_); }
  std::span<std::uint8_t, N> MutableBytes() { return std::span<std::uint8_t, N>(bytes_); }

 private:
  std::array<std::uint8_t, N> bytes_;
};

using Key = Secret<32>;

}  // namespace earmark
