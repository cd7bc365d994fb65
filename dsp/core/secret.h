// Secret bytes that cannot be printed, copied into a log or compared by accident.
#pragma once

#include <sodium.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

namespace earmark {

// Ends the process: a defect that goes on would mark or seal under a key that everybody knows.
[[noreturn]] inline void DieOfUnsetSecret() noexcept {
  std::fputs("earmark: a key is used that was never set\n", stderr);
  std::abort();
}

// A key of N bytes. It wipes itself, has no stream operator and no ==; its bytes are read through `RevealBytes`, a word to grep for.
// All zeros is no key, but one that is still to be filled: it may be copied and compared, and whoever reads it ends the process (DieOfUnsetSecret).
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

  // Whether it holds anything but zeros. What comes from a file or a store is asked before it is used. Its time does not depend on the bytes.
  bool is_set() const noexcept {
    unsigned any = 0;
    for (const std::uint8_t byte : bytes_) any |= byte;
    return any != 0;
  }
  // Only of what is set.
  std::span<const std::uint8_t, N> RevealBytes() const {
    if (!is_set()) DieOfUnsetSecret();
    return std::span<const std::uint8_t, N>(bytes_);
  }
  std::span<std::uint8_t, N> MutableBytes() { return std::span<std::uint8_t, N>(bytes_); }

 private:
  std::array<std::uint8_t, N> bytes_;
};

using Key = Secret<32>;

}  // namespace earmark
