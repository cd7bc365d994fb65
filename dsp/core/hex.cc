#include "dsp/core/hex.h"

#include <sodium.h>

namespace earmark {

std::string ToHex(std::span<const std::uint8_t> bytes) {
  std::string hex(2 * bytes.size() + 1, '\0');
  sodium_bin2hex(hex.data(), hex.size(), bytes.data(), bytes.size());
  hex.pop_back();
  return hex;
}

std::optional<std::vector<std::uint8_t>> FromHex(std::string_view hex) {
  std::vector<std::uint8_t> bytes(hex.size() / 2);
  std::size_t length = 0;
  const char* end = nullptr;
  const int failed = sodium_hex2bin(bytes.data(), bytes.size(), hex.data(), hex.size(), nullptr, &length, &end);
  if (failed != 0 || end != hex.data() + hex.size() || 2 * length != hex.size()) return std::nullopt;
  return bytes;
}

}  // namespace earmark
