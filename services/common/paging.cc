#include "services/common/paging.h"

#include <span>

#include "dsp/core/hex.h"
#include "dsp/core/sha256.h"

namespace earmark::paging {
namespace {

constexpr std::size_t kDigestDigits = 16;

std::span<const std::uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string DigestOf(const std::string& question) {
  Sha256 hash;
  hash.Add(BytesOf(question));
  return hash.Hex().substr(0, kDigestDigits);
}

}  // namespace

tl::unexpected<Error> Refuse(const std::string& field, const std::string& wanted, const std::string& got) {
  return Fail(ErrorCode::kInvalidArgument, field + ": wanted " + wanted + ", got " + got);
}

Result<int> RowsOf(std::uint32_t page_size) {
  constexpr std::uint32_t kMaxRows = 1000;
  if (page_size > kMaxRows) return Refuse("page_size", "at most " + std::to_string(kMaxRows), std::to_string(page_size));
  return page_size == 0 ? 100 : static_cast<int>(page_size);
}

std::string PageTokenOf(const std::string& place, const std::string& question) {
  return DigestOf(question) + ToHex(BytesOf(place));
}

Result<std::string> PlaceOf(const std::string& token, const std::string& question) {
  if (token.empty()) return std::string();
  const auto place = token.size() > kDigestDigits ? FromHex(std::string_view(token).substr(kDigestDigits)) : std::nullopt;
  if (!place) return Refuse("page_token", "next_page_token of the answer before", "another text");
  if (token.substr(0, kDigestDigits) != DigestOf(question))
    return Refuse("page_token", "that of an answer to the same call and filters", "that of another");
  return std::string(place->begin(), place->end());
}

}  // namespace earmark::paging
