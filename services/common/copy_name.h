// What files with copies are called.
#pragma once

#include <string>
#include <string_view>

namespace earmark {

// A name for the file with this account's copy, without its ending: safe in any shell and file system, and another one for every other account, also
// where case does not count. Small letters, digits and - _ . + @ stay (- and . not at the beginning), every other byte is %XX, like in a URL. What is then
// longer than 128 characters is cut off, and ends in ~ and the first 32 hex digits of the account's SHA-256.
std::string CopyFileName(std::string_view account);

}  // namespace earmark
