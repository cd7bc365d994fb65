#include "db/store_checks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "db/text.h"

namespace earmark {
namespace {

constexpr std::size_t kMaxNameBytes = 255;
constexpr std::size_t kMaxPrintedBytes = 300;
// Far above any chunk or report, far below SQLite's limit of 10^9 bytes a row.
constexpr std::size_t kMaxFieldBytes = std::size_t{256} << 20;
constexpr int kMaxListed = 10000;
constexpr std::size_t kTokenIdDigits = 16;
constexpr std::size_t kMaxLoggedBytes = 1024;
constexpr std::array<std::string_view, 4> kVerdicts = {"accused", "no_accusation", "unknown_audio", "unreadable"};

Result<void> Refuse(std::string message) { return Fail(ErrorCode::kInvalidArgument, std::move(message)); }

Result<void> CheckSize(std::string_view field, std::size_t num_bytes) {
  if (num_bytes <= kMaxFieldBytes) return {};
  return Refuse(std::string(field) + ": wanted at most " + std::to_string(kMaxFieldBytes) + " bytes, got " +
                std::to_string(num_bytes));
}

// Free text: any UTF-8 but NUL, which PostgreSQL could not keep.
Result<void> CheckText(std::string_view field, std::string_view text) {
  if (auto sized = CheckSize(field, text.size()); !sized) return sized;
  while (!text.empty()) {
    const CodePoint first = FirstOf(text);
    if (!first.is_valid || first.value == 0) return Refuse(std::string(field) + ": wanted UTF-8 without NUL, got other bytes");
    text.remove_prefix(first.num_bytes);
  }
  return {};
}

// May be empty; else as a name.
Result<void> CheckLabel(std::string_view label) { return label.empty() ? Result<void>() : CheckName("case label", label); }

Result<void> CheckLimit(std::string_view of_what, int limit) {
  if (limit >= 1 && limit <= kMaxListed) return {};
  return Refuse("limit of " + std::string(of_what) + ": wanted 1 to " + std::to_string(kMaxListed) + ", got " +
                std::to_string(limit));
}

Result<void> CheckVerdict(std::string_view verdict) {
  if (std::find(kVerdicts.begin(), kVerdicts.end(), verdict) != kVerdicts.end()) return {};
  return Refuse("verdict: wanted accused, no_accusation, unknown_audio or unreadable, got '" +
                Printable(verdict, kMaxPrintedBytes) + "'");
}

Result<void> CheckAccusation(const AccusationRecord& accusation) {
  if (auto named = CheckName("account", accusation.account); !named) return named;
  if (auto named = CheckName("stream", accusation.stream); !named) return named;
  if (std::isnan(accusation.log10_p) || std::isnan(accusation.log10_bound)) {
    return Refuse("log10_p and log10_bound of account '" + Printable(accusation.account) + "': wanted numbers, got NaN");
  }
  return {};
}

Result<void> CheckLoggedText(std::string_view field, std::string_view text) {
  if (text.size() > kMaxLoggedBytes) {
    return Refuse(std::string(field) + ": wanted at most " + std::to_string(kMaxLoggedBytes) + " bytes, got " +
                  std::to_string(text.size()));
  }
  return CheckText(field, text);
}

constexpr char32_t kReplacement = 0xFFFD;

// Whether what cannot be seen by itself stands where a script or an emoji may need it: a joiner between two characters, a selector of variants (text or
// picture) behind one.
bool IsNeeded(const CodePoint& unseen, const CodePoint& before, std::string_view rest) {
  const auto may_join = [](const CodePoint& c) { return c.value > 0x7F && (c.is_mark() || !c.is_invisible()); };
  if (unseen.is_variation_selector()) return may_join(before);
  return unseen.is_joiner() && may_join(before) && !rest.empty() && may_join(FirstOf(rest));
}

}  // namespace

Result<void> CheckName(std::string_view field, std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    return Refuse(std::string(field) + ": wanted 1 to " + std::to_string(kMaxNameBytes) + " bytes, got " +
                  std::to_string(name.size()));
  }
  for (std::string_view rest = name; !rest.empty();) {
    const CodePoint first = FirstOf(rest);
    if (!first.is_valid || first.is_control()) {
      return Refuse(std::string(field) + ": wanted UTF-8 without control characters, got '" + Printable(name) + "'");
    }
    rest.remove_prefix(first.num_bytes);
  }
  return {};
}

Result<void> CheckNewName(std::string_view field, std::string_view name) {
  if (auto named = CheckName(field, name); !named) return named;
  const auto refuse = [&](const char* wanted) {
    return Refuse(std::string(field) + ": wanted " + wanted + ", got '" + Printable(name) + "'");
  };
  if (name.front() == ' ' || name.back() == ' ') return refuse("no blank at its beginning or end");
  CodePoint before{.value = ' ', .is_valid = true};
  for (std::string_view rest = name; !rest.empty();) {
    const CodePoint first = FirstOf(rest);
    rest.remove_prefix(first.num_bytes);
    if (first.is_invisible() && !IsNeeded(first, before, rest)) return refuse("a name without invisible characters");
    if (first.is_mark() && before.value == ' ') return refuse("no accent without a letter");
    if (first.value == kReplacement) return refuse("a name that was not damaged before (U+FFFD stands for a lost character)");
    before = first;
  }
  if (!IsComposed(name)) return refuse("composed characters (Unicode's form NFC)");
  return {};
}

Result<void> CheckStreamId(std::string_view id) { return CheckName("stream id", id); }

Result<void> CheckNewStream(const StreamRecord& stream) {
  if (auto named = CheckNewName("stream id", stream.id); !named) return named;
  if (auto format = Validate(stream.format); !format) return Pass(format);
  if (auto text = CheckText("key id", stream.key_id); !text) return text;
  return CheckText("input digest", stream.input_digest);
}

Result<void> CheckChunk(const ReferenceChunk& chunk) {
  if (chunk.source < 0) return Refuse("source of a chunk: wanted 0 or more, got " + std::to_string(chunk.source));
  if (chunk.num_packets <= 0) return Refuse("packets of a chunk: wanted 1 or more, got " + std::to_string(chunk.num_packets));
  if (chunk.num_erased_slots < 0) {
    return Refuse("erased slots of a chunk: wanted 0 or more, got " + std::to_string(chunk.num_erased_slots));
  }
  if (chunk.sealed.empty()) return Refuse("sealed bytes of a chunk: wanted 1 or more, got 0");
  if (auto sized = CheckSize("sealed bytes of a chunk", chunk.sealed.size()); !sized) return sized;
  return CheckSize("fingerprint of a chunk", chunk.fingerprint.size());
}

Result<void> CheckGrants(std::span<const Grant> grants) {
  for (const Grant& grant : grants) {
    if (auto named = CheckNewName("account", grant.account); !named) return named;
    if (grant.from_stream_us >= grant.to_stream_us) {
      return Refuse("grant of account '" + Printable(grant.account) + "': wanted from < to, got from " +
                    std::to_string(grant.from_stream_us) + " to " + std::to_string(grant.to_stream_us) + " us");
    }
  }
  return {};
}

Result<void> CheckFinding(const FindingRecord& finding) {
  if (auto text = CheckText("clip name", finding.clip_name); !text) return text;
  if (auto text = CheckText("clip digest", finding.clip_sha256); !text) return text;
  if (auto text = CheckText("report", finding.report_json); !text) return text;
  if (auto text = CheckLabel(finding.case_label); !text) return text;
  if (auto verdict = CheckVerdict(finding.verdict); !verdict) return verdict;
  if (!(finding.alpha_spent >= 0 && finding.alpha_spent <= 1)) {  // so that NaN is refused
    return Refuse("alpha_spent: wanted 0 to 1, got " + std::to_string(finding.alpha_spent));
  }
  if (finding.num_scored < 0) return Refuse("num_scored: wanted 0 or more, got " + std::to_string(finding.num_scored));
  for (const AccusationRecord& accusation : finding.accusations) {
    if (auto checked = CheckAccusation(accusation); !checked) return checked;
  }
  return {};
}

Result<void> CheckFilter(const FindingFilter& filter) {
  if (auto limit = CheckLimit("findings", filter.limit); !limit) return limit;
  if (filter.account) {
    if (auto named = CheckName("account", *filter.account); !named) return named;
  }
  if (filter.stream) {
    if (auto named = CheckStreamId(*filter.stream); !named) return named;
  }
  if (filter.case_label) {
    if (auto named = CheckLabel(*filter.case_label); !named) return named;
  }
  return filter.verdict ? CheckVerdict(*filter.verdict) : Result<void>();
}

Result<void> CheckLeakFilter(const LeakFilter& filter) {
  FindingFilter same;
  same.account = filter.account;
  same.stream = filter.stream;
  same.case_label = filter.case_label;
  same.limit = 1;
  if (auto limit = CheckLimit("leaks", filter.limit); !limit) return limit;
  return CheckFilter(same);
}

Result<void> CheckLease(const Lease& lease) {
  if (lease.duration_us < 0) return Refuse("duration of a lease: wanted 0 or more us, got " + std::to_string(lease.duration_us));
  return CheckText("owner of a lease", lease.owner);
}

Result<void> CheckNewScan(const NewScan& scan) {
  if (auto named = CheckName("scan id", scan.id); !named) return named;
  if (!scan.idempotency_key.empty()) {
    if (auto named = CheckName("idempotency_key", scan.idempotency_key); !named) return named;
  }
  if (auto text = CheckText("clip name", scan.name); !text) return text;
  if (auto text = CheckLabel(scan.case_label); !text) return text;
  if (scan.stream) {
    if (auto named = CheckStreamId(*scan.stream); !named) return named;
  }
  if (scan.keep_clip_us < 0) return Refuse("keep_clip_us: wanted 0 or more, got " + std::to_string(scan.keep_clip_us));
  if (scan.max_false_accusation > 0 && scan.max_false_accusation < 1) return {};
  return Refuse("max_false_accusation: wanted a probability between 0 and 1, got " + std::to_string(scan.max_false_accusation));
}

Result<void> CheckTokenId(std::string_view id) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (id.size() == kTokenIdDigits && std::all_of(id.begin(), id.end(), is_digit)) return {};
  return Refuse("token id: wanted 16 hex digits in lower case, got '" + Printable(id, kMaxPrintedBytes) + "'");
}

Result<void> CheckNewToken(const TokenRecord& token) {
  if (auto known = CheckTokenId(token.id); !known) return known;
  if (!token.name.empty()) {
    if (auto named = CheckNewName("name of a token", token.name); !named) return named;
  }
  if (token.role < Role::kRelay || token.role > Role::kAdmin) {
    return Refuse("role of a token: wanted relay, investigator or admin, got number " +
                  std::to_string(static_cast<int>(token.role)));
  }
  if (token.secret_hash.size() == kTokenHashBytes) return {};
  return Refuse("hash of a token's secret: wanted " + std::to_string(kTokenHashBytes) + " bytes, got " +
                std::to_string(token.secret_hash.size()));
}

Result<void> CheckTokenFilter(const TokenFilter& filter) {
  if (auto limit = CheckLimit("tokens", filter.limit); !limit) return limit;
  return filter.after_id.empty() ? Result<void>() : CheckTokenId(filter.after_id);
}

Result<void> CheckAccess(const AccessRecord& access) {
  if (!access.token_id.empty()) {
    if (auto known = CheckTokenId(access.token_id); !known) return known;
  }
  if (auto named = CheckName("call", access.call); !named) return named;
  if (auto text = CheckLoggedText("subject of an access", access.subject); !text) return text;
  return CheckLoggedText("reason of an access", access.reason);
}

Result<void> CheckAccessFilter(const AccessFilter& filter) {
  if (auto limit = CheckLimit("accesses", filter.limit); !limit) return limit;
  if (filter.token_id && !filter.token_id->empty()) {
    if (auto known = CheckTokenId(*filter.token_id); !known) return known;
  }
  return filter.call ? CheckName("call", *filter.call) : Result<void>();
}

}  // namespace earmark
