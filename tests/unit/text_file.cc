#include "services/common/text_file.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/marked_stream.h"
#include "tests/unit/temp_folder.h"

namespace earmark {
namespace {

void CheckFails(const Result<std::string>& result, ErrorCode code, const std::string& words) {
  REQUIRE_FALSE(result);
  CHECK(result.error().code == code);
  CHECK_THAT(result.error().message, Catch::Contains(words));
}

TEST_CASE("TextFile: a file is read up to the limit and no further", "[text_file]") {
  const TempFolder folder;
  const std::string path = folder.File("list");
  std::ofstream(path) << "alice\nbob\n";
  CHECK(Get(ReadTextFile(path, 10)) == "alice\nbob\n");
  CheckFails(ReadTextFile(path, 9), ErrorCode::kInvalidArgument, "is longer than");
}

TEST_CASE("TextFile: what is missing, a folder or a device is refused at once", "[text_file]") {
  const TempFolder folder;
  CheckFails(ReadTextFile(folder.File("none"), 10), ErrorCode::kNotFound, "none: cannot be read");
  CheckFails(ReadTextFile(folder.File(""), 10), ErrorCode::kInvalidArgument, "is a folder");
  for (const char* device : {"/dev/zero", "/dev/urandom", "/dev/null"})
    CheckFails(ReadTextFile(device, 10), ErrorCode::kInvalidArgument, "is a device");
}

TEST_CASE("TextFile: a pipe is waited for, and the wait can be stopped", "[text_file]") {
  const TempFolder folder;
  const std::string path = folder.File("pipe");
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  int calls = 0;
  CheckFails(ReadTextFile(path, 100, [&] { return ++calls < 3; }), ErrorCode::kCancelled, "cancelled");
  std::thread writer([&] { std::ofstream(path) << "alice\n" << std::flush << "bob\n"; });
  const auto text = ReadTextFile(path, 100);
  writer.join();
  CHECK(Get(text) == "alice\nbob\n");
}

TEST_CASE("TextFile: lines come without blanks at their end, comments and empty ones", "[text_file]") {
  const auto lines = LinesOf(
      "\xEF\xBB\xBF"
      "alice \r\n\n# nobody\n  bob\t\nlast");
  REQUIRE(lines.size() == 3);
  CHECK((lines[0].text == "alice" && lines[0].number == 1));
  CHECK((lines[1].text == "  bob" && lines[1].number == 4));
  CHECK((lines[2].text == "last" && lines[2].number == 5));
  CHECK(LinesOf("").empty());
}

}  // namespace
}  // namespace earmark
