// Reading short text files that somebody else chose: lists, tokens, certificates.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "dsp/core/result.h"

namespace earmark {

// All bytes of a regular file or pipe, at most `max_bytes`. A pipe is waited for until its writer closes it; `going`, asked ten times a second meanwhile
// and after each piece, returns false to stop. kNotFound; kPermissionDenied; kInvalidArgument: a folder, device or socket, which may have no end, or longer
// than `max_bytes`; kUnavailable: reading fails; kCancelled. Messages begin with the path. Any thread.
Result<std::string> ReadTextFile(
    const std::string& path, std::size_t max_bytes, const std::function<bool()>& going = [] { return true; });

struct Line {
  std::size_t number;  // from 1, as editors count
  std::string text;
};

// Its lines without their ends and without what is blank at the end of them; empty lines, those that begin with # and a byte order mark are left out.
std::vector<Line> LinesOf(std::string_view text);

}  // namespace earmark
