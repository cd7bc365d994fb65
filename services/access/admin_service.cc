#include "services/access/admin_service.h"

#include <charconv>
#include <string>
#include <utility>

#include "services/access/serve.h"
#include "services/common/digest.h"
#include "services/common/expiry.h"
#include "services/common/idempotency.h"
#include "services/common/paging.h"
#include "services/common/server/timestamp.h"

namespace earmark::access {
namespace {

using paging::NextPage;
using paging::PlaceOf;
using paging::Refuse;
using paging::RowsOf;
using server::MicrosecondsOf;
using server::TimestampOf;

// None where it is absent.
Result<std::optional<std::int64_t>> TimeOf(const std::string& field, bool is_there, const google::protobuf::Timestamp& time) {
  if (!is_there) return std::optional<std::int64_t>();
  const auto unix_us = MicrosecondsOf(field, time);
  if (!unix_us) return Pass(unix_us);
  return std::optional(*unix_us);
}

Result<Role> RoleOf(v1::Role role) {
  switch (role) {
    case v1::RELAY:
      return Role::kRelay;
    case v1::INVESTIGATOR:
      return Role::kInvestigator;
    case v1::ADMIN:
      return Role::kAdmin;
    default:
      return Refuse("role", "RELAY, INVESTIGATOR or ADMIN", role == v1::ROLE_UNSPECIFIED ? "none" : std::to_string(role));
  }
}

v1::Role MessageOf(Role role) {
  switch (role) {
    case Role::kRelay:
      return v1::RELAY;
    case Role::kInvestigator:
      return v1::INVESTIGATOR;
    case Role::kAdmin:
      return v1::ADMIN;
  }
  return v1::ROLE_UNSPECIFIED;
}

v1::Token MessageOf(const TokenRecord& record) {
  v1::Token token;
  token.set_token_id(record.id);
  token.set_name(record.name);
  token.set_role(MessageOf(record.role));
  *token.mutable_created_at() = TimestampOf(record.created_unix_us);
  if (record.expires_unix_us) *token.mutable_expires_at() = TimestampOf(*record.expires_unix_us);
  if (record.revoked_unix_us) *token.mutable_revoked_at() = TimestampOf(*record.revoked_unix_us);
  if (record.last_used_unix_us) *token.mutable_last_used_at() = TimestampOf(*record.last_used_unix_us);
  return token;
}

// With room for one row more than a page has, which tells whether there is another page.
Result<AccessFilter> FilterOf(const v1::ListAccessRequest& request) {
  const auto rows = RowsOf(request.page_size());
  if (!rows) return Pass(rows);
  AccessFilter filter{.limit = *rows + 1};
  const auto since = TimeOf("since", request.has_since(), request.since());
  if (!since) return Pass(since);
  filter.since_unix_us = since->value_or(0);
  const auto until = TimeOf("until", request.has_until(), request.until());
  if (!until) return Pass(until);
  filter.until_unix_us = *until;
  if (!request.token_id().empty()) filter.token_id = request.token_id();
  if (!request.call().empty()) filter.call = request.call();
  const auto place = PlaceOf(request);
  if (!place) return Pass(place);
  std::from_chars(place->data(), place->data() + place->size(), filter.after_id);
  return filter;
}

v1::Access MessageOf(const AccessRecord& record) {
  v1::Access access;
  *access.mutable_at() = TimestampOf(record.at_unix_us);
  access.set_token_id(record.token_id);
  access.set_call(record.call);
  access.set_subject(record.subject);
  access.set_reason(record.reason);
  return access;
}

}  // namespace

template <typename Response, typename Body>
grpc::Status AdminService::Answer(const grpc::ServerContext& context, std::string_view call, Response& response,
                                  const Body& body) {
  return Serve(access_, context, call, response, [&](const Caller&) -> Result<Response> {
    auto store = stores_.Borrow();
    if (!store) return Pass(store);
    return body(**store);
  });
}

// ---- tokens

grpc::Status AdminService::CreateToken(grpc::ServerContext* context, const v1::CreateTokenRequest* request,
                                       v1::CreateTokenResponse* response) {
  return Answer(*context, "Admin.CreateToken", *response, [&](Store& store) -> Result<v1::CreateTokenResponse> {
    const auto role = RoleOf(request->role());
    if (!role) return Pass(role);
    const auto expires = TimeOf("expires_at", request->has_expires_at(), request->expires_at());
    if (!expires) return Pass(expires);
    const std::optional<std::int64_t> expires_unix_us = *expires;
    if (expires_unix_us && *expires_unix_us <= UnixMicroseconds())
      return Refuse("expires_at", "a time in the future", "one that is over");
    // The answer that is kept for the idempotency key is without the text.
    v1::CreateTokenResponse answer;
    std::string text;
    const auto lock = key_locks_.Lock(request->idempotency_key());
    const auto made = Once(store, "Admin.CreateToken", *request, answer, [&]() -> Result<void> {
      NewToken token = MakeToken(request->name(), *role, expires_unix_us);
      const auto kept = store.CreateToken(token.record);
      if (!kept) return Pass(kept);
      text = std::move(token.text);
      *answer.mutable_record() = MessageOf(*kept);
      return {};
    });
    if (!made) return Pass(made);
    answer.set_token(text);
    return answer;
  });
}

grpc::Status AdminService::RevokeToken(grpc::ServerContext* context, const v1::RevokeTokenRequest* request, v1::Token* response) {
  return Answer(*context, "Admin.RevokeToken", *response, [&](Store& store) -> Result<v1::Token> {
    v1::Token answer;
    const auto lock = key_locks_.Lock(request->idempotency_key());
    const auto done = Once(store, "Admin.RevokeToken", *request, answer, [&]() -> Result<void> {
      const auto revoked = store.RevokeToken(request->token_id());
      if (!revoked) return Pass(revoked);
      answer = MessageOf(*revoked);
      return {};
    });
    if (!done) return Pass(done);
    return answer;
  });
}

grpc::Status AdminService::ListTokens(grpc::ServerContext* context, const v1::ListTokensRequest* request,
                                      v1::ListTokensResponse* response) {
  return Answer(*context, "Admin.ListTokens", *response, [&](Store& store) -> Result<v1::ListTokensResponse> {
    const auto rows = RowsOf(request->page_size());
    if (!rows) return Pass(rows);
    const auto place = PlaceOf(*request);
    if (!place) return Pass(place);
    auto tokens = store.ListTokens({.after_id = *place, .limit = *rows + 1});
    if (!tokens) return Pass(tokens);
    v1::ListTokensResponse page;
    if (tokens->size() > static_cast<std::size_t>(*rows)) {
      tokens->resize(static_cast<std::size_t>(*rows));
      page.set_next_page_token(NextPage(*request, tokens->back().id));
    }
    for (const TokenRecord& token : *tokens) *page.add_tokens() = MessageOf(token);
    return page;
  });
}

// ---- what was looked at, and spent

grpc::Status AdminService::ListAccess(grpc::ServerContext* context, const v1::ListAccessRequest* request,
                                      v1::ListAccessResponse* response) {
  return Answer(*context, "Admin.ListAccess", *response, [&](Store& store) -> Result<v1::ListAccessResponse> {
    const auto filter = FilterOf(*request);
    if (!filter) return Pass(filter);
    auto accesses = store.ListAccess(*filter);
    if (!accesses) return Pass(accesses);
    v1::ListAccessResponse page;
    if (accesses->size() == static_cast<std::size_t>(filter->limit)) {
      accesses->pop_back();
      page.set_next_page_token(NextPage(*request, std::to_string(accesses->back().id)));
    }
    for (const AccessRecord& access : *accesses) *page.add_accesses() = MessageOf(access);
    return page;
  });
}

// ---- what is kept

grpc::Status AdminService::ExpireNow(grpc::ServerContext* context, const v1::ExpireNowRequest* request,
                                     v1::ExpireNowResponse* response) {
  return Answer(*context, "Admin.ExpireNow", *response, [&](Store& store) -> Result<v1::ExpireNowResponse> {
    v1::ExpireNowResponse answer;
    const auto lock = key_locks_.Lock(request->idempotency_key());
    const auto done = Once(store, "Admin.ExpireNow", *request, answer, [&]() -> Result<void> {
      Expired expired;
      if (auto dropped = Expire(store, expired, [&] { return !context->IsCancelled(); }); !dropped) return dropped;
      if (context->IsCancelled()) return Fail(ErrorCode::kCancelled, "the client left");
      answer.set_streams(expired.num_streams);
      answer.set_clips(expired.num_clips);
      return {};
    });
    if (!done) return Pass(done);
    return answer;
  });
}

grpc::Status AdminService::AlphaSpent(grpc::ServerContext* context, const v1::AlphaSpentRequest* request,
                                      v1::AlphaSpentResponse* response) {
  return Answer(*context, "Admin.AlphaSpent", *response, [&](Store& store) -> Result<v1::AlphaSpentResponse> {
    const auto since = TimeOf("since", request->has_since(), request->since());
    if (!since) return Pass(since);
    const auto until = TimeOf("until", request->has_until(), request->until());
    if (!until) return Pass(until);
    const auto spent = store.SumAlphaSpent(since->value_or(0), *until);
    if (!spent) return Pass(spent);
    v1::AlphaSpentResponse answer;
    answer.set_alpha(spent->alpha);
    answer.set_scans(spent->num_scans);
    return answer;
  });
}

}  // namespace earmark::access
