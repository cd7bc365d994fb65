// What every engine refuses before it touches its database, so that all of them refuse the same. kInvalidArgument throughout.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "db/store.h"

namespace earmark {

// An account or stream id: 1 to 255 bytes of UTF-8 without control characters. `field` names it in the message.
Result<void> CheckName(std::string_view field, std::string_view name);
// One that is given for the first time: also in form NFC, and without what cannot be seen or would change how a line around it looks (direction marks, fillers, blanks other
// than plain ones inside it, joiners but between letters that may need them), so that two names that look alike are rare. Names that a store has already stay as they are.
Result<void> CheckNewName(std::string_view field, std::string_view name);
Result<void> CheckStreamId(std::string_view id);

Result<void> CheckNewStream(const StreamRecord& stream);
Result<void> CheckChunk(const ReferenceChunk& chunk);
Result<void> CheckGrants(std::span<const Grant> grants);
Result<void> CheckFinding(const FindingRecord& finding);
Result<void> CheckFilter(const FindingFilter& filter);
Result<void> CheckLeakFilter(const LeakFilter& filter);
Result<void> CheckLease(const Lease& lease);
Result<void> CheckNewScan(const NewScan& scan);

Result<void> CheckTokenId(std::string_view id);
Result<void> CheckNewToken(const TokenRecord& token);
Result<void> CheckTokenFilter(const TokenFilter& filter);
Result<void> CheckAccess(const AccessRecord& access);
Result<void> CheckAccessFilter(const AccessFilter& filter);

}  // namespace earmark
