// Who may call what: tokens, roles, and how much a caller may ask for.
//
// A token is text that its bearer keeps secret: earmark_ID_SECRET, where ID (16 hex digits) is public and SECRET is 32 random bytes, in base64 for URLs.
// The store keeps a hash of it. Whoever has no token that is good is told so, and not why it is not.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "db/store_pool.h"
#include "dsp/core/result.h"

namespace earmark {

// ---- tokens

struct NewToken {
  TokenRecord record;  // to be created in a store
  std::string text;    // what its bearer shows; nowhere else
};
// Of random bytes. `expires_unix_us`: none for one that does not expire.
NewToken MakeToken(std::string name, Role role, std::optional<std::int64_t> expires_unix_us);

// ---- calls

// Which role a service of the API is for, by its name within the package ("Relay", "Detection"); admins may call all. "Admin" and unknown ones: admins alone.
Role RoleFor(std::string_view service);

struct Caller {
  std::string token_id;  // empty: no token was needed
  Role role = Role::kAdmin;
};

struct AccessLimits {
  bool token_needed = true;  // else everybody may do everything: for loopback alone
  // Of one token, or of all who need none, over any minute or hour, with as much again at once; 0: no limit.
  std::int64_t calls_a_minute = 0;
  std::int64_t upload_bytes_an_hour = 0;
};

// Thread-safe. A token that was revoked is refused within kForgetAfter.
class AccessControl {
 public:
  static constexpr std::chrono::milliseconds kForgetAfter{1000};

  // `stores` must outlive it.
  AccessControl(StorePool& stores, const AccessLimits& limits) : stores_(stores), limits_(limits) {}

  // `authorization`: the header, "Bearer TOKEN", or empty. `call`: Service.Method. kUnauthenticated: no token, or none that is good;
  // kPermissionDenied: its role may not call this; kResourceExhausted: too many calls; kUnavailable and the like: the store cannot be asked.
  Result<Caller> Admit(std::string_view authorization, std::string_view call);
  // Counts bytes that are about to be taken from the caller. kResourceExhausted: too many.
  Result<void> TakeBytes(const Caller& caller, std::int64_t num_bytes);
  // Notes who looked at what, before it is shown. `subject` and `reason` are cut to what the log holds. Errors of the store: then it is not to be shown.
  Result<void> Note(const Caller& caller, std::string_view call, std::string_view subject, std::string_view reason);

 private:
  using Clock = std::chrono::steady_clock;
  struct Known {
    TokenRecord record;
    Clock::time_point read;
    std::optional<Clock::time_point> touched = {};
  };
  // A bucket that fills by so much a second.
  struct Allowance {
    double left = 0;
    Clock::time_point filled;
  };
  struct Use {
    std::optional<Allowance> calls;
    std::optional<Allowance> bytes;
  };

  Result<TokenRecord> Find(std::string_view token);
  Result<TokenRecord> Read(const std::string& id);
  Result<void> Touch(const std::string& id);
  static bool Take(std::optional<Allowance>& allowance, double amount, double size, double a_second);

  StorePool& stores_;
  const AccessLimits limits_;
  std::mutex mutex_;
  std::map<std::string, Known> known_;  // [id]
  std::map<std::string, Use> used_;     // [token id]
};

}  // namespace earmark
