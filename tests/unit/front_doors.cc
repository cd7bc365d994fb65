#include "services/common/server/front_doors.h"

#include <catch2/catch.hpp>

#include "services/common/server/host_guard.h"
#include "tests/unit/temp_folder.h"

namespace earmark::server {
namespace {

using Catch::Matchers::Contains;

Config With(const std::vector<std::string>& assignments) {
  Config config(CommonConfigKeys());
  for (const std::string& assignment : assignments) REQUIRE(config.SetFromOption(assignment));
  return config;
}

std::string Refusal(const std::vector<std::string>& assignments) {
  const auto doors = ReadFrontDoors(With(assignments));
  REQUIRE_FALSE(doors);
  CHECK(doors.error().code == ErrorCode::kInvalidArgument);
  return doors.error().message;
}

TEST_CASE("Front doors: the defaults are loopback without TLS", "[front_doors]") {
  const auto doors = ReadFrontDoors(With({}));
  REQUIRE(doors);
  CHECK(doors->grpc.ToString() == "127.0.0.1:7420");
  CHECK(doors->http.ToString() == "127.0.0.1:7421");
  CHECK_FALSE(doors->tls);
}

TEST_CASE("Front doors: a certificate takes a key, a key a certificate, and authorities of clients take both", "[front_doors]") {
  CHECK_THAT(Refusal({"tls.cert=c"}), Contains("tls.key: wanted") && Contains("got none"));
  CHECK_THAT(Refusal({"tls.key=k"}), Contains("tls.cert: wanted") && Contains("got none"));
  CHECK_THAT(Refusal({"tls.client_ca=a"}), Contains("tls.client_ca: wanted tls.cert and tls.key"));
  CHECK_THAT(Refusal({"tls.client_ca=a", "tls.key=k"}), Contains("tls.cert: wanted"));
  const auto doors = ReadFrontDoors(With({"tls.cert=c", "tls.key=k", "tls.client_ca=a"}));
  REQUIRE(doors);
  REQUIRE(doors->tls);
  CHECK(doors->tls->cert == "c");
  CHECK(doors->tls->key == "k");
  CHECK(doors->tls->client_ca == "a");
}

TEST_CASE("Front doors: off loopback it takes TLS and tokens", "[front_doors]") {
  for (const std::string key : {"listen.grpc", "listen.http"}) {
    for (const std::string outside : {"0.0.0.0:1", "10.0.0.1:1", "[::]:1"}) {
      const std::string listen = key + "=" + outside;
      CHECK_THAT(Refusal({listen}),
                 Contains(key + ": wanted a loopback") && Contains("tls.cert and tls.key") && Contains("got '" + outside + "'"));
      CHECK_THAT(Refusal({listen, "tls.cert=c", "tls.key=k", "auth.required=false"}),
                 Contains(key) && Contains("auth.required") && Contains("got '" + outside + "'"));
      CHECK(ReadFrontDoors(With({listen, "tls.cert=c", "tls.key=k", "auth.required=true"})));
    }
  }
}

TEST_CASE("Front doors: the files of tls are looked at when the configuration is checked", "[front_doors]") {
  const TempFolder folder;
  CHECK(CheckFrontDoors(With({})));
  const std::string cert = folder.File("cert.pem");
  const auto missing = CheckFrontDoors(With({"tls.cert=" + cert, "tls.key=k"}));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::kNotFound);
  CHECK_THAT(missing.error().message, Contains("tls.cert: wanted a file") && Contains(cert));
  WriteBytes(cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  const auto broken = CheckFrontDoors(With({"tls.cert=" + cert, "tls.key=k"}));
  REQUIRE_FALSE(broken);
  CHECK(broken.error().code == ErrorCode::kInvalidArgument);
  CHECK_THAT(broken.error().message, Contains("tls.cert: wanted certificates in PEM"));
}

TEST_CASE("Front doors: without TLS, Host and Origin are loopback names", "[front_doors]") {
  for (const char* host : {"localhost", "localhost:7421", "127.0.0.1", "[::1]:7421"}) {
    CHECK_FALSE(ForeignHeader(host, std::nullopt, nullptr));
    CHECK_FALSE(ForeignHeader(host, "http://localhost:3000", nullptr));
    for (const char* origin : {"https://evil.example", "http://127.0.0.1.evil.example:7421", "null", ""})
      CHECK(ForeignHeader(host, origin, nullptr) == "Origin");
  }
  for (const char* host : {"", "evil.example", "localhost.evil.example:1", "10.0.0.1", "0.0.0.0", "[::]", "["})
    CHECK(ForeignHeader(host, std::nullopt, nullptr) == "Host");
}

}  // namespace
}  // namespace earmark::server
