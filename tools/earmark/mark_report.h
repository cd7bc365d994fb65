// What `mark` prints when it is done.
#pragma once

#include "tools/earmark/commands.h"

namespace earmark::cli {

void PrintMarkText(const MarkRequest& request, const MarkOutcome& outcome);
void PrintMarkJson(const MarkRequest& request, const MarkOutcome& outcome);  // one object

}  // namespace earmark::cli
