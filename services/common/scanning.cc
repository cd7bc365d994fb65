#include "services/common/scanning.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "dsp/core/resample.h"
#include "dsp/reading/symbol_reader.h"
#include "dsp/reference/variant_decoder.h"
#include "dsp/scoring/score.h"
#include "dsp/search/fingerprint_index.h"

namespace earmark {
namespace {

constexpr double kProbeS = 4;          // of clip that one search looks at
constexpr double kLeastProbeS = 1;     // shorter stretches are not searched
constexpr int kMostProbes = 24;        // that find nothing, before the rest of the clip is given up as unknown
constexpr int kMostMatches = 12;       // of a search, tested by waveform
constexpr int kMostMatchesPerTrack = 3;
constexpr double kLeastStrength = 3;   // of a rough match

// A stream's reference as the detector uses it: opened chunks, the last few kept.
class StreamReference {
 public:
  StreamReference(Store& store, StreamRecord record, StreamKeys keys) : store_(store), record_(std::move(record)), keys_(std::move(keys)) {}

  const StreamRecord& record() const { return record_; }
  const Key& code_key() const { return keys_.code; }

  Result<VariantAudio> Decode(std::int64_t first_packet, std::int64_t end_packet, int num_variants) {
    const auto load = [this](std::int64_t packet) { return LoadChunk(packet); };
    return DecodeVariants(record_.format, keys_.carrier, load, first_packet, end_packet, num_variants);
  }

  StreamAudioLoader AudioLoader() {
    return [this](double start_s, double end_s) -> Result<StreamAudio> {
      const auto first = static_cast<std::int64_t>(std::floor(std::max(0.0, start_s) * kPacketsPerSecond));
      const auto end = std::min(record_.num_packets, static_cast<std::int64_t>(std::ceil(end_s * kPacketsPerSecond)));
      if (end <= first) return StreamAudio{};
      auto audio = Decode(first, end, 1);
      if (!audio) return Pass(audio);
      return StreamAudio{.first_sample = audio->first_sample(), .samples = std::move(audio->variants[0])};
    };
  }

 private:
  Result<ReferenceChunkData> LoadChunk(std::int64_t first_packet) {
    auto chunks = store_.ReadReference(record_.id, 0, first_packet, first_packet + 1);
    if (!chunks) return Pass(chunks);
    if (chunks->empty()) return Fail(ErrorCode::kNotFound, "end of reference");
    return ReferenceChunkData::Open(chunks->front().sealed, keys_.seal,
                                    {.stream_id = record_.id, .source = 0, .first_packet = first_packet});
  }

  Store& store_;
  StreamRecord record_;
  StreamKeys keys_;
};

// Stretches of the clip nobody has explained yet.
class Uncovered {
 public:
  explicit Uncovered(double length_s) : stretches_{{0, length_s}} {}

  void Remove(double start_s, double end_s) {
    std::vector<std::pair<double, double>> rest;
    for (const auto& [a, b] : stretches_) {
      if (end_s <= a || start_s >= b) {
        rest.emplace_back(a, b);
        continue;
      }
      if (start_s > a) rest.emplace_back(a, start_s);
      if (end_s < b) rest.emplace_back(end_s, b);
    }
    stretches_ = std::move(rest);
  }
  const std::vector<std::pair<double, double>>& stretches() const { return stretches_; }

 private:
  std::vector<std::pair<double, double>> stretches_;
};

class Scan {
 public:
  Scan(Store& store, const MasterKey& master, std::span<const float> clip, const ScanOptions& options, const Progress& progress)
      : store_(store), master_(master), clip_(clip), options_(options), progress_(progress), aligner_(clip) {}

  Result<ScanReport> Run() {
    if (auto loaded = LoadStreams(); !loaded) return Pass(loaded);
    if (auto found = FindAlignments(); !found) return Pass(found);
    if (auto read = ReadAndScore(); !read) return Pass(read);
    return std::move(report_);
  }

 private:
  Result<void> Report(const char* stage, double fraction) {
    if (progress_ && !progress_(stage, fraction)) return Fail(ErrorCode::kCancelled, "cancelled");
    return {};
  }

  double ClipSeconds() const { return static_cast<double>(clip_.size()) / kDetectRateHz; }

  Result<void> LoadStreams() {
    if (auto reported = Report("searching", 0); !reported) return reported;
    std::vector<StreamRecord> records;
    if (options_.stream) {
      auto record = store_.GetStream(*options_.stream);
      if (!record) return Pass(record);
      records.push_back(*record);
    } else {
      auto all = store_.ListStreams();
      if (!all) return Pass(all);
      records = std::move(*all);
    }
    int under_other_key = 0;
    std::unordered_map<std::string, int> track_of;
    for (StreamRecord& record : records) {
      auto keys = KeysOf(record, master_);
      if (!keys) {
        ++under_other_key;
        continue;
      }
      track_of[record.id] = static_cast<int>(streams_.size());
      streams_.push_back(std::make_unique<StreamReference>(store_, std::move(record), std::move(*keys)));
    }
    if (under_other_key > 0) {
      report_.notes.push_back(std::to_string(under_other_key) + (under_other_key == 1 ? " stream is" : " streams are") +
                              " sealed under another master key than the one given (" + master_.id + ") and could not be searched");
    }
    std::vector<std::uint64_t> words;
    const auto one = options_.stream ? std::optional<std::string_view>(*options_.stream) : std::nullopt;
    return store_.VisitFingerprints(one, [&](std::string_view stream, int source, std::int64_t first_packet, std::span<const std::uint8_t> bytes) {
      const auto track = track_of.find(std::string(stream));
      if (track == track_of.end() || source != 0) return;
      words = DecodeFingerprint(bytes);
      index_.Add(track->second, first_packet / kPacketsPerFingerprintWord, words);
    });
  }

  // Searches what is not yet explained, a probe at a time, most active first; whatever a probe finds is followed as far as it goes.
  Result<void> FindAlignments() {
    Uncovered uncovered(ClipSeconds());
    std::vector<std::pair<double, double>> tried;
    for (int failed = 0; failed < kMostProbes;) {
      const auto probe = NextProbe(uncovered, tried);
      if (!probe) break;
      tried.push_back(*probe);
      auto found = Probe(probe->first, probe->second, uncovered);
      if (!found) return Pass(found);
      if (!*found) ++failed;
      if (auto reported = Report("searching", std::min(0.9, static_cast<double>(tried.size()) * kProbeS / ClipSeconds())); !reported) return reported;
    }
    return {};
  }

  // The most active stretch of kProbeS (or what there is) in the uncovered parts that was not tried yet.
  std::optional<std::pair<double, double>> NextProbe(const Uncovered& uncovered, const std::vector<std::pair<double, double>>& tried) const {
    std::optional<std::pair<double, double>> best;
    double best_activity = 0;
    for (const auto& [a, b] : uncovered.stretches()) {
      if (b - a < kLeastProbeS) continue;
      const double length = std::min(kProbeS, b - a);
      const int steps = std::max(0, static_cast<int>(std::floor((b - a - length) / (kProbeS / 2))));
      for (int i = 0; i <= steps; ++i) {
        const double start = i == steps ? b - length : a + i * kProbeS / 2;
        const bool overlaps = std::any_of(tried.begin(), tried.end(), [&](const auto& t) {
          return std::min(t.second, start + length) - std::max(t.first, start) > 0.6 * length;
        });
        if (overlaps) continue;
        const double activity = Activity(start, start + length);
        if (activity > best_activity) best_activity = activity, best = std::pair(start, start + length);
      }
    }
    return best;
  }

  // How much there is to see: the sum over 20 ms frames of level above -70 dBFS, in dB, at most 40 each.
  double Activity(double start_s, double end_s) const {
    double sum = 0;
    const auto end = std::min(clip_.size(), static_cast<std::size_t>(end_s * kDetectRateHz));
    for (auto at = static_cast<std::size_t>(start_s * kDetectRateHz); at + kDetectPacketSamples <= end; at += kDetectPacketSamples) {
      double power = 1e-12;
      for (std::size_t i = 0; i < kDetectPacketSamples; ++i) power += static_cast<double>(clip_[at + i]) * clip_[at + i] / kDetectPacketSamples;
      sum += std::clamp(10 * std::log10(power) + 70, 0.0, 40.0);
    }
    return sum;
  }

  // Searches one stretch and follows what it finds, in every stream that has it (two rooms may carry the same sound). True if anything was found.
  Result<bool> Probe(double start_s, double end_s, Uncovered& uncovered) {
    const auto first = static_cast<std::size_t>(start_s * kDetectRateHz);
    const auto count = std::min(clip_.size() - first, static_cast<std::size_t>((end_s - start_s) * kDetectRateHz));
    const ClipFingerprint fingerprint = FingerprintClip(clip_.subspan(first, count), kDetectRateHz);
    std::map<int, Alignment> best;
    for (const auto& match : index_.Search(fingerprint, kMostMatches, kMostMatchesPerTrack)) {
      if (match.strength < kLeastStrength) continue;
      auto verified = aligner_.Verify({.clip_start_s = start_s, .clip_end_s = start_s + static_cast<double>(count) / kDetectRateHz, .stream_start_s = match.stream_s},
                                      streams_[static_cast<std::size_t>(match.track)]->AudioLoader());
      if (!verified) return Pass(verified);
      if (!*verified) continue;
      const auto known = best.find(match.track);
      if (known == best.end() || known->second.strength < (*verified)->strength) best[match.track] = **verified;
    }
    for (const auto& [track, seed] : best) {
      auto pieces = aligner_.Track(seed, 0, ClipSeconds(), streams_[static_cast<std::size_t>(track)]->AudioLoader());
      if (!pieces) return Pass(pieces);
      if (pieces->empty()) pieces->push_back(seed);
      for (const Alignment& piece : *pieces) {
        uncovered.Remove(piece.clip_start_s, piece.clip_end_s);
        AddPiece(track, piece);
      }
    }
    return !best.empty();
  }

  // Keeps pieces of one stream from covering the same part of the clip twice (a later probe may track back over known ground).
  void AddPiece(int track, Alignment piece) {
    auto& pieces = pieces_[track];
    for (const Alignment& known : pieces) {
      const double overlap = std::min(known.clip_end_s, piece.clip_end_s) - std::max(known.clip_start_s, piece.clip_start_s);
      if (overlap > 0.5 * (piece.clip_end_s - piece.clip_start_s)) return;
    }
    pieces.push_back(piece);
  }

  Result<void> ReadAndScore() {
    struct Scored {
      std::vector<Grant> grants;
      std::vector<std::int32_t> scores;
      ScoreTable table;
      double seconds = 0;
    };
    std::map<int, Scored> scored;
    double done = 0;
    for (auto& [track, pieces] : pieces_) {
      StreamReference& reference = *streams_[static_cast<std::size_t>(track)];
      std::sort(pieces.begin(), pieces.end(), [](const Alignment& a, const Alignment& b) { return a.clip_start_s < b.clip_start_s; });
      for (const Alignment& piece : pieces) report_.alignments.push_back({.stream = reference.record().id, .alignment = piece});
      if (auto reported = Report("reading", done++ / static_cast<double>(pieces_.size())); !reported) return reported;
      auto likelihoods = ReadSymbols(reference.record().format, clip_, pieces, [&](std::int64_t first, std::int64_t end) {
        return reference.Decode(first, end, reference.record().format.num_variants);
      });
      if (!likelihoods) return Pass(likelihoods);
      Scored entry;
      entry.table = MakeScoreTable(*likelihoods);
      double from_s = std::numeric_limits<double>::max();
      double to_s = 0;
      for (const Alignment& piece : pieces) {
        from_s = std::min(from_s, piece.stream_start_s);
        to_s = std::max(to_s, piece.stream_end_s());
        entry.seconds += piece.clip_end_s - piece.clip_start_s;
      }
      auto grants = store_.ListGrants(reference.record().id, static_cast<std::int64_t>(std::max(0.0, from_s) * 1e6), static_cast<std::int64_t>(to_s * 1e6) + 1);
      if (!grants) return Pass(grants);
      entry.grants = std::move(*grants);
      report_.symbols_used += static_cast<std::int64_t>(entry.table.symbols.size());
      scored.emplace(track, std::move(entry));
    }
    if (auto reported = Report("scoring", 0); !reported) return reported;
    // From here on codes are in play, and nothing above may change any more.
    for (auto& [track, entry] : scored) {
      std::vector<std::string> accounts;
      for (const Grant& grant : entry.grants) accounts.push_back(grant.account);
      accounts.erase(std::unique(accounts.begin(), accounts.end()), accounts.end());
      entry.scores = ScoreAccounts(entry.table, streams_[static_cast<std::size_t>(track)]->code_key(), accounts);
      report_.candidates += static_cast<std::int64_t>(accounts.size());
      entry.grants.clear();
      for (std::string& account : accounts) entry.grants.push_back({.account = std::move(account)});
    }
    const double log10_trials = std::log10(static_cast<double>(std::max<std::int64_t>(1, report_.candidates)));
    const double log10_limit = std::log10(options_.max_false_accusation);
    double rate = 0;  // decimal digits of evidence a second
    double known_s = 0;
    for (const auto& [track, entry] : scored) {
      const ScoreDistribution distribution(entry.table);
      for (std::size_t i = 0; i < entry.scores.size(); ++i) {
        const double log10_p = distribution.Log10Tail(entry.scores[i]);
        if (log10_p + log10_trials > log10_limit) continue;
        report_.accusations.push_back({.account = entry.grants[i].account,
                                       .stream = streams_[static_cast<std::size_t>(track)]->record().id,
                                       .log10_p = log10_p,
                                       .log10_bound = std::min(0.0, log10_p + log10_trials),
                                       .score = entry.table.step * entry.scores[i],
                                       .clip_start_s = pieces_[track].front().clip_start_s,
                                       .clip_end_s = pieces_[track].back().clip_end_s});
      }
      const double expected = distribution.Log10Tail(std::llround(ExpectedLeakerScore(entry.table)));
      if (entry.seconds > 0 && -expected / entry.seconds > rate) rate = -expected / entry.seconds, known_s = entry.seconds;
    }
    std::sort(report_.accusations.begin(), report_.accusations.end(), [](const Accusation& a, const Accusation& b) { return a.log10_p < b.log10_p; });
    report_.verdict = !report_.accusations.empty() ? Verdict::kAccused : report_.alignments.empty() ? Verdict::kUnknownAudio : Verdict::kNoAccusation;
    if (report_.verdict == Verdict::kNoAccusation && rate > 0) {
      const double needed = std::ceil((log10_trials - log10_limit) / rate * 1.2 * 10) / 10;
      if (needed > known_s && needed < 3600) report_.seconds_needed = needed;
    }
    return {};
  }

  Store& store_;
  const MasterKey& master_;
  std::span<const float> clip_;
  const ScanOptions& options_;
  const Progress& progress_;
  Aligner aligner_;
  std::vector<std::unique_ptr<StreamReference>> streams_;  // by track
  FingerprintIndex index_;
  std::map<int, std::vector<Alignment>> pieces_;  // by track
  ScanReport report_;
};

double Rounded(double value, double digits) { return std::round(value * digits) / digits; }

}  // namespace

const char* VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAccused: return "accused";
    case Verdict::kNoAccusation: return "no_accusation";
    case Verdict::kUnknownAudio: return "unknown_audio";
  }
  return "unknown_audio";
}

Result<ScanReport> ScanClip(Store& store, const MasterKey& master, std::span<const float> clip, const ScanOptions& options,
                            const Progress& progress) {
  if (!(options.max_false_accusation > 0 && options.max_false_accusation < 1)) {
    return Fail(ErrorCode::kInvalidArgument, "max false accusation: wanted a probability between 0 and 1, got " + std::to_string(options.max_false_accusation));
  }
  return Scan(store, master, clip, options, progress).Run();
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
  }
  json["candidates"] = report.candidates;
  json["symbols_used"] = report.symbols_used;
  json["seconds_needed"] = report.seconds_needed ? ordered_json(*report.seconds_needed) : ordered_json(nullptr);
  if (!report.notes.empty()) json["notes"] = report.notes;
  return json.dump();
}

}  // namespace earmark
