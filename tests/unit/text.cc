#include "db/text.h"

#include <catch2/catch.hpp>

#include "db/store_checks.h"

namespace earmark {
namespace {

TEST_CASE("Text: what cannot be seen is shown, and what is no UTF-8 stays one byte", "[text]") {
  CHECK(Printable("Zoë 名前 🎧") == "Zoë 名前 🎧");
  CHECK(Printable("a\u202E"
                  "b") == "a\\u{202E}b");
  CHECK(Printable("a\u200B"
                  "b\u2028") == "a\\u{200B}b\\u{2028}");
  CHECK(Printable("\x1B[2J\n") == "\\u{1B}[2J\\u{A}");
  CHECK(Printable("a\xFF\xC0\x80z") == "a\uFFFD\uFFFD\uFFFDz");
  CHECK(Printable("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");  // half of a surrogate pair
  CHECK(Printable("0123456789", 4) == "0123...");
  CHECK(PrintedWidth("Zoë") == 3);
  CHECK(PrintedWidth("名前") == 4);
}

TEST_CASE("Text: new names have nothing that cannot be seen, and old ones stay names", "[text]") {
  for (const char* name :
       {"alice", "Zoë Smith", "名前", "🎧", "o'neil", "👩‍💻", "می‌خواهم", "क्‍ष", "❤️"})
    CHECK(CheckNewName("account", name));
  for (const char* name :
       {"a\u202E"
        "b",
        "a\u200B", "\u00A0a", " alice", "alice ",
        "a\u200D"
        "b",
        "\u200D名", "名\u200D", "\u3164", "a\u2800", "\u115F", "\u0301", "a \u0301", "\uE000", "a\uFFFD", "Zoe\u0308"}) {
    INFO(Printable(name));
    CHECK(CheckName("account", name));
    const auto refused = CheckNewName("account", name);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::kInvalidArgument);
  }
  for (const char* name : {"", "a\nb", "a\x7F", "a\u0085", "\xFF"}) CHECK_FALSE(CheckName("account", name));
}

}  // namespace
}  // namespace earmark
