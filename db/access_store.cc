#include "db/access_store.h"

#include <array>

#include "db/text.h"

namespace earmark {
namespace {

constexpr std::array<Role, 3> kRoles = {Role::kRelay, Role::kInvestigator, Role::kAdmin};
constexpr std::size_t kMaxPrintedBytes = 60;

}  // namespace

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kRelay:
      return "relay";
    case Role::kInvestigator:
      return "investigator";
    case Role::kAdmin:
      return "admin";
  }
  return "unknown";
}

Result<Role> ParseRole(std::string_view text) {
  for (const Role role : kRoles) {
    if (text == RoleName(role)) return role;
  }
  return Fail(ErrorCode::kInvalidArgument,
              "role: wanted relay, investigator or admin, got '" + Printable(text, kMaxPrintedBytes) + "'");
}

}  // namespace earmark
