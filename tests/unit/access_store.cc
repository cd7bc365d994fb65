// Roles and their names.
#include "db/access_store.h"

#include <catch2/catch.hpp>
#include <string>

namespace earmark {

TEST_CASE("AccessStore: a role is read by the name that it has", "[access_store]") {
  for (const Role role : {Role::kRelay, Role::kInvestigator, Role::kAdmin}) {
    const auto parsed = ParseRole(RoleName(role));
    REQUIRE(parsed);
    CHECK(*parsed == role);
  }
  CHECK(RoleName(Role::kRelay) == "relay");
  CHECK(RoleName(Role::kInvestigator) == "investigator");
  CHECK(RoleName(Role::kAdmin) == "admin");
}

TEST_CASE("AccessStore: what is no role's name is refused with those that are, on one line", "[access_store]") {
  for (const std::string& text : {std::string(), std::string("Admin"), std::string("admin "), std::string("root"),
                                  std::string("0"), std::string("a\nb"), std::string("admin\0", 6), std::string(1000, 'x')}) {
    const auto refused = ParseRole(text);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::kInvalidArgument);
    CHECK(refused.error().message.find("relay, investigator or admin") != std::string::npos);
    CHECK(refused.error().message.find('\n') == std::string::npos);
    CHECK(refused.error().message.size() < 200);
  }
}

}  // namespace earmark
