#include "services/access/access_control.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>
#include <vector>

#include "dsp/core/hex.h"
#include "services/common/digest.h"

namespace earmark {
namespace {

constexpr std::string_view kPrefix = "earmark_";
constexpr std::size_t kIdBytes = 8;
constexpr std::size_t kIdDigits = 2 * kIdBytes;
constexpr std::size_t kSecretBytes = 32;
constexpr std::size_t kMaxNoteBytes = 1024;
constexpr std::size_t kMaxKnown = 10'000;
constexpr std::chrono::minutes kTouchPeriod{1};  // each is a write

std::string Base64(std::span<const unsigned char> bytes) {
  constexpr int kVariant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  std::string text(sodium_base64_ENCODED_LEN(bytes.size(), kVariant), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes.data(), bytes.size(), kVariant);
  text.pop_back();  // its zero
  return text;
}

// Of all of the token's text. It has 256 random bits, so a quick hash is enough.
std::vector<std::uint8_t> HashOf(std::string_view token) {
  std::vector<std::uint8_t> hash(kTokenHashBytes);
  crypto_generichash(hash.data(), hash.size(), reinterpret_cast<const unsigned char*>(token.data()), token.size(), nullptr, 0);
  return hash;
}

// The public part; none where it is no token.
std::optional<std::string> IdOf(std::string_view token) {
  if (!token.starts_with(kPrefix) || token.size() < kPrefix.size() + kIdDigits + 2 || token.size() > 200) return std::nullopt;
  const std::string_view id = token.substr(kPrefix.size(), kIdDigits);
  const bool is_hex = std::all_of(id.begin(), id.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!is_hex || token[kPrefix.size() + kIdDigits] != '_') return std::nullopt;
  return std::string(id);
}

bool IsSame(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

// Who guesses must not learn which part was right.
tl::unexpected<Error> NotGood() {
  return Fail(ErrorCode::kUnauthenticated, "token: wanted one that is known, not expired and not revoked, got another");
}

std::string_view Cut(std::string_view text) {
  if (text.size() <= kMaxNoteBytes) return text;
  std::size_t end = kMaxNoteBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not within a character
  return text.substr(0, end);
}

// Schemes do not tell capitals from small letters (RFC 9110, §11.1).
bool IsScheme(std::string_view text, std::string_view scheme) {
  return std::equal(text.begin(), text.end(), scheme.begin(), scheme.end(),
                    [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
}

}  // namespace

NewToken MakeToken(std::string name, Role role, std::optional<std::int64_t> expires_unix_us) {
  std::array<unsigned char, kIdBytes> id{};
  std::array<unsigned char, kSecretBytes> secret{};
  randombytes_buf(id.data(), id.size());
  randombytes_buf(secret.data(), secret.size());
  NewToken token;
  token.record.id = ToHex(id);
  token.record.name = std::move(name);
  token.record.role = role;
  token.record.expires_unix_us = expires_unix_us;
  token.text = std::string(kPrefix) + token.record.id + "_" + Base64(secret);
  token.record.secret_hash = HashOf(token.text);
  sodium_memzero(secret.data(), secret.size());
  return token;
}

Role RoleFor(std::string_view service) {
  if (service == "Relay") return Role::kRelay;
  return service == "Detection" ? Role::kInvestigator : Role::kAdmin;
}

Result<Caller> AccessControl::Admit(std::string_view authorization, std::string_view call) {
  Caller caller;
  if (limits_.token_needed) {
    constexpr std::string_view kScheme = "Bearer ";
    if (authorization.empty() || IsScheme(authorization, "Bearer") || IsScheme(authorization, kScheme))
      return Fail(ErrorCode::kUnauthenticated, "token: wanted one, as `Authorization: Bearer TOKEN`, got none");
    if (!IsScheme(authorization.substr(0, kScheme.size()), kScheme))
      return Fail(ErrorCode::kUnauthenticated, "token: wanted `Authorization: Bearer TOKEN`, got another scheme");
    const auto token = Find(authorization.substr(kScheme.size()));
    if (!token) return Pass(token);
    caller = {.token_id = token->id, .role = token->role};
    const Role wanted = RoleFor(call.substr(0, call.find('.')));
    if (token->role != Role::kAdmin && token->role != wanted) {
      const std::string roles = std::string(RoleName(wanted)) + (wanted == Role::kAdmin ? "" : " or admin");
      return Fail(ErrorCode::kPermissionDenied, std::string(call) + ": wanted a token of role " + roles + ", got one of role " +
                                                    std::string(RoleName(token->role)));
    }
  }
  const std::lock_guard lock(mutex_);
  const auto calls = static_cast<double>(limits_.calls_a_minute);
  if (calls > 0 && !Take(used_[caller.token_id].calls, 1, calls, calls / 60))
    return Fail(ErrorCode::kResourceExhausted, "calls: wanted at most " + std::to_string(limits_.calls_a_minute) +
                                                   " a minute (auth.calls_a_minute), got more; wait a little");
  return caller;
}

Result<void> AccessControl::TakeBytes(const Caller& caller, std::int64_t num_bytes) {
  const std::lock_guard lock(mutex_);
  const auto bytes = static_cast<double>(limits_.upload_bytes_an_hour);
  if (bytes > 0 && !Take(used_[caller.token_id].bytes, static_cast<double>(num_bytes), bytes, bytes / 3600))
    return Fail(ErrorCode::kResourceExhausted, "uploads: wanted at most " + std::to_string(limits_.upload_bytes_an_hour >> 20) +
                                                   " MB an hour (auth.upload_mb_an_hour), got more; wait a little");
  return {};
}

bool AccessControl::Take(std::optional<Allowance>& allowance, double amount, double size, double a_second) {
  const auto now = Clock::now();
  if (!allowance) allowance = Allowance{.left = size, .filled = now};
  const double since_s = std::chrono::duration<double>(now - allowance->filled).count();
  allowance->left = std::min(size, allowance->left + since_s * a_second);
  allowance->filled = now;
  if (allowance->left < amount) return false;
  allowance->left -= amount;
  return true;
}

Result<TokenRecord> AccessControl::Find(std::string_view token) {
  const auto id = IdOf(token);
  if (!id) return NotGood();
  auto record = Read(*id);
  if (!record && record.error().code == ErrorCode::kNotFound) return NotGood();
  if (!record) return record;
  const bool has_expired = record->expires_unix_us && *record->expires_unix_us <= UnixMicroseconds();
  if (!IsSame(record->secret_hash, HashOf(token)) || has_expired || record->revoked_unix_us) return NotGood();
  if (auto touched = Touch(*id); !touched) return Pass(touched);
  return record;
}

// From memory, where it was read a moment ago.
Result<TokenRecord> AccessControl::Read(const std::string& id) {
  const auto now = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = known_.find(id); known != known_.end() && now - known->second.read < kForgetAfter)
      return known->second.record;
  }
  auto store = stores_.Borrow();
  if (!store) return Pass(store);
  auto record = (*store)->FindToken(id);
  if (!record) return record;
  const std::lock_guard lock(mutex_);
  if (known_.size() >= kMaxKnown) known_.clear();
  Known& known = known_[id];
  known.record = *record;
  known.read = now;
  return record;
}

// Says in the store that it was used, now and then.
Result<void> AccessControl::Touch(const std::string& id) {
  const auto now = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    Known& known = known_[id];
    if (known.touched && now - *known.touched < kTouchPeriod) return {};
    known.touched = now;
  }
  auto store = stores_.Borrow();
  if (!store) return Pass(store);
  return (*store)->TouchToken(id);
}

Result<void> AccessControl::Note(const Caller& caller, std::string_view call, std::string_view subject, std::string_view reason) {
  auto store = stores_.Borrow();
  if (!store) return Pass(store);
  const auto noted = (*store)->LogAccess({.token_id = caller.token_id,
                                          .call = std::string(call),
                                          .subject = std::string(Cut(subject)),
                                          .reason = std::string(Cut(reason))});
  if (!noted) return Pass(noted);
  return {};
}

}  // namespace earmark
