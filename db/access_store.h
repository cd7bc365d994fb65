// Who may call a service, and what they looked at: tokens, and the log of accesses.
//
// Thread safety: as Store (store.h). Times are microseconds since 1970 UTC, by the store's clock unless said otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dsp/core/result.h"

namespace earmark {

// What a token is for. The numbers are the store's.
enum class Role { kRelay = 0, kInvestigator = 1, kAdmin = 2 };

// relay, investigator or admin.
std::string_view RoleName(Role role);
// kInvalidArgument: none of those words, as they are written.
Result<Role> ParseRole(std::string_view text);

inline constexpr std::size_t kTokenHashBytes = 32;

// What the store knows of a token. Its secret is the bearer's alone; the store holds a hash of it.
struct TokenRecord {
  std::string id;    // public; 16 hex digits in lower case, chosen by the caller, unique
  std::string name;  // for people; may be empty, else a name as an account's (store.h), which others may have too
  Role role = Role::kRelay;
  std::vector<std::uint8_t> secret_hash;               // kTokenHashBytes
  std::int64_t created_unix_us = 0;                    // set when it is created
  std::optional<std::int64_t> expires_unix_us = {};    // the first moment at which it is no longer good; none: it does not expire
  std::optional<std::int64_t> revoked_unix_us = {};    // set by RevokeToken
  std::optional<std::int64_t> last_used_unix_us = {};  // set by TouchToken

  bool operator==(const TokenRecord&) const = default;
};

struct TokenFilter {
  std::string after_id = {};  // for paging: those that come after this one, which must be there; empty: from the first
  int limit = 1000;           // 1 to 10000
};

// One call that was answered.
struct AccessRecord {
  std::int64_t id = 0;          // set when it is logged, ascending, never used again
  std::int64_t at_unix_us = 0;  // set when it is logged
  std::string token_id;         // as a token's id; empty: none was needed
  std::string call;             // such as Detection.QueryLeaks; 1 to 255 bytes
  std::string subject = {};     // which scan, finding or account; at most 1024 bytes, may be empty
  std::string reason = {};      // as the caller gave it; at most 1024 bytes, may be empty

  bool operator==(const AccessRecord&) const = default;
};

// Fields that are not set do not filter.
struct AccessFilter {
  std::int64_t since_unix_us = 0;                  // logged at or after
  std::optional<std::int64_t> until_unix_us = {};  // … and before
  std::optional<std::string> token_id = {};        // set and empty: the calls that needed none
  std::optional<std::string> call = {};
  std::int64_t after_id = 0;  // for paging: those before this one in time, so with lower ids; 0: from the newest
  int limit = 1000;           // 1 to 10000
};

class AccessStore {
 public:
  virtual ~AccessStore() = default;

  // ---- tokens; they are never removed
  // The token as it is kept: created now, neither revoked nor used, whatever `token` says of that. It may have expired already. kAlreadyExists: the id is taken, also
  // by a revoked one; kInvalidArgument: a field out of range.
  virtual Result<TokenRecord> CreateToken(const TokenRecord& token) = 0;
  // Also one that has expired or is revoked: whether it is good is the caller's to decide. kNotFound; kInvalidArgument: no such id can be.
  virtual Result<TokenRecord> FindToken(std::string_view id) = 0;
  // By creation, then id. kNotFound: no token `after_id`.
  virtual Result<std::vector<TokenRecord>> ListTokens(const TokenFilter& filter) = 0;
  // The token, revoked now, or since when it was first. Errors as FindToken.
  virtual Result<TokenRecord> RevokeToken(std::string_view id) = 0;
  // Says that it was used now. Each is a write, so how often is the caller's to decide. Errors as FindToken.
  virtual Result<void> TouchToken(std::string_view id) = 0;

  // ---- the log of accesses; what is in it is never changed
  // The id. `token_id` need not be a token of the store. kInvalidArgument: a field out of range; nothing is cut off, so that whoever answers a call
  // knows that it is logged.
  virtual Result<std::int64_t> LogAccess(const AccessRecord& access) = 0;
  // Newest first.
  virtual Result<std::vector<AccessRecord>> ListAccess(const AccessFilter& filter) = 0;
};

}  // namespace earmark
