#include "services/common/copy_name.h"

#include <cstddef>

#include "services/common/digest.h"

namespace earmark {
namespace {

constexpr std::size_t kMaxCharacters = 128;  // file systems that encrypt names allow some 140
constexpr std::size_t kHashDigits = 32;
constexpr std::size_t kKeptOfLong = kMaxCharacters - 1 - kHashDigits;

// Capital letters are not: Alice.opus and alice.opus are one file on some systems.
bool IsSafe(char character) {
  const bool small_or_digit = (character >= 'a' && character <= 'z') || (character >= '0' && character <= '9');
  return small_or_digit || std::string_view("-_.+@").find(character) != std::string_view::npos;
}

// A name that begins so would be hidden, or taken for an option.
bool IsSafeFirst(char character) { return IsSafe(character) && character != '.' && character != '-'; }

std::string Encoded(char character) {
  constexpr char kHex[] = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(character);
  return {'%', kHex[byte >> 4], kHex[byte & 15]};
}

}  // namespace

std::string CopyFileName(std::string_view account) {
  std::string name;
  std::size_t kept = 0;  // as much as stays of a long name, which is not cut within %XX
  for (const char character : account) {
    const bool safe = name.empty() ? IsSafeFirst(character) : IsSafe(character);
    name += safe ? std::string(1, character) : Encoded(character);
    if (name.size() <= kKeptOfLong) kept = name.size();
  }
  if (name.size() <= kMaxCharacters) return name;
  return name.substr(0, kept) + "~" + BytesDigest(account).substr(0, kHashDigits);
}

}  // namespace earmark
