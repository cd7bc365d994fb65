#include "services/common/scan/hypotheses.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "dsp/core/resample.h"
#include "dsp/search/fingerprint.h"
#include "services/common/scan/channel_balance.h"
#include "services/common/scan/probe_plan.h"

namespace earmark {
namespace {

constexpr int kMaxMatches = 24;      // of a search, tested by waveform …
constexpr int kMaxWeakMatches = 12;  // … of which only these may be so weak that chance gives such, …
// … and fewer once a few stretches were searched thoroughly: long clips are mostly of unknown sound
constexpr int kMaxWeakMatchesLater = 2;
constexpr int kThoroughProbes = 3;
constexpr int kMaxMatchesPerSource = 16;  // music made of loops repeats one sound again and again
// of clip over all hypotheses of one track, so that a long clip of loops costs no more than a long clip …
constexpr double kMaxReadS = 120;
constexpr int kMinHypotheses = 4;  // … but these are read at any length
// of a rough match that is tested at all: wrong places of any clip reach 4, right ones 5 even under another voice
constexpr double kMinStrength = 4.5;
// … and at other speeds, where nothing else was found, which costs ten times as much; 1 % of speed leaves right places at 17
constexpr double kMinSpeedStrength = 6.5;
constexpr double kBeyondDoubt = 16;     // of a verified place: chance reaches 9.5
constexpr double kClearStrength = 6.5;  // chance reaches 5.5 in a hundred hours
constexpr int kMaxSpeedMatches = 3;
constexpr double kAroundMatchS = 0.25;       // of clip on either side of what matched, compared as well
constexpr double kStandsAlone = 11;          // a verified stretch this strong counts even where no single block of it is seen
constexpr double kMinShareOfBest = 0.75;     // weaker alignments of the same stretch are chance …
constexpr double kMinShareOfSharpest = 0.5;  // … and blunter ones the same played once more, or said
constexpr double kClearlySharper = 1.05;
constexpr double kSameS = 0.05;  // of stream time: one and the same place

double Overlap(double a_start, double a_end, double b_start, double b_end) {
  return std::min(a_end, b_end) - std::max(a_start, b_start);
}

// As if all were equally long: sharpness grows with the root of the length.
double SharpnessByLength(const Alignment& a) { return a.sharpness / std::sqrt(a.clip_end_s - a.clip_start_s); }

bool IsSamePlace(const Alignment& a, const Alignment& b) {
  const double middle_s = (b.clip_start_s + b.clip_end_s) / 2;
  return std::abs(a.StreamTime(middle_s) - b.StreamTime(middle_s)) < kSameS;
}

// One signal of the clip: what was searched and explained of it.
struct Signal {
  Signal(std::size_t index_in, std::span<const float> samples_in) : index(index_in), samples(samples_in), aligner(samples_in) {}
  std::size_t index;
  std::span<const float> samples;
  Aligner aligner;

  double seconds() const { return static_cast<double>(samples.size()) / kDetectRateHz; }
  std::span<const float> Cut(double start_s, double end_s) const {
    const auto first = std::min(samples.size(), static_cast<std::size_t>(std::max(0.0, start_s) * kDetectRateHz));
    return samples.subspan(first, std::min(samples.size() - first, static_cast<std::size_t>((end_s - start_s) * kDetectRateHz)));
  }
};

// A verified place of a stretch, and the signal where it is heard best.
struct Seed {
  int source = 0;
  std::size_t signal = 0;
  Alignment alignment;
};

class HypothesisSearch {
 public:
  HypothesisSearch(const ClipSignals& clip, const Catalog& catalog, ReferenceReader& references, ScanContext& context)
      : clip_(clip), catalog_(catalog), references_(references), context_(context) {}

  // Searches what is not yet explained, signal by signal, a probe at a time; whatever a probe finds is followed as far as it goes.
  Result<std::vector<Hypothesis>> Run() {
    for (std::size_t i = 0; i < clip_.signals.size(); ++i) {
      if (auto searched = SearchSignal(i); !searched) return Pass(searched);
    }
    if (auto cut = CutPieces(); !cut) return Pass(cut);
    return std::move(hypotheses_);
  }

 private:
  const std::string& StreamOf(int source) const { return catalog_.At(source).stream.id; }
  const std::string& StreamOf(const Hypothesis& hypothesis) const { return StreamOf(hypothesis.pieces.front().source); }
  // Tracks of one file may be copies of one sound, of different listeners: each is searched for itself.
  int TrackOf(std::size_t signal) const { return clip_.signals[signal].track; }
  int TrackOf(const Hypothesis& hypothesis) const { return TrackOf(hypothesis.pieces.front().signal); }

  // A source's sound. Where much of it is asked for, much of the clip is read as well, which need not stay in memory.
  StreamAudioLoader LoaderOf(int source) {
    return [this, load = references_.AudioLoader(source)](double start_s, double end_s) {
      if (clip_.release_memory && ++num_loaded_ % 16 == 0) clip_.release_memory();
      return load(start_s, end_s);
    };
  }

  Result<const Signal*> SignalAt(std::size_t index) {
    if (const auto known = signals_.find(index); known != signals_.end()) return &known->second;
    auto samples = clip_.samples(index);
    if (!samples) return Pass(samples);
    return &signals_.try_emplace(index, index, *samples).first->second;
  }

  Result<void> SearchSignal(std::size_t index) {
    const auto signal = SignalAt(index);
    if (!signal) return Pass(signal);
    ProbePlan plan((*signal)->samples, clip_.release_memory);
    for (const Hypothesis& hypothesis : hypotheses_) {
      if (TrackOf(hypothesis) != TrackOf(index)) continue;
      for (const SourcePiece& piece : hypothesis.pieces) plan.Cover(piece.alignment.clip_start_s, piece.alignment.clip_end_s);
    }
    while (const auto probe = plan.Next()) {
      const auto worth = IsWorthIt(**signal, *probe);
      if (!worth) return Pass(worth);
      if (*worth) {
        if (auto searched = Probe(**signal, *probe, plan); !searched) return searched;
      }
      done_ = std::max(done_, (static_cast<double>(index) + plan.share_done()) / static_cast<double>(clip_.signals.size()));
    }
    return {};
  }

  Result<bool> IsWorthIt(const Signal& signal, const ProbePlan::Stretch& probe) {
    const auto [track, channel] = clip_.signals[signal.index];
    if (channel == DecodedClip::Channel::kMean) return true;
    const auto mean = SignalAt(static_cast<std::size_t>(clip_.Find(track, DecodedClip::Channel::kMean)));
    if (!mean) return Pass(mean);
    const auto difference = SignalAt(static_cast<std::size_t>(clip_.Find(track, DecodedClip::Channel::kDifference)));
    if (!difference) return Pass(difference);
    return MayHide(channel, BalanceOf((*mean)->Cut(probe.start_s, probe.end_s), (*difference)->Cut(probe.start_s, probe.end_s)));
  }

  // Searches one stretch and follows what it finds, in every stream that has it (two rooms may carry the same sound).
  Result<void> Probe(const Signal& signal, const ProbePlan::Stretch& probe, ProbePlan& plan) {
    if (auto reported = context_.Report("searching", done_); !reported) return reported;
    auto seeds = SeedsIn(signal, probe);
    if (!seeds) return Pass(seeds);
    for (Seed& seed : *seeds) {
      if (AlreadyHas(seed)) continue;
      if (auto chosen = ChooseSignal(seed); !chosen) return chosen;
      auto pieces = Follow(seed);
      if (!pieces) return Pass(pieces);
      if (pieces->empty()) continue;
      if (auto joined = AddCompanions(seed, *pieces); !joined) return joined;
      for (const SourcePiece& piece : *pieces) {
        if (piece.is_firm) plan.Cover(piece.alignment.clip_start_s, piece.alignment.clip_end_s);
      }
      AddPieces(*pieces, seed.alignment.clip_start_s, seed.alignment.clip_end_s);
    }
    return {};
  }

  // The places of a stretch, or of a part of it, that stand up to a comparison of waveforms; the sharpest first.
  Result<std::vector<Seed>> SeedsIn(const Signal& signal, const ProbePlan::Stretch& probe) {
    const bool thorough = num_searched_++ < kThoroughProbes;
    const ClipFingerprint fingerprint = FingerprintClip(signal.Cut(probe.start_s, probe.end_s), kDetectRateHz);
    auto matches = catalog_.index.Search(fingerprint, kMaxMatches, kMaxMatchesPerSource,
                                         thorough ? FingerprintIndex::kThoroughBits : FingerprintIndex::kQuickBits);
    std::erase_if(matches, [](const auto& match) { return match.strength < kMinStrength; });
    const auto max_weak = static_cast<std::size_t>(thorough ? kMaxWeakMatches : kMaxWeakMatchesLater);
    while (matches.size() > max_weak && matches.back().strength < kClearStrength) matches.pop_back();
    if (auto reported = context_.Report("aligning", done_); !reported) return Pass(reported);
    std::map<std::pair<double, double>, Aligner::Stretch> stretches;
    auto seeds = VerifyMatches(signal, probe, matches, stretches, false);
    if (seeds && seeds->empty()) {
      std::erase_if(matches, [](const auto& match) { return match.strength < kMinSpeedStrength; });
      matches.resize(std::min<std::size_t>(matches.size(), kMaxSpeedMatches));
      seeds = VerifyMatches(signal, probe, matches, stretches, true);
    }
    return seeds;
  }

  Result<std::vector<Seed>> VerifyMatches(const Signal& signal, const ProbePlan::Stretch& probe,
                                          const std::vector<FingerprintIndex::Match>& matches,
                                          std::map<std::pair<double, double>, Aligner::Stretch>& stretches, bool all_speeds) {
    std::vector<Seed> seeds;
    for (const auto& match : matches) {
      const double start_s = std::max(probe.start_s, probe.start_s + match.from_s - kAroundMatchS);
      const double end_s = std::min(probe.end_s, probe.start_s + match.to_s + kAroundMatchS);
      if (match.strength < kClearStrength && IsExplained(seeds, start_s, end_s)) continue;
      auto stretch = stretches.find({start_s, end_s});
      if (stretch == stretches.end())
        stretch = stretches.emplace(std::pair(start_s, end_s), signal.aligner.Prepare(start_s, end_s)).first;
      auto alignment =
          Aligner::Verify(stretch->second, match.stream_s + start_s - probe.start_s, all_speeds, LoaderOf(match.source));
      if (!alignment) return Pass(alignment);
      if (!*alignment) continue;
      const bool known = std::any_of(seeds.begin(), seeds.end(), [&](const Seed& s) {
        return s.source == match.source && IsSamePlace(s.alignment, **alignment);
      });
      if (!known) seeds.push_back({.source = match.source, .signal = signal.index, .alignment = **alignment});
    }
    const auto all = seeds;
    std::erase_if(seeds, [&](const Seed& weak) {
      return std::any_of(all.begin(), all.end(), [&](const Seed& strong) { return IsOutdone(weak, strong); });
    });
    std::sort(seeds.begin(), seeds.end(),
              [](const Seed& a, const Seed& b) { return a.alignment.sharpness > b.alignment.sharpness; });
    return seeds;
  }

  // Of the same time in the clip, both verified. A second voice, from another room, is as true as the first and shorter or longer as its pauses are; of one room
  // the weaker is the same played once more, or said.
  bool IsOutdone(const Seed& weak, const Seed& strong) const {
    const Alignment& a = weak.alignment;
    const Alignment& b = strong.alignment;
    if (Overlap(a.clip_start_s, a.clip_end_s, b.clip_start_s, b.clip_end_s) <= 0.5 * (a.clip_end_s - a.clip_start_s))
      return false;
    if (StreamOf(weak.source) == StreamOf(strong.source) && a.strength < kMinShareOfBest * b.strength) return true;
    return SharpnessByLength(a) < kMinShareOfSharpest * SharpnessByLength(b);
  }

  // Half of the stretch or more lies, beyond doubt, in places that were verified: what matches there weakly is chance.
  static bool IsExplained(const std::vector<Seed>& seeds, double start_s, double end_s) {
    return std::any_of(seeds.begin(), seeds.end(), [&](const Seed& seed) {
      const Alignment& a = seed.alignment;
      return a.strength >= kBeyondDoubt && Overlap(a.clip_start_s, a.clip_end_s, start_s, end_s) > 0.5 * (end_s - start_s);
    });
  }

  // A hypothesis of this track has this very place already, as a companion or another way round.
  bool AlreadyHas(const Seed& seed) const {
    const double middle_s = (seed.alignment.clip_start_s + seed.alignment.clip_end_s) / 2;
    return std::any_of(hypotheses_.begin(), hypotheses_.end(), [&](const Hypothesis& hypothesis) {
      return TrackOf(hypothesis) == TrackOf(seed.signal) &&
             std::any_of(hypothesis.pieces.begin(), hypothesis.pieces.end(), [&](const SourcePiece& piece) {
               const Alignment& a = piece.alignment;
               return piece.source == seed.source && a.clip_start_s <= middle_s && middle_s < a.clip_end_s &&
                      IsSamePlace(a, seed.alignment);
             });
    });
  }

  // Of a track with unlike channels, the signal in which the place shows most sharply. The difference of two channels that are much alike may show it more sharply than
  // their mean, where noise is the same in both, and yet hold little of the mark.
  Result<void> ChooseSignal(Seed& seed) {
    const Seed found = seed;
    for (std::size_t other = 0; other < clip_.signals.size(); ++other) {
      if (other == found.signal || TrackOf(other) != TrackOf(found.signal)) continue;
      const auto signal = SignalAt(other);
      if (!signal) return Pass(signal);
      const auto worth = IsWorthIt(**signal, {.start_s = found.alignment.clip_start_s, .end_s = found.alignment.clip_end_s});
      if (!worth) return Pass(worth);
      if (!*worth) continue;
      Aligner::Stretch stretch = (*signal)->aligner.Prepare(found.alignment.clip_start_s, found.alignment.clip_end_s);
      auto alignment = Aligner::Verify(stretch, found.alignment.stream_start_s, false, LoaderOf(found.source));
      if (!alignment) return Pass(alignment);
      if (*alignment && (*alignment)->sharpness > kClearlySharper * seed.alignment.sharpness)
        seed = {.source = found.source, .signal = other, .alignment = **alignment};
    }
    return {};
  }

  // The verified alignment as far through the clip as it goes. Empty: on a closer look it is chance.
  Result<std::vector<SourcePiece>> Follow(const Seed& seed) {
    const auto signal = SignalAt(seed.signal);
    if (!signal) return Pass(signal);
    auto alignments = (*signal)->aligner.Follow(seed.alignment, 0, (*signal)->seconds(), LoaderOf(seed.source));
    if (!alignments) return Pass(alignments);
    if (alignments->empty() && seed.alignment.strength >= kStandsAlone) alignments->push_back(seed.alignment);
    std::vector<SourcePiece> pieces;
    double firmest = 0;
    for (const Alignment& alignment : *alignments) firmest = std::max(firmest, FirmnessOf(alignment));
    for (const Alignment& alignment : *alignments) {
      pieces.push_back({.source = seed.source,
                        .signal = seed.signal,
                        .alignment = alignment,
                        .is_firm = !IsEchoNextTo(FirmnessOf(alignment), firmest)});
    }
    return pieces;
  }

  // Other speakers of the room, heard at the same time: their sources are looked for where the room's clock has them.
  Result<void> AddCompanions(const Seed& seed, std::vector<SourcePiece>& pieces) {
    const auto signal = SignalAt(seed.signal);
    if (!signal) return Pass(signal);
    Aligner::Stretch stretch = (*signal)->aligner.Prepare(seed.alignment.clip_start_s, seed.alignment.clip_end_s);
    for (int other = 0; other < static_cast<int>(catalog_.sources.size()); ++other) {
      if (other == seed.source || StreamOf(other) != StreamOf(seed.source)) continue;
      auto alignment = Aligner::Verify(stretch, seed.alignment.stream_start_s, false, LoaderOf(other));
      if (!alignment) return Pass(alignment);
      if (!*alignment) continue;
      auto more = Follow({.source = other, .signal = seed.signal, .alignment = **alignment});
      if (!more) return Pass(more);
      pieces.insert(pieces.end(), more->begin(), more->end());
    }
    return {};
  }

  // Pieces whose seed shares clip time with what a hypothesis of the same stream and track has are another hypothesis; others go on with those there are.
  void AddPieces(const std::vector<SourcePiece>& pieces, double seed_start_s, double seed_end_s) {
    const auto covers = [](const std::vector<SourcePiece>& known, double start_s, double end_s) {
      return std::any_of(known.begin(), known.end(), [&](const SourcePiece& k) {
        return k.is_firm && Overlap(k.alignment.clip_start_s, k.alignment.clip_end_s, start_s, end_s) > 0.5 * (end_s - start_s);
      });
    };
    const auto is_alike = [&](const Hypothesis& h) {
      return StreamOf(h) == StreamOf(pieces.front().source) && TrackOf(h) == TrackOf(pieces.front().signal);
    };
    bool joined = false;
    bool rival = false;
    for (Hypothesis& hypothesis : hypotheses_) {
      if (!is_alike(hypothesis)) continue;
      if (covers(hypothesis.pieces, seed_start_s, seed_end_s)) {
        rival = true;
        continue;
      }
      joined = true;
      const std::vector<SourcePiece> before = hypothesis.pieces;
      for (const SourcePiece& piece : pieces) {
        if (!covers(before, piece.alignment.clip_start_s, piece.alignment.clip_end_s)) hypothesis.pieces.push_back(piece);
      }
    }
    const auto alike = std::count_if(hypotheses_.begin(), hypotheses_.end(), is_alike);
    const auto max =
        std::clamp(static_cast<int>(kMaxReadS / signals_.begin()->second.seconds()), kMinHypotheses, kMaxMatchesPerSource);
    if ((rival || !joined) && alike < max) hypotheses_.push_back({.pieces = pieces});
  }

  // Puts pieces in order and ends each where the next one of its source begins: where they were found apart, their ends are known to a quarter of a second.
  Result<void> CutPieces() {
    for (Hypothesis& hypothesis : hypotheses_) {
      auto& pieces = hypothesis.pieces;
      std::sort(pieces.begin(), pieces.end(),
                [](const SourcePiece& a, const SourcePiece& b) { return a.alignment.clip_start_s < b.alignment.clip_start_s; });
      DropEchoes(pieces);
      std::map<int, SourcePiece*> last;  // [source]
      for (SourcePiece& piece : pieces) {
        SourcePiece* const before = std::exchange(last[piece.source], &piece);
        if (before == nullptr) continue;
        if (auto cut = CutBetween(*before, piece); !cut) return cut;
      }
      std::erase_if(pieces,
                    [](const SourcePiece& p) { return p.alignment.clip_end_s - p.alignment.clip_start_s < kShortestPieceS; });
    }
    std::erase_if(hypotheses_, [](const Hypothesis& hypothesis) { return hypothesis.pieces.empty(); });
    return {};
  }

  Result<void> CutBetween(SourcePiece& before, SourcePiece& after) {
    Alignment& a = before.alignment;
    Alignment& b = after.alignment;
    const bool goes_on = std::abs(a.StreamTime(b.clip_start_s) - b.stream_start_s) < kSameLineS;
    if ((goes_on && b.clip_start_s == a.clip_end_s) || b.clip_start_s - a.clip_end_s > kLargestCutGapS) return {};
    const auto signal = SignalAt(after.signal);
    if (!signal) return Pass(signal);
    const auto load = LoaderOf(after.source);
    return (*signal)->aligner.Cut(a, load, b, load);
  }

  // A word said twice sounds alike twice: what lies within a stronger piece of the same source is such an echo.
  static void DropEchoes(std::vector<SourcePiece>& pieces) {
    const auto all = pieces;
    std::erase_if(pieces, [&](const SourcePiece& weak) {
      const double half_s = 0.5 * (weak.alignment.clip_end_s - weak.alignment.clip_start_s);
      return std::any_of(all.begin(), all.end(), [&](const SourcePiece& strong) {
        return strong.source == weak.source && strong.alignment.strength > weak.alignment.strength &&
               Overlap(weak.alignment.clip_start_s, weak.alignment.clip_end_s, strong.alignment.clip_start_s,
                       strong.alignment.clip_end_s) > half_s;
      });
    });
  }

  static constexpr double kLargestCutGapS = 0.5;
  static constexpr double kSameLineS = 0.002;
  static constexpr double kShortestPieceS = 0.04;

  const ClipSignals& clip_;
  const Catalog& catalog_;
  ReferenceReader& references_;
  ScanContext& context_;
  std::map<std::size_t, Signal> signals_;
  int num_searched_ = 0;
  int num_loaded_ = 0;
  double done_ = 0;  // of all signals, what was explained or looked at
  std::vector<Hypothesis> hypotheses_;
};

}  // namespace

std::vector<SourcePiece> CertainPieces(const Hypothesis& hypothesis) {
  constexpr double kCertainStrength = 11;
  constexpr double kCertainS = 0.25;  // half of what is compared at once
  double max = 0;
  for (const SourcePiece& piece : hypothesis.pieces) max = std::max(max, piece.alignment.strength);
  std::vector<SourcePiece> certain;
  for (const SourcePiece& piece : hypothesis.pieces) {
    const Alignment& a = piece.alignment;
    if (a.strength >= max || (piece.is_firm && a.strength >= kCertainStrength && a.clip_end_s - a.clip_start_s >= kCertainS))
      certain.push_back(piece);
  }
  return certain;
}

Result<std::vector<Hypothesis>> FindHypotheses(const ClipSignals& clip, const Catalog& catalog, ReferenceReader& references,
                                               ScanContext& context) {
  return HypothesisSearch(clip, catalog, references, context).Run();
}

}  // namespace earmark
