#include "services/common/scanning.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <utility>

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
constexpr int kMostMatches = 24;       // of a search, tested by waveform …
constexpr int kMostWeakMatches = 12;   // … of which only these may be so weak that chance gives such
constexpr int kMostMatchesPerTrack = 16;  // music made of loops repeats one sound again and again
constexpr double kMostReadS = 120;        // of clip over all hypotheses of one track, so that a long clip of loops costs no more than a long clip …
constexpr int kLeastHypotheses = 4;       // … but these are read at any length
constexpr double kLeastStrength = 4.5;       // of a rough match that is tested at all: wrong places of any clip reach 4, right ones 5 even under another voice
constexpr double kLeastSpeedStrength = 6.5;  // … and at other speeds, which costs ten times as much; 1 % of speed leaves right places at 17
constexpr double kClearStrength = 6.5;       // chance reaches 5.5 in a hundred hours
constexpr double kUsualSpeedChange = 0.001;  // tried for all matches: clock drift
constexpr double kMostSpeedChange = 0.01;    // tried for the strongest few, where nothing else was found
constexpr int kMostSpeedMatches = 3;
constexpr double kStandsAlone = 11;          // a verified stretch this strong counts even where no single block of it is seen
constexpr double kLeastShareOfBest = 0.75;   // weaker alignments of the same stretch are chance

// One source's reference as the detector uses it: read and opened as needed, the last minutes of it kept.
class SourceReference {
 public:
  SourceReference(Store& store, const StreamRecord& record, const StreamKeys& keys, int source)
      : store_(store), record_(record), keys_(keys), source_(source) {}

  const StreamRecord& record() const { return record_; }
  int source() const { return source_; }
  const Key& code_key() const { return keys_.code; }

  Result<VariantAudio> Decode(std::int64_t first_packet, std::int64_t end_packet, int num_variants) {
    const auto load = [this](std::int64_t first, std::int64_t end) { return LoadChunks(first, end); };
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
  using Chunks = std::vector<std::shared_ptr<const LocatedChunk>>;
  static constexpr std::int64_t kCellPackets = kPacketsPerChunk;  // read from the store at a time
  static constexpr std::size_t kMostCells = 12;                   // kept: two minutes, 2 MB

  Result<Chunks> LoadChunks(std::int64_t first_packet, std::int64_t end_packet) {
    Chunks chunks;
    for (std::int64_t cell = first_packet / kCellPackets; cell * kCellPackets < end_packet; ++cell) {
      auto of_cell = LoadCell(cell);
      if (!of_cell) return of_cell;
      for (auto& chunk : *of_cell) {
        if (chunk->end_packet() <= first_packet || chunk->first_packet >= end_packet) continue;
        if (chunks.empty() || chunks.back()->first_packet < chunk->first_packet) chunks.push_back(std::move(chunk));  // one may reach into two cells
      }
    }
    return chunks;
  }

  Result<Chunks> LoadCell(std::int64_t cell) {
    if (const auto known = cells_.find(cell); known != cells_.end()) return known->second;
    auto sealed = store_.ReadReference(record_.id, source_, cell * kCellPackets, (cell + 1) * kCellPackets);
    if (!sealed) return Pass(sealed);
    Chunks chunks;
    for (const ReferenceChunk& chunk : *sealed) {
      auto data = ReferenceChunkData::Open(chunk.sealed, keys_.seal, {.stream_id = record_.id, .source = source_, .first_packet = chunk.first_packet});
      if (!data) return Pass(data);
      chunks.push_back(std::make_shared<LocatedChunk>(LocatedChunk{.first_packet = chunk.first_packet, .data = std::move(*data)}));
    }
    if (cells_.size() >= kMostCells) cells_.erase(cells_.begin());
    cells_[cell] = chunks;
    return chunks;
  }

  Store& store_;
  StreamRecord record_;
  StreamKeys keys_;
  int source_;
  std::map<std::int64_t, Chunks> cells_;
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
    std::map<std::string, std::pair<StreamRecord, StreamKeys>, std::less<>> known;
    for (StreamRecord& record : records) {
      auto keys = KeysOf(record, master_);
      if (!keys) {
        ++under_other_key;
        continue;
      }
      std::string id = record.id;
      known.emplace(std::move(id), std::pair(std::move(record), std::move(*keys)));
    }
    if (under_other_key > 0) {
      report_.notes.push_back(std::to_string(under_other_key) + (under_other_key == 1 ? " stream is" : " streams are") +
                              " sealed under another master key than the one given (" + master_.id + ") and could not be searched");
    }
    std::vector<std::uint64_t> words;
    std::map<std::pair<std::string, int>, int, std::less<>> track_of;  // a track is one source of one stream
    const auto one = options_.stream ? std::optional<std::string_view>(*options_.stream) : std::nullopt;
    return store_.VisitFingerprints(one, [&](std::string_view stream, int source, std::int64_t first_packet, std::span<const std::uint8_t> bytes) {
      const auto found = known.find(stream);
      if (found == known.end()) return;
      const auto [track, is_new] = track_of.try_emplace({std::string(stream), source}, static_cast<int>(tracks_.size()));
      if (is_new) tracks_.push_back(std::make_unique<SourceReference>(store_, found->second.first, found->second.second, source));
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
    while (matches.size() > kMostWeakMatches && matches.back().strength < kClearStrength) matches.pop_back();
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
      if (AlreadyHas(track, seed)) continue;
      auto pieces = Follow(track, seed);
      if (!pieces) return Pass(pieces);
      if (pieces->empty()) continue;
      if (auto joined = AddCompanions(track, seed, *pieces); !joined) return Pass(joined);
      found = true;
      for (const SourcePiece& piece : *pieces) uncovered.Remove(piece.alignment.clip_start_s, piece.alignment.clip_end_s);
      AddPieces(tracks_[static_cast<std::size_t>(track)]->record().id, *pieces, start_s, clip_end_s);
    }
    return found;
  }

  // A stretch of clip on one source of a stream.
  struct SourcePiece {
    int track = 0;
    Alignment alignment;
  };

  // The verified alignment as far through the clip as it goes. Empty: on a closer look it is chance.
  Result<std::vector<SourcePiece>> Follow(int track, const Alignment& seed) {
    auto alignments = aligner_.Track(seed, 0, ClipSeconds(), Track(track).AudioLoader());
    if (!alignments && alignments.error().code == ErrorCode::kDataLoss) {
      SetAside(track, alignments.error());  // only in part, perhaps: what was verified is still read
      alignments = std::vector<Alignment>{seed};
    }
    if (!alignments) return Pass(alignments);
    if (alignments->empty() && seed.strength >= kStandsAlone) alignments->push_back(seed);
    std::vector<SourcePiece> pieces;
    for (const Alignment& alignment : *alignments) pieces.push_back({.track = track, .alignment = alignment});
    return pieces;
  }

  // Other speakers of the room, heard at the same time: their sources are looked for where the room's clock has them.
  Result<void> AddCompanions(int track, const Alignment& seed, std::vector<SourcePiece>& pieces) {
    for (int other = 0; other < static_cast<int>(tracks_.size()); ++other) {
      if (other == track || set_aside_[other] || Track(other).record().id != Track(track).record().id) continue;
      auto alignment = aligner_.Verify({.clip_start_s = seed.clip_start_s, .clip_end_s = seed.clip_end_s, .stream_start_s = seed.stream_start_s},
                                       kUsualSpeedChange, Track(other).AudioLoader());
      if (!alignment && alignment.error().code == ErrorCode::kDataLoss) {
        SetAside(other, alignment.error());
        continue;
      }
      if (!alignment) return Pass(alignment);
      if (!*alignment) continue;
      auto more = Follow(other, **alignment);
      if (!more) return Pass(more);
      pieces.insert(pieces.end(), more->begin(), more->end());
    }
    return {};
  }

  // A hypothesis has this very alignment already, as a companion.
  bool AlreadyHas(int track, const Alignment& seed) const {
    const double middle_s = (seed.clip_start_s + seed.clip_end_s) / 2;
    return std::any_of(hypotheses_.begin(), hypotheses_.end(), [&](const Hypothesis& hypothesis) {
      return std::any_of(hypothesis.pieces.begin(), hypothesis.pieces.end(), [&](const SourcePiece& piece) {
        const Alignment& a = piece.alignment;
        return piece.track == track && a.clip_start_s <= middle_s && middle_s < a.clip_end_s && std::abs(a.StreamTime(middle_s) - seed.StreamTime(middle_s)) < 0.05;
      });
    });
  }

  SourceReference& Track(int track) const { return *tracks_[static_cast<std::size_t>(track)]; }

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
                                       Track(match.track).AudioLoader());
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
    std::string stream;
    std::vector<SourcePiece> pieces;  // of one source or several, by clip time once read
  };

  // Pieces that overlap in clip time with what a hypothesis of the same stream has at the probe are another hypothesis; others go on with those there are.
  void AddPieces(const std::string& stream, const std::vector<SourcePiece>& pieces, double probe_start_s, double probe_end_s) {
    const auto covers = [](const std::vector<SourcePiece>& known, double start_s, double end_s) {
      return std::any_of(known.begin(), known.end(), [&](const SourcePiece& k) {
        return std::min(k.alignment.clip_end_s, end_s) - std::max(k.alignment.clip_start_s, start_s) > 0.5 * (end_s - start_s);
      });
    };
    bool joined = false;
    bool rival = false;
    for (Hypothesis& hypothesis : hypotheses_) {
      if (hypothesis.stream != stream) continue;
      if (covers(hypothesis.pieces, probe_start_s, probe_end_s)) {
        rival = true;
        continue;
      }
      joined = true;
      const std::vector<SourcePiece> before = hypothesis.pieces;
      for (const SourcePiece& piece : pieces) {
        if (!covers(before, piece.alignment.clip_start_s, piece.alignment.clip_end_s)) hypothesis.pieces.push_back(piece);
      }
    }
    const auto of_stream = std::count_if(hypotheses_.begin(), hypotheses_.end(), [&](const Hypothesis& h) { return h.stream == stream; });
    const auto most = std::clamp(static_cast<int>(kMostReadS / ClipSeconds()), kLeastHypotheses, kMostMatchesPerTrack);
    if ((rival || !joined) && of_stream < most) hypotheses_.push_back({.stream = stream, .pieces = pieces});
  }

  // What reading a hypothesis gave.
  struct Reading {
    ScoreTable table;
    double from_stream_s = 0;
    double to_stream_s = 0;
    double clip_end_s = 0;
    double clip_seconds = 0;
  };

  Result<Reading> Read(Hypothesis& hypothesis) {
    auto& pieces = hypothesis.pieces;
    std::sort(pieces.begin(), pieces.end(), [](const SourcePiece& a, const SourcePiece& b) { return a.alignment.clip_start_s < b.alignment.clip_start_s; });
    std::map<int, std::vector<Alignment>> by_track;
    Reading reading{.table = {}, .from_stream_s = pieces.front().alignment.stream_start_s, .to_stream_s = 0, .clip_end_s = 0, .clip_seconds = 0};
    for (const auto& [track, piece] : pieces) {
      by_track[track].push_back(piece);
      reading.from_stream_s = std::min(reading.from_stream_s, piece.stream_start_s);
      reading.to_stream_s = std::max(reading.to_stream_s, piece.stream_end_s());
    }
    std::map<std::int64_t, std::array<float, kMaxVariants>> sums;  // every source of a stream carries the same symbols
    for (const auto& [track, alignments] : by_track) {
      SourceReference& reference = Track(track);
      auto read = ReadSymbols(reference.record().format, clip_, alignments, [&](std::int64_t first, std::int64_t end) {
        return reference.Decode(first, end, reference.record().format.num_variants);
      });
      if (!read) return Pass(read);
      for (const SymbolLikelihood& symbol : read->symbols) {
        auto& sum = sums[symbol.symbol];
        for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += symbol.log_likelihood[k];
      }
    }
    // Speakers who talk at once share the clip's seconds.
    for (double until_s = 0; const auto& [track, piece] : pieces) {
      reading.clip_seconds += std::max(0.0, piece.clip_end_s - std::max(until_s, piece.clip_start_s));
      until_s = std::max(until_s, piece.clip_end_s);
      reading.clip_end_s = until_s;
    }
    SymbolLikelihoods likelihoods{.num_variants = Track(pieces.front().track).record().format.num_variants, .symbols = {}};
    for (const auto& [symbol, sum] : sums) likelihoods.symbols.push_back({.symbol = symbol, .log_likelihood = sum});
    reading.table = MakeScoreTable(likelihoods);
    return reading;
  }

  // Accounts with a grant at some time of the stretch.
  Result<std::vector<std::string>> Candidates(const std::string& stream, const Reading& reading) {
    auto grants = store_.ListGrants(stream,
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
        SetAside(hypothesis.pieces.front().track, reading.error());
        continue;
      }
      if (!reading) return Pass(reading);
      auto accounts = Candidates(hypothesis.stream, *reading);
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
    const Key& code_key = Track(hypothesis.pieces.front().track).code_key();  // all sources of a stream have one
    const std::vector<std::int32_t> scores = ScoreAccounts(reading.table, code_key, accounts);
    const ScoreDistribution distribution(reading.table);
    const double log10_trials = std::log10(static_cast<double>(std::max<std::int64_t>(1, trials)));
    bool any = false;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const double log10_p = distribution.Log10Tail(scores[i]);
      if (log10_p + log10_trials > std::log10(options_.max_false_accusation)) continue;
      any = true;
      report_.accusations.push_back({.account = accounts[i],
                                     .stream = hypothesis.stream,
                                     .log10_p = log10_p,
                                     .log10_bound = std::min(0.0, log10_p + log10_trials),
                                     .score = reading.table.step * scores[i],
                                     .clip_start_s = hypothesis.pieces.front().alignment.clip_start_s,
                                     .clip_end_s = reading.clip_end_s});
    }
    return any;
  }

  void Conclude(const std::vector<Reading>& readings, const std::vector<std::vector<std::string>>& candidates, const std::vector<bool>& accuses,
                std::int64_t trials) {
    report_.trials = trials;
    auto& accusations = report_.accusations;
    std::sort(accusations.begin(), accusations.end(), [](const Accusation& a, const Accusation& b) { return a.log10_p < b.log10_p; });
    // Two hypotheses of one stream may both name the same account; the stronger one is told.
    for (std::size_t i = 0; i < accusations.size(); ++i) {
      accusations.erase(std::remove_if(accusations.begin() + static_cast<std::ptrdiff_t>(i) + 1, accusations.end(),
                                       [&](const Accusation& a) { return a.account == accusations[i].account && a.stream == accusations[i].stream; }),
                        accusations.end());
    }
    // Of each stream, the hypotheses that accuse are shown, or else the sharpest, which came first.
    std::map<std::string, bool> stream_accuses;
    for (std::size_t h = 0; h < hypotheses_.size(); ++h) stream_accuses[hypotheses_[h].stream] = stream_accuses[hypotheses_[h].stream] || accuses[h];
    std::map<std::string, bool> shown;
    double rate = 0;  // decimal digits of evidence a second
    double known_s = 0;
    for (std::size_t h = 0; h < hypotheses_.size(); ++h) {
      const std::string& stream = hypotheses_[h].stream;
      if (!shown[stream]) report_.candidates += static_cast<std::int64_t>(candidates[h].size());
      if (stream_accuses[stream] ? accuses[h] : !shown[stream]) {
        for (const auto& [track, piece] : hypotheses_[h].pieces) {
          report_.alignments.push_back({.stream = stream, .source = Track(track).source(), .alignment = piece});
        }
        report_.symbols_used += static_cast<std::int64_t>(readings[h].table.symbols.size());
      }
      shown[stream] = true;
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
  std::vector<std::unique_ptr<SourceReference>> tracks_;
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
    if (a.source != 0) json["alignments"].back()["source"] = a.source;
  }
  json["candidates"] = report.candidates;
  json["symbols_used"] = report.symbols_used;
  json["seconds_needed"] = report.seconds_needed ? ordered_json(*report.seconds_needed) : ordered_json(nullptr);
  if (report.trials != report.candidates) json["trials"] = report.trials;
  if (!report.notes.empty()) json["notes"] = report.notes;
  return json.dump();
}

}  // namespace earmark
