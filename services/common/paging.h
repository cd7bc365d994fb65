// Lists that come in pages.
#pragma once

#include <cstdint>
#include <string>

#include "dsp/core/result.h"

namespace earmark::paging {

// "FIELD: wanted …, got …", as kInvalidArgument.
tl::unexpected<Error> Refuse(const std::string& field, const std::string& wanted, const std::string& got);

// How many rows a page has: 100 where none are asked for. kInvalidArgument: more than 1000.
Result<int> RowsOf(std::uint32_t page_size);

// What a request asks for but for its page and its reason. For messages with page_size and page_token.
template <typename Request>
Request FiltersOf(Request request) {
  request.clear_page_size();
  request.clear_page_token();
  if constexpr (requires { request.clear_reason(); }) request.clear_reason();
  return request;
}

// The token of the page after `place`, which says where that is; good for requests of the same `question` alone. `place`: any bytes but none.
std::string PageTokenOf(const std::string& place, const std::string& question);
// The place in a token; empty for no token. kInvalidArgument: one that no answer gave, or one to another question.
Result<std::string> PlaceOf(const std::string& token, const std::string& question);

// The call and its filters.
template <typename Request>
std::string QuestionOf(const Request& request) {
  return request.GetTypeName() + '\0' + FiltersOf(request).SerializeAsString();
}
template <typename Request>
std::string NextPage(const Request& request, const std::string& place) {
  return PageTokenOf(place, QuestionOf(request));
}
template <typename Request>
Result<std::string> PlaceOf(const Request& request) {
  return PlaceOf(request.page_token(), QuestionOf(request));
}

}  // namespace earmark::paging
