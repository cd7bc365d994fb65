#include "services/common/scan/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace earmark {
namespace {

double Rounded(double value, double digits) { return std::round(value * digits) / digits; }

// Seconds of clip, in all, that would do for an accusation, by the reading that brings most: this clip and what it lacks. None where it did, or more would not help.
std::optional<double> SecondsNeeded(const std::vector<HypothesisReading>& readings, const Scores& scores,
                                    double max_false_accusation, double clip_s) {
  constexpr double kReserve = 1.2;
  constexpr double kMaxSeconds = 3600;
  double rate = 0;  // decimal digits of evidence a second
  double known_s = 0;
  for (std::size_t r = 0; r < readings.size(); ++r) {
    if (readings[r].clip_seconds <= 0 || -scores.of[r].expected_log10_p / readings[r].clip_seconds <= rate) continue;
    rate = -scores.of[r].expected_log10_p / readings[r].clip_seconds;
    known_s = readings[r].clip_seconds;
  }
  if (rate <= 0 || scores.trials <= 0) return std::nullopt;
  const double needed = kReserve * (std::log10(static_cast<double>(scores.trials)) - std::log10(max_false_accusation)) / rate;
  if (needed <= known_s || needed >= kMaxSeconds) return std::nullopt;
  return std::ceil((clip_s + needed - known_s) * 10) / 10;
}

// A clip is followed half a minute at a time: what goes on with an alignment that was told becomes part of it.
bool GoesOn(std::vector<StreamAlignment>& told, const StreamAlignment& next) {
  constexpr double kSameS = 0.005;  // in stream time, where one ends and the next begins …
  constexpr double kNearS = 0.25;   // … and in clip time
  for (StreamAlignment& known : told) {
    Alignment& a = known.alignment;
    const Alignment& b = next.alignment;
    if (known.stream != next.stream || known.source != next.source || known.heard_in != next.heard_in ||
        std::abs(b.clip_start_s - a.clip_end_s) > kNearS)
      continue;
    if (std::abs(a.StreamTime(b.clip_start_s) - b.stream_start_s) > kSameS) continue;
    const double stream_end_s = b.stream_end_s();
    a.clip_end_s = b.clip_end_s;
    a.speed = (stream_end_s - a.stream_start_s) / (a.clip_end_s - a.clip_start_s);
    return true;
  }
  return false;
}

}  // namespace

const char* VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAccused:
      return "accused";
    case Verdict::kNoAccusation:
      return "no_accusation";
    case Verdict::kUnknownAudio:
      return "unknown_audio";
  }
  return "unknown_audio";
}

ScanReport MakeReport(const ClipSignals& clip, double clip_s, const Catalog& catalog,
                      const std::vector<HypothesisReading>& readings, Scores scores, double max_false_accusation) {
  ScanReport report;
  for (const DecodedClip::Signal& signal : clip.signals) report.num_tracks = std::max(report.num_tracks, signal.track + 1);
  report.trials = scores.trials;
  // Of each stream in each track, the readings that accuse are shown, or else the sharpest, which came first.
  const auto place_of = [&](std::size_t r) {
    return std::pair(readings[r].stream, clip.signals[readings[r].hypothesis.pieces.front().signal].track);
  };
  std::map<std::pair<std::string, int>, bool> accuses;
  for (std::size_t r = 0; r < readings.size(); ++r) accuses[place_of(r)] = accuses[place_of(r)] || scores.of[r].accuses;
  std::set<std::string> counted;
  std::set<std::pair<std::string, int>> shown;
  for (std::size_t r = 0; r < readings.size(); ++r) {
    const HypothesisReading& reading = readings[r];
    if (counted.insert(reading.stream).second) {
      report.candidates += scores.of[r].candidates;
      report.num_scored += scores.of[r].candidates > 0 ? 1 : 0;
    }
    const bool is_first = shown.insert(place_of(r)).second;
    if (accuses[place_of(r)] ? scores.of[r].accuses : is_first) {
      for (const SourcePiece& piece : CertainPieces(reading.hypothesis)) {
        const StreamAlignment told{.stream = reading.stream,
                                   .source = catalog.At(piece.source).source,
                                   .alignment = piece.alignment,
                                   .heard_in = clip.signals[piece.signal]};
        if (!GoesOn(report.alignments, told)) report.alignments.push_back(told);
      }
      report.symbols_used += scores.of[r].symbols;
    }
  }
  report.accusations = std::move(scores.accusations);
  report.verdict = !report.accusations.empty() ? Verdict::kAccused
                   : report.alignments.empty() ? Verdict::kUnknownAudio
                                               : Verdict::kNoAccusation;
  if (report.verdict == Verdict::kNoAccusation)
    report.seconds_needed = SecondsNeeded(readings, scores, max_false_accusation, clip_s);
  return report;
}

std::string ToJson(const ScanReport& report) {
  using nlohmann::ordered_json;
  ordered_json json;
  json["verdict"] = VerdictName(report.verdict);
  json["accusations"] = ordered_json::array();
  for (const Accusation& a : report.accusations) {
    json["accusations"].push_back({{"account", a.account},
                                   {"stream", a.stream},
                                   {"log10_p", Rounded(a.log10_p, 1e3)},
                                   {"log10_bound", Rounded(a.log10_bound, 1e3)},
                                   {"score", Rounded(a.score, 1e3)},
                                   {"clip_start_s", Rounded(a.clip_start_s, 1e3)},
                                   {"clip_end_s", Rounded(a.clip_end_s, 1e3)}});
  }
  json["alignments"] = ordered_json::array();
  for (const StreamAlignment& a : report.alignments) {
    json["alignments"].push_back({{"stream", a.stream},
                                  {"clip_start_s", Rounded(a.alignment.clip_start_s, 1e3)},
                                  {"clip_end_s", Rounded(a.alignment.clip_end_s, 1e3)},
                                  {"stream_start_s", Rounded(a.alignment.stream_start_s, 1e4)},
                                  {"speed", Rounded(a.alignment.speed, 1e6)}});
    if (a.source != 0) json["alignments"].back()["source"] = a.source;
    if (report.num_tracks > 1) json["alignments"].back()["track"] = a.heard_in.track + 1;
    if (a.heard_in.channel != DecodedClip::Channel::kMean) json["alignments"].back()["channel"] = ChannelName(a.heard_in.channel);
  }
  json["candidates"] = report.candidates;
  json["symbols_used"] = report.symbols_used;
  json["seconds_needed"] = report.seconds_needed ? ordered_json(*report.seconds_needed) : ordered_json(nullptr);
  if (report.trials != report.candidates) json["trials"] = report.trials;
  if (!report.notes.empty()) json["notes"] = report.notes;
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace earmark
