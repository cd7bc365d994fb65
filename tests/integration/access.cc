// Who may call what: every call of the API, under every role, without a token and with one that is no good, over gRPC and over HTTP.
#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>
#include <httplib.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "services/access/admin_service.h"
#include "services/common/server/daemon.h"
#include "services/common/server/raw_call.h"
#include "services/detectd/detection_service.h"
#include "services/detectd/settings.h"
#include "services/sidecar/relay_handlers.h"
#include "tests/integration/store_temp_folder.h"
#include "tests/support/marked_stream.h"

namespace earmark {
namespace {

using Catch::Matchers::Contains;
using grpc::StatusCode;
using namespace std::chrono_literals;

constexpr std::int64_t kHourUs = std::int64_t{3600} * 1'000'000;

// All services of the API in one process, on a store of their own.
struct TestServices {
  explicit TestServices(const AccessLimits& limits = {}) : access(sidecar->pool(), limits) {
    server::Config config(detectd::DetectdConfigKeys());
    for (const char* setting : {"listen.grpc=127.0.0.1:0", "listen.http=127.0.0.1:0"}) REQUIRE(config.SetFromOption(setting));
    frontend = Get(server::Frontend::Start(config,
                                           {{v1::Relay::service_full_name(), &relay},
                                            {v1::Detection::service_full_name(), &detection},
                                            {v1::Admin::service_full_name(), &admin}},
                                           {{"/v1/scans", v1::Detection::service_full_name(), "SubmitScan"}}, metrics,
                                           server::Guard::kTokens));
    channel = grpc::CreateChannel(frontend->grpc_address().ToString(), grpc::InsecureChannelCredentials());
  }
  ~TestServices() { drain.Raise(); }

  // The text of a token.
  std::string Issue(Role role, std::optional<std::int64_t> expires_unix_us = {}) {
    const NewToken token = MakeToken("test", role, expires_unix_us);
    (void)Get(Store()->CreateToken(token.record));
    return token.text;
  }
  StorePool::Loan Store() { return Get(sidecar->pool().Borrow()); }

  // The status of a call with an empty request, broken off once it has begun to answer.
  grpc::Status Call(const google::protobuf::MethodDescriptor& method, const std::string& authorization) {
    server::RawCall call(channel, "/" + method.service()->full_name() + "/" + method.name(), authorization);
    call.Write("");
    call.WritesDone();
    const auto state = call.Read(10s);
    if (state == server::RawCall::ReadState::kMessage && method.server_streaming()) return grpc::Status::OK;
    return call.Finish();
  }

  int CallOverHttp(const google::protobuf::MethodDescriptor& method, const std::string& authorization) {
    httplib::Client client(frontend->http_address().ToString());
    client.set_read_timeout(10s);
    const httplib::Headers headers =
        authorization.empty() ? httplib::Headers() : httplib::Headers{{"Authorization", authorization}};
    const bool is_upload = method.name() == "SubmitScan";
    const std::string path = is_upload ? "/v1/scans" : "/v1/" + method.service()->name() + "/" + method.name();
    const auto answer = client.Post(path, headers, is_upload ? "bytes" : "{}", "application/json");
    REQUIRE(answer);
    return answer->status;
  }

  TempFolder folder;
  MasterKey master{.key = TestKey(1), .id = KeyId(TestKey(1))};
  std::unique_ptr<Sidecar> sidecar = Get(Sidecar::Start({.store_url = folder.Url(), .name = "test"}, master));
  AccessControl access;
  detectd::DrainSignal drain;
  server::Metrics metrics;
  RelayHandlers relay{*sidecar, access};
  detectd::DetectionService detection{sidecar->pool(), access, drain, {.max_clip_bytes = 1 << 20, .max_false_accusation = 1e-6}};
  access::AdminService admin{sidecar->pool(), access};
  std::unique_ptr<server::Frontend> frontend;
  std::shared_ptr<grpc::Channel> channel;
};

std::vector<const google::protobuf::MethodDescriptor*> AllCalls() {
  std::vector<const google::protobuf::MethodDescriptor*> calls;
  for (const char* service :
       {v1::Relay::service_full_name(), v1::Detection::service_full_name(), v1::Admin::service_full_name()}) {
    const auto* descriptor = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
    REQUIRE(descriptor != nullptr);
    for (int i = 0; i < descriptor->method_count(); ++i) calls.push_back(descriptor->method(i));
  }
  return calls;
}

bool IsLetIn(StatusCode code) {
  return code != StatusCode::UNAUTHENTICATED && code != StatusCode::PERMISSION_DENIED && code != StatusCode::UNIMPLEMENTED;
}

TEST_CASE("Access: every call asks for a token, and takes those of its role and admins' alone", "[access]") {
  TestServices test;
  const std::map<Role, std::string> tokens = {{Role::kRelay, "Bearer " + test.Issue(Role::kRelay)},
                                              {Role::kInvestigator, "Bearer " + test.Issue(Role::kInvestigator)},
                                              {Role::kAdmin, "Bearer " + test.Issue(Role::kAdmin)}};
  const std::map<std::string, Role> roles = {
      {"Relay", Role::kRelay}, {"Detection", Role::kInvestigator}, {"Admin", Role::kAdmin}};
  const auto calls = AllCalls();
  CHECK(calls.size() > 20);
  for (const auto* call : calls) {
    INFO(call->full_name());
    const bool has_http = !call->client_streaming() || call->name() == "SubmitScan";
    CHECK(test.Call(*call, "").error_code() == StatusCode::UNAUTHENTICATED);
    if (has_http) CHECK(test.CallOverHttp(*call, "") == 401);
    for (const auto& [role, token] : tokens) {
      INFO(RoleName(role));
      const bool may = role == Role::kAdmin || role == roles.at(call->service()->name());
      const StatusCode code = test.Call(*call, token).error_code();
      CHECK((may ? IsLetIn(code) : code == StatusCode::PERMISSION_DENIED));
      if (!has_http) continue;
      const int status = test.CallOverHttp(*call, token);
      CHECK((may ? status != 401 && status != 403 && status != 501 : status == 403));
    }
  }
}

TEST_CASE("Access: a token that is no good is refused, and nobody is told why", "[access]") {
  TestServices test;
  const auto* call = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName("earmark.v1.Detection.QueryLeaks");
  const std::string good = test.Issue(Role::kInvestigator);
  const std::int64_t now_us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  const std::string expired = test.Issue(Role::kInvestigator, now_us - kHourUs);
  const std::string revoked = test.Issue(Role::kInvestigator);
  (void)Get(test.Store()->RevokeToken(revoked.substr(8, 16)));
  CHECK(test.Call(*call, "Bearer " + good).ok());
  CHECK(test.Call(*call, "Bearer " + test.Issue(Role::kInvestigator, now_us + kHourUs)).ok());
  std::string other_secret = good;
  other_secret.back() = other_secret.back() == 'A' ? 'E' : 'A';
  const std::string unknown = MakeToken("", Role::kAdmin, {}).text;
  std::string message;
  for (const std::string& bad : {expired, revoked, other_secret, unknown, good.substr(0, 24), good + "A", std::string("x"),
                                 good.substr(8), "earmark_" + std::string(5000, 'a')}) {
    INFO(bad.substr(0, 80));
    const grpc::Status status = test.Call(*call, "Bearer " + bad);
    CHECK(status.error_code() == StatusCode::UNAUTHENTICATED);
    if (message.empty()) message = status.error_message();
    CHECK(status.error_message() == message);
  }
  CHECK_THAT(message, !Contains(good) && !Contains("earmark_"));
  for (const std::string& scheme : {"Basic " + good, good, "Bearer" + good, std::string("Bearer "), std::string("b")})
    CHECK(test.Call(*call, scheme).error_code() == StatusCode::UNAUTHENTICATED);
  CHECK(test.Call(*call, "bearer " + good).ok());
}

TEST_CASE("Access: what no header may hold is refused over HTTP, and the service lives on", "[access]") {
  TestServices test;
  const auto* call = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName("earmark.v1.Detection.QueryLeaks");
  const auto* upload = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName("earmark.v1.Detection.SubmitScan");
  for (const std::string& odd :
       {std::string("Bearer a\tb"), std::string("\xc3\xa9"), std::string("Bearer \xff\x01"), std::string("Bearer \x7f")}) {
    CHECK(test.CallOverHttp(*call, odd) == 401);
    CHECK(test.CallOverHttp(*upload, odd) == 401);
  }
  CHECK(test.CallOverHttp(*call, "Bearer " + test.Issue(Role::kAdmin)) == 200);
}

TEST_CASE("Access: a token that is revoked while it is used is refused a second later", "[access]") {
  TestServices test;
  const auto* call = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName("earmark.v1.Detection.QueryLeaks");
  const std::string token = test.Issue(Role::kInvestigator);
  CHECK(test.Call(*call, "Bearer " + token).ok());
  (void)Get(test.Store()->RevokeToken(token.substr(8, 16)));
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (test.Call(*call, "Bearer " + token).ok() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(50ms);
  CHECK(test.Call(*call, "Bearer " + token).error_code() == StatusCode::UNAUTHENTICATED);
  CHECK(std::chrono::steady_clock::now() < end);
}

TEST_CASE("Access: one token's calls and uploads are bounded, another's are not touched", "[access]") {
  TestServices test({.token_needed = true, .calls_a_minute = 5, .upload_bytes_an_hour = 1000});
  const auto* call = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName("earmark.v1.Detection.QueryLeaks");
  const std::string one = "Bearer " + test.Issue(Role::kInvestigator);
  const std::string two = "Bearer " + test.Issue(Role::kInvestigator);
  for (int i = 0; i < 5; ++i) CHECK(test.Call(*call, one).ok());
  const grpc::Status refused = test.Call(*call, one);
  CHECK(refused.error_code() == StatusCode::RESOURCE_EXHAUSTED);
  CHECK_THAT(refused.error_message(), Contains("auth.calls_a_minute"));
  CHECK(test.Call(*call, two).ok());

  const auto upload = [&](const std::string& token, std::size_t num_bytes) {
    httplib::Client client(test.frontend->http_address().ToString());
    const auto answer =
        client.Post("/v1/scans?name=clip", {{"Authorization", token}}, std::string(num_bytes, 'x'), "application/octet-stream");
    REQUIRE(answer);
    return answer->status;
  };
  CHECK(upload(two, 900) == 200);
  CHECK(upload(two, 900) == 429);
  CHECK(upload(two, 50) == 200);
}

TEST_CASE("Access: admins make, list and revoke tokens, whose secrets are nowhere but in the first answer", "[access]") {
  TestServices test;
  const auto stub = v1::Admin::NewStub(test.channel);
  const std::string admin = "Bearer " + test.Issue(Role::kAdmin);
  const auto with = [&](grpc::ClientContext& context) { context.AddMetadata("authorization", admin); };
  v1::CreateTokenRequest request;
  request.set_name("Kim");
  v1::CreateTokenResponse made;
  {
    grpc::ClientContext context;
    with(context);
    CHECK(stub->CreateToken(&context, request, &made).error_code() == StatusCode::INVALID_ARGUMENT);  // no role
  }
  request.set_role(v1::INVESTIGATOR);
  {
    grpc::ClientContext context;
    with(context);
    REQUIRE(stub->CreateToken(&context, request, &made).ok());
  }
  request.set_idempotency_key("once");
  std::string id;
  for (const bool is_first : {true, false}) {
    grpc::ClientContext context;
    with(context);
    v1::CreateTokenResponse once;
    REQUIRE(stub->CreateToken(&context, request, &once).ok());
    CHECK(once.token().empty() != is_first);
    if (is_first) id = once.record().token_id();
    CHECK(once.record().token_id() == id);
  }
  const auto* leaks = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName("earmark.v1.Detection.QueryLeaks");
  CHECK(test.Call(*leaks, "Bearer " + made.token()).ok());
  CHECK(made.record().token_id() == made.token().substr(8, 16));
  v1::ListTokensResponse all;
  v1::ListTokensRequest list;
  list.set_page_size(1);
  int num_pages = 0;
  do {
    v1::ListTokensResponse page;
    grpc::ClientContext context;
    with(context);
    REQUIRE(stub->ListTokens(&context, list, &page).ok());
    all.MergeFrom(page);
    list.set_page_token(page.next_page_token());
    ++num_pages;
  } while (!list.page_token().empty());
  CHECK(num_pages == 3);
  REQUIRE(all.tokens_size() == 3);
  CHECK(all.tokens(1).name() == "Kim");
  CHECK(all.tokens(1).has_last_used_at());
  CHECK_THAT(all.DebugString(), !Contains(made.token().substr(25)));
  v1::RevokeTokenRequest revoke;
  revoke.set_token_id(made.record().token_id());
  v1::Token revoked;
  grpc::ClientContext context;
  with(context);
  REQUIRE(stub->RevokeToken(&context, revoke, &revoked).ok());
  CHECK(revoked.has_revoked_at());
  std::string file;
  for (const std::string& name : test.folder.Names()) {
    std::ifstream stream(test.folder.File(name), std::ios::binary);
    file.append(std::istreambuf_iterator<char>(stream), {});
  }
  CHECK(file.find("Kim") != std::string::npos);
  CHECK(file.find(made.token().substr(25)) == std::string::npos);
}

TEST_CASE("Access: whoever is shown findings is noted, with what was asked for and why", "[access]") {
  TestServices test;
  const std::string token = test.Issue(Role::kInvestigator);
  httplib::Client client(test.frontend->http_address().ToString());
  const auto post = [&](const char* path, const char* body, const std::string& bearer) {
    const auto answer = client.Post(path, {{"Authorization", "Bearer " + bearer}}, body, "application/json");
    REQUIRE(answer);
    return *answer;
  };
  CHECK(post("/v1/Detection/QueryLeaks", R"({"account":"ann","page_size":5,"reason":"complaint 17"})", token).status == 200);
  CHECK(post("/v1/Detection/ListFindings", "{}", token).status == 200);
  CHECK(post("/v1/Detection/QueryLeaks", "{}", test.Issue(Role::kRelay)).status == 403);
  const httplib::Response log = post("/v1/Admin/ListAccess", R"({"call":"Detection.QueryLeaks"})", test.Issue(Role::kAdmin));
  CHECK(log.status == 200);
  CHECK_THAT(log.body, Contains(token.substr(8, 16)) && Contains("complaint 17") && Contains("ann") && !Contains("page_size") &&
                           !Contains("ListFindings"));
  CHECK(Get(test.Store()->ListAccess({})).size() == 2);
}

TEST_CASE("Access: where no token is needed everybody may call", "[access]") {
  TestServices test({.token_needed = false});
  for (const auto* call : AllCalls()) {
    INFO(call->full_name());
    CHECK(IsLetIn(test.Call(*call, "").error_code()));
    CHECK(IsLetIn(test.Call(*call, "Bearer nonsense").error_code()));
  }
}

}  // namespace
}  // namespace earmark
