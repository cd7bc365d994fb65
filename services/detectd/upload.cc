#include "services/detectd/upload.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <string_view>

#include "dsp/core/hex.h"

namespace earmark::detectd {
namespace {

constexpr std::size_t kMaxNameBytes = 255;  // what file systems allow
constexpr std::size_t kMaxBytes = 128;
constexpr std::size_t kDigestDigits = 2 * crypto_hash_sha256_BYTES;

tl::unexpected<Error> Refuse(const std::string& message) { return Fail(ErrorCode::kInvalidArgument, message); }

Result<void> CheckLength(const std::string& field, const std::string& text, std::size_t max) {
  if (text.size() <= max) return {};
  return Refuse(field + ": wanted at most " + std::to_string(max) + " bytes, got " + std::to_string(text.size()));
}

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// Of all that makes two requests the same one. Each field goes in with its length, so that no two requests run together into one text.
std::string RequestDigest(const v1::SubmitScanHeader& header, const std::string& clip_sha256) {
  double bound = header.max_false_accusation();
  std::string bound_bytes(sizeof bound, '\0');
  std::memcpy(bound_bytes.data(), &bound, sizeof bound);
  crypto_hash_sha256_state state;
  crypto_hash_sha256_init(&state);
  for (const std::string& field : {header.name(), header.stream_id(), header.case_label(), bound_bytes, clip_sha256}) {
    const std::string length = std::to_string(field.size()) + ":";
    crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(length.data()), length.size());
    crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(field.data()), field.size());
  }
  std::array<unsigned char, crypto_hash_sha256_BYTES> hash{};
  crypto_hash_sha256_final(&state, hash.data());
  return ToHex(hash);
}

}  // namespace

Result<void> CheckHeader(const v1::SubmitScanHeader& header, double max_false_accusation) {
  if (header.name().empty()) return Refuse("name: wanted what to call the clip, got none");
  if (auto name = CheckLength("name", header.name(), kMaxNameBytes); !name) return name;
  if (std::any_of(header.name().begin(), header.name().end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return Refuse("name: wanted no control characters, got some");
  if (auto label = CheckLength("case_label", header.case_label(), kMaxBytes); !label) return label;
  if (auto key = CheckLength("idempotency_key", header.idempotency_key(), kMaxNameBytes); !key) return key;
  const std::string& digest = header.sha256();
  if (!digest.empty() && (digest.size() != kDigestDigits ||
                          !std::all_of(digest.begin(), digest.end(), [](unsigned char c) { return std::isxdigit(c); }))) {
    return Refuse("sha256: wanted 64 hex digits, got another text");
  }
  const double bound = header.max_false_accusation();
  if (bound == 0 || (bound > 0 && bound <= max_false_accusation)) return {};
  std::array<char, 128> message{};
  std::snprintf(message.data(), message.size(), "max_false_accusation: wanted above 0 and at most %g, got %g",
                max_false_accusation, bound);
  return Refuse(message.data());
}

Result<ClipFile> ReceiveClip(const v1::SubmitScanHeader& header, const MessageSource& next, std::int64_t max_bytes) {
  auto clip = ClipFile::Create();
  if (!clip) return clip;
  for (v1::SubmitScanRequest message; next(message);) {
    if (message.has_header()) return Refuse("header: wanted one, before the data, got another");
    const std::string& data = message.data();
    if (clip->size_bytes() + static_cast<std::int64_t>(data.size()) > max_bytes) {
      return Fail(ErrorCode::kResourceExhausted,
                  "clip: wanted at most " + std::to_string(max_bytes) + " bytes (scan.max_clip_bytes), got more");
    }
    const auto kept = clip->Append({reinterpret_cast<const std::uint8_t*>(data.data()), data.size()});
    if (!kept) return Pass(kept);
  }
  if (clip->size_bytes() == 0) return Refuse("clip: wanted the bytes of a recording, got none");
  if (!header.sha256().empty() && LowerCase(header.sha256()) != clip->Sha256()) {
    return Refuse("sha256: wanted the digest of the clip, " + clip->Sha256() + ", got " + LowerCase(header.sha256()));
  }
  return clip;
}

NewScan ScanFor(const v1::SubmitScanHeader& header, const ClipFile& clip, const UploadLimits& limits) {
  std::array<unsigned char, 16> random{};
  randombytes_buf(random.data(), random.size());
  NewScan scan;
  scan.id = ToHex(random);
  scan.idempotency_key = header.idempotency_key();
  scan.clip_sha256 = clip.Sha256();
  scan.request_digest = RequestDigest(header, scan.clip_sha256);
  scan.name = header.name();
  if (!header.stream_id().empty()) scan.stream = header.stream_id();
  scan.case_label = header.case_label();
  scan.keep_clip_us = limits.keep_clip_us;
  scan.max_false_accusation = header.max_false_accusation() == 0 ? limits.max_false_accusation : header.max_false_accusation();
  return scan;
}

}  // namespace earmark::detectd
