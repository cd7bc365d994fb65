// Tokens and the log of accesses.
#include "db/sql_conditions.h"
#include "db/sql_store.h"
#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {
namespace {

constexpr char kInsertToken[] =
    "INSERT INTO access_tokens (id, name, role, secret_hash, created_unix_us, expires_unix_us)"
    " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
constexpr char kSelectTokens[] =
    "SELECT id, name, role, secret_hash, created_unix_us, expires_unix_us, revoked_unix_us, last_used_unix_us FROM access_tokens";
// The first time counts.
constexpr char kRevokeToken[] = "UPDATE access_tokens SET revoked_unix_us = coalesce(revoked_unix_us, $2) WHERE id = $1";
constexpr char kTouchToken[] = "UPDATE access_tokens SET last_used_unix_us = $2 WHERE id = $1";

constexpr char kInsertAccess[] =
    "INSERT INTO access_log (at_unix_us, token_id, call, subject, reason) VALUES ($1, $2, $3, $4, $5) RETURNING id";
constexpr char kSelectAccess[] = "SELECT id, at_unix_us, token_id, call, subject, reason FROM access_log";

std::optional<std::int64_t> IntegerOrNone(const SqlRow& row, int column) {
  return row.IsNull(column) ? std::nullopt : std::optional(row.Integer(column));
}

TokenRecord ReadToken(const SqlRow& row) {
  return {.id = row.Text(0),
          .name = row.Text(1),
          .role = static_cast<Role>(row.Integer(2)),
          .secret_hash = row.Bytes(3),
          .created_unix_us = row.Integer(4),
          .expires_unix_us = IntegerOrNone(row, 5),
          .revoked_unix_us = IntegerOrNone(row, 6),
          .last_used_unix_us = IntegerOrNone(row, 7)};
}

std::string Quoted(std::string_view token_id) { return "token '" + Printable(token_id) + "'"; }

}  // namespace

Result<TokenRecord> SqlStore::SelectToken(std::string_view id) {
  Result<TokenRecord> token = Fail(ErrorCode::kNotFound, Quoted(id) + ": there is none of this id in the store");
  sql_.Query(std::string(kSelectTokens) + " WHERE id = $1", {id}, [&](const SqlRow& row) { token = ReadToken(row); });
  return token;
}

Result<TokenRecord> SqlStore::CreateToken(const TokenRecord& token) {
  if (auto checked = CheckNewToken(token); !checked) return Pass(checked);
  return sql_.Write("create " + Quoted(token.id), [&]() -> Result<TokenRecord> {
    const SqlValue expires = token.expires_unix_us ? SqlValue(*token.expires_unix_us) : SqlValue(nullptr);
    const std::int64_t num_created =
        sql_.Execute(kInsertToken, {token.id, token.name, static_cast<std::int64_t>(token.role),
                                    std::span<const std::uint8_t>(token.secret_hash), sql_.NowUnixUs(), expires});
    if (num_created == 0) return Fail(ErrorCode::kAlreadyExists, Quoted(token.id) + ": there is one of this id already");
    return SelectToken(token.id);
  });
}

Result<TokenRecord> SqlStore::FindToken(std::string_view id) {
  if (auto checked = CheckTokenId(id); !checked) return Pass(checked);
  return sql_.Read("read " + Quoted(id), [&] { return SelectToken(id); });
}

Result<std::vector<TokenRecord>> SqlStore::ListTokens(const TokenFilter& filter) {
  if (auto checked = CheckTokenFilter(filter); !checked) return Pass(checked);
  return sql_.Read("list the tokens", [&]() -> Result<std::vector<TokenRecord>> {
    Conditions where;
    if (!filter.after_id.empty()) {
      const auto last = SelectToken(filter.after_id);
      if (!last) return Pass(last);
      const std::string created = where.Parameter(last->created_unix_us);
      where.Append("(created_unix_us, id) > (" + created + ", " + where.Parameter(std::string_view(filter.after_id)) + ")");
    }
    const std::string limit = where.Parameter(std::int64_t{filter.limit});
    std::vector<TokenRecord> tokens;
    sql_.Query(kSelectTokens + where.text() + " ORDER BY created_unix_us, id LIMIT " + limit, where.parameters(),
               [&](const SqlRow& row) { tokens.push_back(ReadToken(row)); });
    return tokens;
  });
}

Result<TokenRecord> SqlStore::RevokeToken(std::string_view id) {
  if (auto checked = CheckTokenId(id); !checked) return Pass(checked);
  return sql_.Write("revoke " + Quoted(id), [&]() -> Result<TokenRecord> {
    sql_.Execute(kRevokeToken, {id, sql_.NowUnixUs()});
    return SelectToken(id);
  });
}

Result<void> SqlStore::TouchToken(std::string_view id) {
  if (auto checked = CheckTokenId(id); !checked) return checked;
  return sql_.Write("note the use of " + Quoted(id), [&]() -> Result<void> {
    if (sql_.Execute(kTouchToken, {id, sql_.NowUnixUs()}) != 0) return {};
    return Fail(ErrorCode::kNotFound, Quoted(id) + ": there is none of this id in the store");
  });
}

Result<std::int64_t> SqlStore::LogAccess(const AccessRecord& access) {
  if (auto checked = CheckAccess(access); !checked) return Pass(checked);
  return sql_.Write("log an access", [&]() -> Result<std::int64_t> {
    std::int64_t id = 0;
    sql_.Query(kInsertAccess, {sql_.NowUnixUs(), access.token_id, access.call, access.subject, access.reason},
               [&](const SqlRow& row) { id = row.Integer(0); });
    return id;
  });
}

Result<std::vector<AccessRecord>> SqlStore::ListAccess(const AccessFilter& filter) {
  if (auto checked = CheckAccessFilter(filter); !checked) return Pass(checked);
  Conditions where;
  where.Add("at_unix_us >= ", filter.since_unix_us);
  if (filter.until_unix_us) where.Add("at_unix_us < ", *filter.until_unix_us);
  where.AddIf(filter.token_id, "token_id = ");
  where.AddIf(filter.call, "call = ");
  if (filter.after_id != 0) where.Add("id < ", filter.after_id);
  const std::string limit = where.Parameter(std::int64_t{filter.limit});
  return sql_.Read("list the accesses", [&]() -> Result<std::vector<AccessRecord>> {
    std::vector<AccessRecord> accesses;
    sql_.Query(kSelectAccess + where.text() + " ORDER BY id DESC LIMIT " + limit, where.parameters(), [&](const SqlRow& row) {
      accesses.push_back({.id = row.Integer(0),
                          .at_unix_us = row.Integer(1),
                          .token_id = row.Text(2),
                          .call = row.Text(3),
                          .subject = row.Text(4),
                          .reason = row.Text(5)});
    });
    return accesses;
  });
}

}  // namespace earmark
