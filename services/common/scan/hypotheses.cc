#include "services/common/scan/hypotheses.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "dsp/core/resample.h"
#include "dsp/search/fingerprint.h"
#include "services/common/scan/probe_plan.h"

namespace earmark {
namespace {

constexpr int kMostMatches = 24;       // of a search, tested by waveform …
constexpr int kMostWeakMatches = 12;   // … of which only these may be so weak that chance gives such
constexpr int kMostMatchesPerTrack = 16;  // music made of loops repeats one sound again and again
constexpr double kMostReadS = 120;        // of clip over all hypotheses of one track, so that a long clip of loops costs no more than a long clip …
constexpr int kLeastHypotheses = 4;       // … but these are read at any length
constexpr double kLeastStrength = 4.5;       // of a rough match that is tested at all: wrong places of any clip reach 4, right ones 5 even under another voice
constexpr double kLeastSpeedStrength = 6.5;  // … and at other speeds, where nothing else was found, which costs ten times as much; 1 % of speed leaves right places at 17
constexpr double kClearStrength = 6.5;       // chance reaches 5.5 in a hundred hours
constexpr int kMostSpeedMatches = 3;
constexpr double kStandsAlone = 11;          // a verified stretch this strong counts even where no single block of it is seen
constexpr double kLeastShareOfBest = 0.75;   // weaker alignments of the same stretch are chance

class HypothesisSearch {
 public:
  HypothesisSearch(std::span<const float> clip, const Catalog& catalog, ReferenceReader& references, ScanContext& context)
      : clip_(clip), catalog_(catalog), references_(references), context_(context), aligner_(clip), plan_(clip) {}

  // Searches what is not yet explained, a probe at a time; whatever a probe finds is followed as far as it goes.
  Result<std::vector<Hypothesis>> Run() {
    while (const auto probe = plan_.Next()) {
      if (auto found = Probe(probe->start_s, probe->end_s); !found) return Pass(found);
      if (auto reported = context_.Report("searching", plan_.share_done()); !reported) return Pass(reported);
    }
    return std::move(hypotheses_);
  }

 private:
  double ClipSeconds() const { return static_cast<double>(clip_.size()) / kDetectRateHz; }
  const std::string& StreamOf(int source) const { return catalog_.At(source).stream.id; }

  // Searches one stretch and follows what it finds, in every stream that has it (two rooms may carry the same sound). True if anything was found.
  Result<bool> Probe(double start_s, double end_s) {
    const auto first = static_cast<std::size_t>(start_s * kDetectRateHz);
    const auto count = std::min(clip_.size() - first, static_cast<std::size_t>((end_s - start_s) * kDetectRateHz));
    const ClipFingerprint fingerprint = FingerprintClip(clip_.subspan(first, count), kDetectRateHz);
    auto matches = catalog_.index.Search(fingerprint, kMostMatches, kMostMatchesPerTrack);
    std::erase_if(matches, [](const auto& match) { return match.strength < kLeastStrength; });
    while (matches.size() > kMostWeakMatches && matches.back().strength < kClearStrength) matches.pop_back();
    const double clip_end_s = start_s + static_cast<double>(count) / kDetectRateHz;
    Aligner::Stretch stretch = aligner_.Prepare(start_s, clip_end_s);
    auto verified = Verify(matches, stretch, false);
    if (verified && verified->empty()) {
      std::erase_if(matches, [](const auto& match) { return match.strength < kLeastSpeedStrength; });
      matches.resize(std::min<std::size_t>(matches.size(), kMostSpeedMatches));
      verified = Verify(matches, stretch, true);
    }
    if (!verified) return Pass(verified);
    bool found = false;
    for (const auto& [source, seed] : *verified) {
      if (AlreadyHas(source, seed)) continue;
      auto pieces = Follow(source, seed);
      if (!pieces) return Pass(pieces);
      if (pieces->empty()) continue;
      if (auto joined = AddCompanions(source, seed, *pieces); !joined) return Pass(joined);
      found = true;
      for (const SourcePiece& piece : *pieces) plan_.Cover(piece.alignment.clip_start_s, piece.alignment.clip_end_s);
      AddPieces(StreamOf(source), *pieces, start_s, clip_end_s);
    }
    return found;
  }

  // The verified alignment as far through the clip as it goes. Empty: on a closer look it is chance.
  Result<std::vector<SourcePiece>> Follow(int source, const Alignment& seed) {
    auto alignments = aligner_.Track(seed, 0, ClipSeconds(), references_.AudioLoader(source));
    if (!alignments) return Pass(alignments);
    if (alignments->empty() && seed.strength >= kStandsAlone) alignments->push_back(seed);
    std::vector<SourcePiece> pieces;
    for (const Alignment& alignment : *alignments) pieces.push_back({.source = source, .alignment = alignment});
    return pieces;
  }

  // Other speakers of the room, heard at the same time: their sources are looked for where the room's clock has them.
  Result<void> AddCompanions(int source, const Alignment& seed, std::vector<SourcePiece>& pieces) {
    Aligner::Stretch stretch = aligner_.Prepare(seed.clip_start_s, seed.clip_end_s);
    for (int other = 0; other < static_cast<int>(catalog_.sources.size()); ++other) {
      if (other == source || StreamOf(other) != StreamOf(source)) continue;
      auto alignment = Aligner::Verify(stretch, seed.stream_start_s, false, references_.AudioLoader(other));
      if (!alignment) return Pass(alignment);
      if (!*alignment) continue;
      auto more = Follow(other, **alignment);
      if (!more) return Pass(more);
      pieces.insert(pieces.end(), more->begin(), more->end());
    }
    return {};
  }

  // A hypothesis has this very alignment already, as a companion.
  bool AlreadyHas(int source, const Alignment& seed) const {
    const double middle_s = (seed.clip_start_s + seed.clip_end_s) / 2;
    return std::any_of(hypotheses_.begin(), hypotheses_.end(), [&](const Hypothesis& hypothesis) {
      return std::any_of(hypothesis.pieces.begin(), hypothesis.pieces.end(), [&](const SourcePiece& piece) {
        const Alignment& a = piece.alignment;
        return piece.source == source && a.clip_start_s <= middle_s && middle_s < a.clip_end_s && std::abs(a.StreamTime(middle_s) - seed.StreamTime(middle_s)) < 0.05;
      });
    });
  }

  struct Verified {
    int source = 0;
    Alignment alignment;
  };
  // Those matches that stand up to a comparison of waveforms, and are not far weaker than the best one; sharpest first.
  Result<std::vector<Verified>> Verify(const std::vector<FingerprintIndex::Match>& matches, Aligner::Stretch& stretch, bool all_speeds) {
    std::vector<Verified> verified;
    double most = 0;
    for (const auto& match : matches) {
      if (!context_.GoOn()) return Fail(ErrorCode::kCancelled, "cancelled");
      auto alignment = Aligner::Verify(stretch, match.stream_s, all_speeds, references_.AudioLoader(match.track));
      if (!alignment) return Pass(alignment);
      if (!*alignment) continue;
      const bool known = std::any_of(verified.begin(), verified.end(), [&](const Verified& v) {
        return v.source == match.track && std::abs(v.alignment.stream_start_s - (*alignment)->stream_start_s) < 0.05;
      });
      if (!known) verified.push_back({.source = match.track, .alignment = **alignment});
      most = std::max(most, (*alignment)->strength);
    }
    std::erase_if(verified, [&](const Verified& v) { return v.alignment.strength < kLeastShareOfBest * most; });
    std::sort(verified.begin(), verified.end(), [](const Verified& a, const Verified& b) { return a.alignment.sharpness > b.alignment.sharpness; });
    return verified;
  }

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
      if (StreamOf(hypothesis.pieces.front().source) != stream) continue;
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
    const auto of_stream = std::count_if(hypotheses_.begin(), hypotheses_.end(), [&](const Hypothesis& h) { return StreamOf(h.pieces.front().source) == stream; });
    const auto most = std::clamp(static_cast<int>(kMostReadS / ClipSeconds()), kLeastHypotheses, kMostMatchesPerTrack);
    if ((rival || !joined) && of_stream < most) hypotheses_.push_back({.pieces = pieces});
  }

  std::span<const float> clip_;
  const Catalog& catalog_;
  ReferenceReader& references_;
  ScanContext& context_;
  Aligner aligner_;
  ProbePlan plan_;
  std::vector<Hypothesis> hypotheses_;
};

}  // namespace

Result<std::vector<Hypothesis>> FindHypotheses(std::span<const float> clip, const Catalog& catalog, ReferenceReader& references, ScanContext& context) {
  return HypothesisSearch(clip, catalog, references, context).Run();
}

}  // namespace earmark
