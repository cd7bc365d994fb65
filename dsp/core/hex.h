// Bytes as text: two hex digits each, in lower case.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace earmark {

std::string ToHex(std::span<const std::uint8_t> bytes);
// None: not pairs of hex digits throughout.
std::optional<std::vector<std::uint8_t>> FromHex(std::string_view hex);

}  // namespace earmark
