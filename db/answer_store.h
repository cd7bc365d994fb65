// First answers to requests that change something, so that a request that comes again under its idempotency key changes nothing more.
//
// Thread safety: as Store (store.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dsp/core/result.h"

namespace earmark {

class AnswerStore {
 public:
  virtual ~AnswerStore() = default;

  // The answer kept for this key in this scope (the call's name), if any. kAlreadyExists: it was given to another request.
  virtual Result<std::optional<std::vector<std::uint8_t>>> FindAnswer(std::string_view scope, std::string_view key,
                                                                      std::string_view request_digest) = 0;
  // No effect if there is one already.
  virtual Result<void> KeepAnswer(std::string_view scope, std::string_view key, std::string_view request_digest,
                                  std::span<const std::uint8_t> answer) = 0;
};

}  // namespace earmark
