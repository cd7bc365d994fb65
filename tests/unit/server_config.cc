#include <catch2/catch.hpp>
#include <cstdlib>

#include "services/common/server/address.h"
#include "services/common/server/config.h"
#include "tests/unit/temp_folder.h"

namespace earmark::server {
namespace {

using Catch::Matchers::Contains;

Config CommonConfig() { return Config(CommonConfigKeys()); }

std::string MessageOf(const Result<void>& failed) {
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == ErrorCode::kInvalidArgument);
  INFO(failed.error().message);
  CHECK(failed.error().message.find('\n') == std::string::npos);
  return failed.error().message;
}

Invocation Invoke(const std::vector<const char*>& arguments) {
  std::vector<const char*> argv = {"earmark-testd"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return ReadInvocation({.name = "earmark-testd", .version = "1.2.3", .purpose = "Tests."}, CommonConfigKeys(),
                        static_cast<int>(argv.size()), argv.data());
}

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;
  ~Variable() { ::unsetenv(name_); }

 private:
  const char* name_;
};

TEST_CASE("Config: a file sets keys, the others keep their defaults", "[server_config]") {
  Config config = CommonConfig();
  REQUIRE(config.SetFromToml("[listen]\ngrpc = \"127.0.0.1:0\"\n[auth]\nrequired = false\n[retention]\ndays = 7\n", "test.toml"));
  CHECK(config.Text("listen", "grpc") == "127.0.0.1:0");
  CHECK(config.Text("listen", "http") == "127.0.0.1:7421");
  CHECK_FALSE(config.Switch("auth", "required"));
  CHECK(config.Integer("retention", "days") == 7);
}

TEST_CASE("Config: an unknown key is refused, with its line and the nearest key", "[server_config]") {
  const std::string message = MessageOf(CommonConfig().SetFromToml("[listen]\n\ngprc = \"127.0.0.1:0\"\n", "test.toml"));
  CHECK_THAT(message, Contains("test.toml line 3") && Contains("listen.gprc") && Contains("nearest is listen.grpc"));
}

TEST_CASE("Config: an unknown section is refused, empty or not", "[server_config]") {
  CHECK_THAT(MessageOf(CommonConfig().SetFromToml("[listne]\ngrpc = \"127.0.0.1:0\"\n", "test.toml")),
             Contains("listne.grpc") && Contains("listen.grpc"));
  CHECK_THAT(MessageOf(CommonConfig().SetFromToml("[listne]\n", "test.toml")), Contains("line 1"));
  CHECK_THAT(MessageOf(CommonConfig().SetFromToml("days = 3\n", "test.toml")), Contains("wanted a section"));
}

TEST_CASE("Config: a value of another type is refused, with what was wanted and got", "[server_config]") {
  CHECK_THAT(MessageOf(CommonConfig().SetFromToml("[retention]\ndays = \"many\"\n", "t")),
             Contains("retention.days: wanted a whole number, got") && Contains("many"));
  CHECK_THAT(MessageOf(CommonConfig().SetFromToml("[auth]\nrequired = \"false\"\n", "t")), Contains("wanted true or false"));
  CHECK_THAT(MessageOf(CommonConfig().SetFromToml("[listen]\ngrpc = 7420\n", "t")), Contains("wanted text, got 7420"));
  CHECK_THAT(MessageOf(CommonConfig().SetFromOption("retention.days=1.5")), Contains("wanted a whole number"));
}

TEST_CASE("Config: broken TOML is told with its line", "[server_config]") {
  CHECK_THAT(MessageOf(CommonConfig().SetFromToml("[listen]\ngrpc = \n", "test.toml")), Contains("test.toml line 2"));
}

TEST_CASE("Config: the environment sets keys and leaves the command line's variables alone", "[server_config]") {
  Config config = CommonConfig();
  const std::vector<std::string> variables = {"EARMARK_RETENTION_DAYS=9",   "EARMARK_TLS_CLIENT_CA=ca.pem",
                                              "EARMARK_STORE=sqlite:x",     "EARMARK_KEY=k",
                                              "EARMARK_SERVER=127.0.0.1:1", "EARMARK_TOKEN=t",
                                              "EARMARK_SOMETHING_ELSE=1",   "HOME=/root"};
  REQUIRE(config.SetFromEnvironment(variables));
  CHECK(config.Integer("retention", "days") == 9);
  CHECK(config.Text("tls", "client_ca") == "ca.pem");
}

TEST_CASE("Config: an unknown variable of a known section is refused", "[server_config]") {
  const std::vector<std::string> variables = {"EARMARK_LISTEN_GPRC=127.0.0.1:0"};
  CHECK_THAT(MessageOf(CommonConfig().SetFromEnvironment(variables)), Contains("EARMARK_LISTEN_GPRC") && Contains("listen.grpc"));
}

TEST_CASE("Config: --set takes text with and without quotes, and refuses what is no assignment", "[server_config]") {
  Config config = CommonConfig();
  REQUIRE(config.SetFromOption("key.file=/tmp/a b=c"));
  CHECK(config.Text("key", "file") == "/tmp/a b=c");
  REQUIRE(config.SetFromOption("key.file=\"quoted\""));
  CHECK(config.Text("key", "file") == "quoted");
  CHECK_THAT(MessageOf(config.SetFromOption("key.file")), Contains("wanted section.key=value"));
  CHECK_THAT(MessageOf(config.SetFromOption("key.flie=x")), Contains("nearest is key.file"));
  CHECK_THAT(MessageOf(config.SetFromOption("retention.days=1\n[auth]")), Contains("wanted a whole number"));
}

TEST_CASE("Config: what is set last wins: file, environment, --set", "[server_config]") {
  const TempFolder folder;
  const std::string file = folder.File("c.toml");
  WriteBytes(file, "[retention]\ndays = 1\n[key]\nfile = \"of the file\"\n[log]\nlevel = \"error\"\n");
  const Variable days("EARMARK_RETENTION_DAYS", "2");
  const Variable key("EARMARK_KEY_FILE", "of the environment");
  const Invocation invocation = Invoke({"--config", file.c_str(), "--set", "retention.days=3"});
  REQUIRE(invocation.config);
  CHECK(invocation.config->Integer("retention", "days") == 3);
  CHECK(invocation.config->Text("key", "file") == "of the environment");
  CHECK(invocation.config->Text("log", "level") == "error");
}

TEST_CASE("Config: mistakes on the command line exit with 2, questions with 0", "[server_config]") {
  for (const std::vector<const char*>& mistake :
       std::vector<std::vector<const char*>>{{"--config", "/nowhere/c.toml"}, {"--frobnicate"}, {"--set", "a.b=c"}}) {
    const Invocation invocation = Invoke(mistake);
    CHECK_FALSE(invocation.config);
    CHECK(invocation.exit_code == 2);
  }
  for (const char* question : {"--version", "--help", "--check-config", "--print-config"}) {
    const Invocation invocation = Invoke({question});
    CHECK_FALSE(invocation.config);
    CHECK(invocation.exit_code == 0);
  }
  CHECK(Invoke({"--check-config", "--set", "log.level=info", "--set", "auth.reqired=false"}).exit_code == 2);
}

TEST_CASE("Config: passwords are not printed", "[server_config]") {
  Config config = CommonConfig();
  REQUIRE(config.SetFromOption("store.url=postgresql://user:hunter2@db/earmark?sslmode=require&password=hunter2"));
  CHECK_THAT(config.ToToml(), !Contains("hunter2") && Contains("postgresql://user:") && Contains("@db/earmark"));
  const std::string message = MessageOf(config.SetFromToml("[store]\nurl = [\"hunter2\"]\n", "t"));
  CHECK_THAT(message, !Contains("hunter2"));
}

TEST_CASE("Config: what is printed can be read again", "[server_config]") {
  Config config = CommonConfig();
  REQUIRE(config.SetFromOption("key.file=with \"quotes\" and \\"));
  REQUIRE(config.SetFromOption("auth.required=false"));
  Config again = CommonConfig();
  REQUIRE(again.SetFromToml(config.ToToml(), "printed"));
  CHECK(again.ToToml() == config.ToToml());
  CHECK(again.Text("key", "file") == "with \"quotes\" and \\");
}

TEST_CASE("Address: numeric hosts and localhost are taken, as the system writes them", "[server_config]") {
  CHECK(ParseAddress("127.0.0.1:7420", "f")->ToString() == "127.0.0.1:7420");
  CHECK(ParseAddress("127.9.8.7:0", "f")->host == "127.9.8.7");
  CHECK(ParseAddress("localhost:1", "f")->host == "127.0.0.1");
  CHECK(ParseAddress("[::1]:65535", "f")->ToString() == "[::1]:65535");
  CHECK(ParseAddress("[0:0::0001]:1", "f")->host == "::1");
  CHECK(ParseAddress("0.0.0.0:1", "f")->ToString() == "0.0.0.0:1");
  CHECK(ParseAddress("[2001:DB8::a]:1", "f")->ToString() == "[2001:db8::a]:1");
  for (const char* wrong : {"example.com:1", ":1", "127.0.0.1.example.com:1", "::1:1", "[127.0.0.1]:1", "[]:1", "[::1:1",
                            "127.1:1", "1.2.3.256:1", "[fe80::1%eth0]:1", " 127.0.0.1:1"}) {
    const auto refused = ParseAddress(wrong, "listen.grpc");
    INFO(wrong);
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().message, Contains("listen.grpc: wanted") && Contains("got '" + std::string(wrong) + "'"));
  }
  for (const char* no_port : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", ""})
    CHECK_FALSE(ParseAddress(no_port, "f"));
}

TEST_CASE("Address: what packets from outside reach is not loopback", "[server_config]") {
  for (const char* inside : {"127.0.0.1:1", "127.255.0.9:1", "localhost:1", "[::1]:1"})
    CHECK(ParseAddress(inside, "f")->IsLoopback());
  for (const char* outside : {"0.0.0.0:1", "10.0.0.1:1", "128.0.0.1:1", "126.255.255.255:1", "[::]:1", "[::2]:1", "[fe80::1]:1",
                              "[::ffff:127.0.0.1]:1"})
    CHECK_FALSE(ParseAddress(outside, "f")->IsLoopback());
}

}  // namespace
}  // namespace earmark::server
