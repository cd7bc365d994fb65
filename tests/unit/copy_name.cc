#include "services/common/copy_name.h"

#include <catch2/catch.hpp>
#include <cctype>
#include <set>
#include <string>

namespace earmark {
namespace {

TEST_CASE("CopyFileName: plain accounts and addresses stay as they are", "[copy_name]") {
  for (const char* account : {"alice", "listener-97", "bob_2", "carol+x@example.org", "a..b"})
    CHECK(CopyFileName(account) == account);
}

TEST_CASE("CopyFileName: what a shell or a file system would take for something else is encoded", "[copy_name]") {
  CHECK(CopyFileName("../etc/passwd") == "%2E.%2Fetc%2Fpasswd");
  CHECK(CopyFileName(".") == "%2E");
  CHECK(CopyFileName("..") == "%2E.");
  CHECK(CopyFileName("-rf") == "%2Drf");
  CHECK(CopyFileName("a b\\c:d*e~%") == "a%20b%5Cc%3Ad%2Ae%7E%25");
  CHECK(CopyFileName("Zoë") == "%5Ao%C3%AB");
}

TEST_CASE("CopyFileName: no two accounts have one name, also where case does not count", "[copy_name]") {
  std::set<std::string> names;
  const std::string long_one(255, 'x');
  const std::string slashes(255, '/');
  const std::string accounts[] = {"alice", "Alice",  "ALICE",        "%41lice", "a/b",         "a%2Fb",
                                  "a%2fb", long_one, long_one + "y", slashes,   slashes + "/", "x~y"};
  for (const std::string& account : accounts) {
    std::string name = CopyFileName(account);
    CHECK(name.size() <= 128);
    for (char& character : name) character = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    CHECK(names.insert(name).second);
  }
}

// The digits are those that `printf %s ACCOUNT | sha256sum` prints.
TEST_CASE("CopyFileName: a long name is cut between characters, and ends in the hash of the account", "[copy_name]") {
  CHECK(CopyFileName(std::string(128, 'x')) == std::string(128, 'x'));
  CHECK(CopyFileName(std::string(129, 'x')) == std::string(95, 'x') + "~0ec9eb33e74510bcdd1f2ea55206e82f");
  std::string cut = "y";
  for (int i = 0; i < 31; ++i) cut += "%2F";
  CHECK(CopyFileName("y" + std::string(200, '/')).substr(0, 95) == cut + "~");
}

}  // namespace
}  // namespace earmark
