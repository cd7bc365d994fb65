// Reading short text files that somebody else chose: lists, tokens, certificates.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "dsp/core/result.h"

namespace earmark {

// All bytes of a regular file or pipe, at most `most_bytes`. A pipe is waited for until its writer closes it; `going`, asked ten times a second meanwhile
// and after each piece, returns false to stop. kNotFound; kPermissionDenied; kInvalidArgument: a folder, device or socket, which may have no end, or longer
// than `most_bytes`; kUnavailable: reading fails; kCancelled. Messages begin with the path. Any thread.
Result<std::string> ReadTextFile(const std::string& path, std::size_t most_bytes, const std::function<bool()>& going = [] { return true; });

// Its lines without their ends and without what is blank at the end of them; empty lines and those that begin with # are left out. kInvalidArgument: one is
// longer than `most_bytes`, and the message says which, counted from 1.
Result<std::vector<std::string>> LinesOf(const std::string& text, std::size_t most_bytes);

}  // namespace earmark
