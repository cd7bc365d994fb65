// Requests that change something, carried out once under their idempotency key.
#pragma once

#include <array>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "db/answer_store.h"
#include "dsp/core/result.h"
#include "services/common/digest.h"

namespace earmark {

// Lets one request of a key at a time through, so that one which comes again while the first is still at work waits for its answer. Thread-safe.
class KeyLocks {
 public:
  // Held until the lock goes; none for no key.
  std::unique_lock<std::mutex> Lock(const std::string& key) {
    return key.empty() ? std::unique_lock<std::mutex>()
                       : std::unique_lock(mutexes_[std::hash<std::string>()(key) % mutexes_.size()]);
  }

 private:
  std::array<std::mutex, 64> mutexes_;
};

// Runs `call`, which fills `response` and returns a Result<void>, unless the same request came before under its `idempotency_key`: then `response` is the
// first answer again. Another request under the key is kAlreadyExists. Requests without a key are carried out each time; a call that fails keeps no answer.
template <typename Request, typename Response, typename Call>
Result<void> Once(AnswerStore& answers, const std::string& scope, const Request& request, Response& response, const Call& call) {
  if (request.idempotency_key().empty()) return call();
  const std::string digest = BytesDigest(request.SerializeAsString());
  auto known = answers.FindAnswer(scope, request.idempotency_key(), digest);
  if (!known) return Pass(known);
  if (*known) {
    if (response.ParseFromArray((*known)->data(), static_cast<int>((*known)->size()))) return {};
    return Fail(ErrorCode::kDataLoss, "the answer kept for this idempotency_key cannot be read");
  }
  if (auto done = call(); !done) return done;
  const std::string bytes = response.SerializeAsString();
  return answers.KeepAnswer(scope, request.idempotency_key(), digest, std::vector<std::uint8_t>(bytes.begin(), bytes.end()));
}

}  // namespace earmark
