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
constexpr int kMostProbes = 12;        // that find nothing, before the rest of the clip is given up as unknown
constexpr int kMostMatches = 12;       // of a search, tested by waveform
constexpr int kMostMatchesPerTrack = 4;
constexpr double kLeastStrength = 4.5;       // of a rough match that is tested at all: wrong places of any clip reach 4, right ones 5 even under another voice
constexpr double kLeastSpeedStrength = 6.5;  // … and at other speeds, which costs ten times as much; 1 % of speed leaves right places at 17
constexpr double kUsualSpeedChange = 0.001;  // tried for all matches: clock drift
constexpr double kMostSpeedChange = 0.01;    // tried for the strongest few, where nothing else was found
constexpr int kMostSpeedMatches = 3;
constexpr double kStandsAlone = 11;          // a verified stretch this strong counts even where no single block of it is seen
constexpr double kLeastShareOfBest = 0.75;   // weaker alignments of the same stretch are chance

// A stream's reference as the detector uses it: read and opened chunk by chunk.
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
    auto matches = index_.Search(fingerprint, kMostMatches, kMostMatchesPerTrack);
    std::erase_if(matches, [](const auto& match) { return match.strength < kLeastStrength; });
    const double clip_end_s = start_s + static_cast<double>(count) / kDetectRateHz;
    auto verified = Verify(matches, start_s, clip_end_s, kUsualSpeedChange);
    if (verified && verified->empty()) {
      std::erase_if(matches, [](const auto& match) { return match.strength < kLeastSpeedStrength; });
      matches.resize(std::min<std::size_t>(matches.size(), kMostSpeedMatches));
      verified = Verify(matches, start_s, clip_end_s, kMostSpeedChange);
    }
    if (!verified) return Pass(verified);
    bool found = false;
    for (const auto& [track, seed] : *verified) {
      auto pieces = aligner_.Track(seed, 0, ClipSeconds(), streams_[static_cast<std::size_t>(track)]->AudioLoader());
      if (!pieces && pieces.error().code == ErrorCode::kDataLoss) {
        SetAside(track, pieces.error());  // only in part, perhaps: what was verified is still read
        pieces = std::vector<Alignment>{seed};
      }
      if (!pieces) return Pass(pieces);
      if (pieces->empty() && seed.strength < kStandsAlone) continue;
      if (pieces->empty()) pieces->push_back(seed);
      found = true;
      for (const Alignment& piece : *pieces) uncovered.Remove(piece.clip_start_s, piece.clip_end_s);
      AddPieces(track, *pieces, start_s, clip_end_s);
    }
    return found;
  }

  struct Verified {
    int track = 0;
    Alignment alignment;
  };
  // Those matches that stand up to a comparison of waveforms, and are not far weaker than the best one; sharpest first.
  Result<std::vector<Verified>> Verify(const std::vector<FingerprintIndex::Match>& matches, double start_s, double end_s, double most_speed_change) {
    std::vector<Verified> verified;
    double most = 0;
    for (const auto& match : matches) {
      if (set_aside_[match.track]) continue;
      auto alignment = aligner_.Verify({.clip_start_s = start_s, .clip_end_s = end_s, .stream_start_s = match.stream_s}, most_speed_change,
                                       streams_[static_cast<std::size_t>(match.track)]->AudioLoader());
      if (!alignment && alignment.error().code == ErrorCode::kDataLoss) {
        SetAside(match.track, alignment.error());
        continue;
      }
      if (!alignment) return Pass(alignment);
      if (!*alignment) continue;
      const bool known = std::any_of(verified.begin(), verified.end(), [&](const Verified& v) {
        return v.track == match.track && std::abs(v.alignment.stream_start_s - (*alignment)->stream_start_s) < 0.05;
      });
      if (!known) verified.push_back({.track = match.track, .alignment = **alignment});
      most = std::max(most, (*alignment)->strength);
    }
    std::erase_if(verified, [&](const Verified& v) { return v.alignment.strength < kLeastShareOfBest * most; });
    std::sort(verified.begin(), verified.end(), [](const Verified& a, const Verified& b) { return a.alignment.sharpness > b.alignment.sharpness; });
    return verified;
  }

  // A stream whose reference is damaged is left out and said so; the others are still searched.
  void SetAside(int track, const Error& error) {
    if (set_aside_[track]) return;
    set_aside_[track] = true;
    report_.notes.push_back("left out: " + error.message);
  }

  // One way in which the clip could be part of a stream. There are several where a stream repeats the very same sound: each is read and scored by
  // itself, and the bound counts them all.
  struct Hypothesis {
    int track = 0;
    std::vector<Alignment> pieces;
  };

  // Pieces that overlap in clip time with what a hypothesis of the same stream has at the probe are another hypothesis; others go on with those there are.
  void AddPieces(int track, const std::vector<Alignment>& pieces, double probe_start_s, double probe_end_s) {
    const auto covers = [](const std::vector<Alignment>& known, double start_s, double end_s) {
      return std::any_of(known.begin(), known.end(), [&](const Alignment& k) {
        return std::min(k.clip_end_s, end_s) - std::max(k.clip_start_s, start_s) > 0.5 * (end_s - start_s);
      });
    };
    bool joined = false;
    bool rival = false;
    for (Hypothesis& hypothesis : hypotheses_) {
      if (hypothesis.track != track) continue;
      if (covers(hypothesis.pieces, probe_start_s, probe_end_s)) {
        rival = true;
        continue;
      }
      joined = true;
      const std::vector<Alignment> before = hypothesis.pieces;
      for (const Alignment& piece : pieces) {
        if (!covers(before, piece.clip_start_s, piece.clip_end_s)) hypothesis.pieces.push_back(piece);
      }
    }
    const auto of_track = std::count_if(hypotheses_.begin(), hypotheses_.end(), [&](const Hypothesis& h) { return h.track == track; });
    if ((rival || !joined) && of_track < kMostMatchesPerTrack) hypotheses_.push_back({.track = track, .pieces = pieces});
  }

  // What reading a hypothesis gave.
  struct Reading {
    ScoreTable table;
    double from_stream_s = 0;
    double to_stream_s = 0;
    double clip_seconds = 0;
  };

  Result<Reading> Read(Hypothesis& hypothesis) {
    StreamReference& reference = *streams_[static_cast<std::size_t>(hypothesis.track)];
    auto& pieces = hypothesis.pieces;
    std::sort(pieces.begin(), pieces.end(), [](const Alignment& a, const Alignment& b) { return a.clip_start_s < b.clip_start_s; });
    auto likelihoods = ReadSymbols(reference.record().format, clip_, pieces, [&](std::int64_t first, std::int64_t end) {
      return reference.Decode(first, end, reference.record().format.num_variants);
    });
    if (!likelihoods) return Pass(likelihoods);
    Reading reading{.table = MakeScoreTable(*likelihoods), .from_stream_s = pieces.front().stream_start_s, .to_stream_s = 0, .clip_seconds = 0};
    for (const Alignment& piece : pieces) {
      reading.from_stream_s = std::min(reading.from_stream_s, piece.stream_start_s);
      reading.to_stream_s = std::max(reading.to_stream_s, piece.stream_end_s());
      reading.clip_seconds += piece.clip_end_s - piece.clip_start_s;
    }
    return reading;
  }

  // Accounts with a grant at some time of the stretch.
  Result<std::vector<std::string>> Candidates(int track, const Reading& reading) {
    auto grants = store_.ListGrants(streams_[static_cast<std::size_t>(track)]->record().id,
                                    static_cast<std::int64_t>(std::max(0.0, reading.from_stream_s) * 1e6),
                                    static_cast<std::int64_t>(reading.to_stream_s * 1e6) + 1);
    if (!grants) return Pass(grants);
    std::vector<std::string> accounts;
    accounts.reserve(grants->size());
    for (Grant& grant : *grants) {  // sorted by account
      if (accounts.empty() || accounts.back() != grant.account) accounts.push_back(std::move(grant.account));
    }
    return accounts;
  }

  Result<void> ReadAndScore() {
    std::vector<Hypothesis> readable;
    std::vector<Reading> readings;
    std::vector<std::vector<std::string>> candidates;
    std::int64_t trials = 0;  // scores that will be computed: candidates × hypotheses
    for (Hypothesis& hypothesis : hypotheses_) {
      if (auto reported = Report("reading", static_cast<double>(&hypothesis - hypotheses_.data()) / static_cast<double>(hypotheses_.size())); !reported) return reported;
      auto reading = Read(hypothesis);
      if (!reading && reading.error().code == ErrorCode::kDataLoss) {
        SetAside(hypothesis.track, reading.error());
        continue;
      }
      if (!reading) return Pass(reading);
      auto accounts = Candidates(hypothesis.track, *reading);
      if (!accounts) return Pass(accounts);
      trials += static_cast<std::int64_t>(accounts->size());
      readings.push_back(std::move(*reading));
      candidates.push_back(std::move(*accounts));
      readable.push_back(std::move(hypothesis));
    }
    hypotheses_ = std::move(readable);
    if (auto reported = Report("scoring", 0); !reported) return reported;
    // From here on codes are in play, and nothing above may change any more.
    std::vector<bool> accuses(hypotheses_.size(), false);
    for (std::size_t h = 0; h < hypotheses_.size(); ++h) accuses[h] = Score(hypotheses_[h], readings[h], candidates[h], trials);
    Conclude(readings, candidates, accuses, trials);
    return {};
  }

  // Adds the accusations of one hypothesis; true if there are any.
  bool Score(const Hypothesis& hypothesis, const Reading& reading, const std::vector<std::string>& accounts, std::int64_t trials) {
    const StreamReference& reference = *streams_[static_cast<std::size_t>(hypothesis.track)];
    const std::vector<std::int32_t> scores = ScoreAccounts(reading.table, reference.code_key(), accounts);
    const ScoreDistribution distribution(reading.table);
    const double log10_trials = std::log10(static_cast<double>(std::max<std::int64_t>(1, trials)));
    bool any = false;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const double log10_p = distribution.Log10Tail(scores[i]);
      if (log10_p + log10_trials > std::log10(options_.max_false_accusation)) continue;
      any = true;
      report_.accusations.push_back({.account = accounts[i],
                                     .stream = reference.record().id,
                                     .log10_p = log10_p,
                                     .log10_bound = std::min(0.0, log10_p + log10_trials),
                                     .score = reading.table.step * scores[i],
                                     .clip_start_s = hypothesis.pieces.front().clip_start_s,
                                     .clip_end_s = hypothesis.pieces.back().clip_end_s});
    }
    return any;
  }

  void Conclude(const std::vector<Reading>& readings, const std::vector<std::vector<std::string>>& candidates, const std::vector<bool>& accuses,
                std::int64_t trials) {
    auto& accusations = report_.accusations;
    std::sort(accusations.begin(), accusations.end(), [](const Accusation& a, const Accusation& b) { return a.log10_p < b.log10_p; });
    // Two hypotheses of one stream may both name the same account; the stronger one is told.
    for (std::size_t i = 0; i < accusations.size(); ++i) {
      accusations.erase(std::remove_if(accusations.begin() + static_cast<std::ptrdiff_t>(i) + 1, accusations.end(),
                                       [&](const Accusation& a) { return a.account == accusations[i].account && a.stream == accusations[i].stream; }),
                        accusations.end());
    }
    // Of each stream, the hypotheses that accuse are shown, or else the sharpest, which came first.
    std::map<int, bool> track_accuses;
    for (std::size_t h = 0; h < hypotheses_.size(); ++h) track_accuses[hypotheses_[h].track] = track_accuses[hypotheses_[h].track] || accuses[h];
    std::map<int, bool> shown;
    double rate = 0;  // decimal digits of evidence a second
    double known_s = 0;
    for (std::size_t h = 0; h < hypotheses_.size(); ++h) {
      const int track = hypotheses_[h].track;
      if (!shown[track]) report_.candidates += static_cast<std::int64_t>(candidates[h].size());
      if (track_accuses[track] ? accuses[h] : !shown[track]) {
        for (const Alignment& piece : hypotheses_[h].pieces) {
          report_.alignments.push_back({.stream = streams_[static_cast<std::size_t>(track)]->record().id, .alignment = piece});
        }
        report_.symbols_used += static_cast<std::int64_t>(readings[h].table.symbols.size());
      }
      shown[track] = true;
      const double expected = ScoreDistribution(readings[h].table).Log10Tail(std::llround(ExpectedLeakerScore(readings[h].table)));
      if (readings[h].clip_seconds > 0 && -expected / readings[h].clip_seconds > rate) {
        rate = -expected / readings[h].clip_seconds;
        known_s = readings[h].clip_seconds;
      }
    }
    report_.verdict = !accusations.empty() ? Verdict::kAccused : report_.alignments.empty() ? Verdict::kUnknownAudio : Verdict::kNoAccusation;
    if (report_.verdict == Verdict::kNoAccusation && rate > 0 && trials > 0) {
      constexpr double kReserve = 1.2;
      const double needed = kReserve * (std::log10(static_cast<double>(trials)) - std::log10(options_.max_false_accusation)) / rate;
      if (needed > known_s && needed < 3600) report_.seconds_needed = std::ceil(needed * 10) / 10;
    }
  }

  Store& store_;
  const MasterKey& master_;
  std::span<const float> clip_;
  const ScanOptions& options_;
  const Progress& progress_;
  Aligner aligner_;
  std::vector<std::unique_ptr<StreamReference>> streams_;  // by track
  FingerprintIndex index_;
  std::vector<Hypothesis> hypotheses_;
  std::map<int, bool> set_aside_;  // by track
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
