#include "tools/earmark/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <optional>
#include <regex>
#include <string>

#include "db/text.h"
#include "tools/earmark/terminal.h"

namespace earmark::cli {
namespace {

constexpr std::int64_t kSecondUs = 1'000'000;
constexpr std::int64_t kMaxUnitsBack = 1'000'000;

int Number(const std::string& digits) { return digits.empty() ? 0 : std::stoi(digits); }

// "7d" as microseconds.
std::optional<std::int64_t> Span(const std::string& text) {
  static const std::regex pattern("([0-9]{1,7})([dhms])");
  std::smatch parts;
  if (!std::regex_match(text, parts, pattern)) return std::nullopt;
  const std::int64_t count = Number(parts[1]);
  if (count > kMaxUnitsBack) return std::nullopt;
  switch (parts[2].str()[0]) {
    case 'd':
      return count * 86400 * kSecondUs;
    case 'h':
      return count * 3600 * kSecondUs;
    case 'm':
      return count * 60 * kSecondUs;
    default:
      return count * kSecondUs;
  }
}

// The digits after the point of a second, as microseconds.
std::int64_t Microseconds(std::string digits) {
  digits.resize(6, '0');
  return Number(digits);
}

// RFC 3339, or its date alone.
std::optional<std::int64_t> Moment(const std::string& text) {
  static const std::regex pattern(
      R"((\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d)))?)");
  std::smatch parts;
  if (!std::regex_match(text, parts, pattern)) return std::nullopt;
  std::tm given{};
  given.tm_year = Number(parts[1]) - 1900;
  given.tm_mon = Number(parts[2]) - 1;
  given.tm_mday = Number(parts[3]);
  given.tm_hour = Number(parts[4]);
  given.tm_min = Number(parts[5]);
  given.tm_sec = Number(parts[6]);
  std::tm real = given;
  const std::int64_t seconds = timegm(&real);  // carries a 31st of February over into March
  if (real.tm_mon != given.tm_mon || real.tm_mday != given.tm_mday || real.tm_hour != given.tm_hour ||
      real.tm_min != given.tm_min)
    return std::nullopt;
  if (Number(parts[9]) > 23 || Number(parts[10]) > 59) return std::nullopt;
  const std::int64_t east_s = (Number(parts[9]) * 60 + Number(parts[10])) * 60;
  return (seconds - (parts[8] == "-" ? -east_s : east_s)) * kSecondUs + Microseconds(parts[7]);
}

}  // namespace

std::string Chance(double log10) {
  char text[64];
  std::snprintf(text, sizeof text, "10^%.1f", log10);
  return text;
}

namespace {

// Where it is not the usual: which track, and what of its channels.
std::string HeardInText(const ScanReport& report, const StreamAlignment& a) {
  std::string text;
  if (report.num_tracks > 1) text += ", track " + std::to_string(a.heard_in.track + 1);
  if (a.heard_in.channel == DecodedClip::Channel::kDifference) text += ", difference of its channels";
  if (a.heard_in.channel == DecodedClip::Channel::kLeft || a.heard_in.channel == DecodedClip::Channel::kRight)
    text += std::string(", ") + ChannelName(a.heard_in.channel) + " channel";
  return text;
}

// Of an account whose copy is heard in a part of what was found.
std::string StretchText(const ScanReport& report, const Accusation& accusation) {
  constexpr double kNearS = 1;
  double from_s = accusation.clip_start_s;
  double to_s = accusation.clip_end_s;
  for (const StreamAlignment& a : report.alignments) {
    if (a.stream != accusation.stream) continue;
    from_s = std::min(from_s, a.alignment.clip_start_s);
    to_s = std::max(to_s, a.alignment.clip_end_s);
  }
  if (accusation.clip_start_s - from_s < kNearS && to_s - accusation.clip_end_s < kNearS) return "";
  char text[80];
  std::snprintf(text, sizeof text, ", heard at %.1f-%.1f s", accusation.clip_start_s, accusation.clip_end_s);
  return text;
}

}  // namespace

void PrintReport(const std::string& clip, const ScanReport& report) {
  for (const StreamAlignment& a : report.alignments) {
    std::printf("%s %.2f-%.2f s is stream %s from %.2f s on, speed %.5f%s\n", clip.c_str(), a.alignment.clip_start_s,
                a.alignment.clip_end_s, Printable(a.stream).c_str(), a.alignment.stream_start_s, a.alignment.speed,
                HeardInText(report, a).c_str());
  }
  switch (report.verdict) {
    case Verdict::kUnknownAudio:
      std::printf("%s: no stream in the store has this sound%s\n", Yellow("unknown audio").c_str(),
                  report.notes.empty() ? "" : ", as far as it could be searched");
      return;
    case Verdict::kNoAccusation:
      std::printf("%s: none of the %lld accounts that were there can be named (%lld symbols read)\n",
                  Yellow("no accusation").c_str(), static_cast<long long>(report.candidates),
                  static_cast<long long>(report.symbols_used));
      if (report.seconds_needed) {
        std::printf("about %.0f s of such a recording would do\n", std::ceil(*report.seconds_needed));
      } else {
        std::printf("more of the same recording is not expected to change that\n");
      }
      return;
    case Verdict::kAccused:
      for (const Accusation& a : report.accusations) {
        std::printf("%s %s, stream %s%s: chance for an innocent account %s, for any of %lld %s\n", Red("accused").c_str(),
                    Bold(Printable(a.account)).c_str(), Printable(a.stream).c_str(), StretchText(report, a).c_str(),
                    Chance(a.log10_p).c_str(), static_cast<long long>(report.candidates), Chance(a.log10_bound).c_str());
      }
      return;
  }
}

std::string Utc(std::int64_t unix_us) {
  const auto seconds = static_cast<std::time_t>(unix_us / kSecondUs);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Result<std::int64_t> ParseMoment(const std::string& text, const std::string& option, std::int64_t now_unix_us) {
  if (const auto span = Span(text)) return std::max<std::int64_t>(0, now_unix_us - *span);
  if (const auto moment = Moment(text)) return std::max<std::int64_t>(0, *moment);
  return Fail(ErrorCode::kInvalidArgument,
              option + ": wanted a time such as 2026-05-31, 2026-05-31T18:00:00Z, 7d or 12h, got '" + text + "'");
}

Result<std::int64_t> ParseDeadline(const std::string& text, const std::string& option, std::int64_t now_unix_us) {
  auto moment = Moment(text);
  if (const auto span = Span(text)) moment = now_unix_us + *span;
  if (!moment) {
    return Fail(ErrorCode::kInvalidArgument,
                option + ": wanted a time such as 2026-12-31, 2026-12-31T18:00:00Z, 90d or 12h, got '" + text + "'");
  }
  if (*moment <= now_unix_us)
    return Fail(ErrorCode::kInvalidArgument, option + ": wanted a time in the future, got '" + text + "'");
  return *moment;
}

}  // namespace earmark::cli
