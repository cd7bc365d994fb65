#include "dsp/search/fingerprint_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <map>

#include "dsp/core/clones.h"

namespace earmark {
namespace {

constexpr std::size_t kPartWords = 12;   // a second, about: what is counted apart
constexpr int kLeastWanted = 32;         // fewer tell nothing
constexpr double kLeastMaskedBits = 64;  // the same of all that count
constexpr double kPartStrength = 5.5;    // of one part alone, from which on a place is looked at: chance gives a few such in a hundred hours
constexpr double kLeastCoarse = 2;       // of all parts together
constexpr std::size_t kPhaseStep = 4;    // neighbouring phases look nearly alike, so the right place stands out in one of these
constexpr std::size_t kCoarseKept = 8192;
constexpr std::size_t kFineKept = 512;

int PartsOf(std::size_t num_words) { return static_cast<int>((num_words + kPartWords - 1) / kPartWords); }

// The strongest bits of each part, at most `most` of them, as even as can be.
std::vector<std::vector<WantedBit>> WantedBits(const std::vector<ClipWord>& words, int most) {
  std::vector<std::vector<WantedBit>> parts(static_cast<std::size_t>(PartsOf(words.size())));
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const std::size_t end = std::min(words.size(), (p + 1) * kPartWords);
    std::vector<WantedBit> strong;
    for (std::size_t w = p * kPartWords; w < end; ++w) {
      for (std::uint64_t left = words[w].strong; left != 0; left &= left - 1) {
        const int bit = std::countr_zero(left);
        strong.push_back({.word = static_cast<std::uint32_t>(w), .bit = static_cast<std::uint32_t>(bit), .value = (words[w].bits >> bit & 1) != 0});
      }
    }
    const auto count = std::min(strong.size(), static_cast<std::size_t>(most));
    for (std::size_t i = 0; i < count; ++i) parts[p].push_back(strong[i * strong.size() / count]);
  }
  return parts;
}

double Strength(int agreeing, int wanted) { return (2.0 * agreeing - wanted) / std::sqrt(static_cast<double>(wanted)); }

// In how many of the bits that count a stretch of fingerprint differs.
EARMARK_CLONES("popcnt", "default")
int CountWrong(const std::uint64_t* there, const ClipWord* words, std::size_t num_words) {
  int wrong = 0;
  for (std::size_t j = 0; j < num_words; ++j) wrong += std::popcount((there[j] ^ words[j].bits) & words[j].mask);
  return wrong;
}

// The fewest agreeing bits that make up this strength.
int LeastAgreeing(double strength, int wanted) {
  return static_cast<int>(std::ceil((wanted + strength * std::sqrt(static_cast<double>(wanted))) / 2));
}

}  // namespace

// All places, by the strongest bits.
class FingerprintIndex::CoarseSearch {
 public:
  CoarseSearch(const std::vector<Segment>& segments, int bits_per_part) : segments_(segments), bits_per_part_(bits_per_part) {}

  std::vector<Candidate> Run(const ClipFingerprint& clip) {
    for (std::size_t phase = 0; phase < clip.phases.size(); phase += kPhaseStep) {
      const auto& words = clip.phases[phase];
      const int parts = std::max(1, PartsOf(words.size()));
      parts_ = WantedBits(words, std::min(bits_per_part_, BitPlanes::kMaxCount / parts));
      wanted_ = 0;
      for (const auto& part : parts_) wanted_ += static_cast<int>(part.size());
      if (wanted_ < kLeastWanted) continue;
      for (std::size_t s = 0; s < segments_.size(); ++s) {
        if (segments_[s].words.size() >= words.size()) SearchSegment({.segment = s, .phase = static_cast<int>(phase)}, words.size());
      }
    }
    candidates_.insert(candidates_.end(), of_parts_.begin(), of_parts_.end());
    return std::move(candidates_);
  }

 private:
  void SearchSegment(Place place, std::size_t num_clip_words) {
    const BitPlanes& planes = segments_[place.segment].planes;
    const std::int64_t places = planes.num_words() - static_cast<std::int64_t>(num_clip_words) + 1;
    for (place.word = 0; place.word < places; place.word += BitPlanes::kPlaces) {
      const int valid = static_cast<int>(std::min<std::int64_t>(BitPlanes::kPlaces, places - place.word));
      BitPlanes::Counts all{};
      for (const auto& part : parts_) {
        const BitPlanes::Counts counts = planes.CountAgreeing(place.word, part);
        const int wanted = static_cast<int>(part.size());
        if (wanted >= kLeastWanted) Take(counts, wanted, kPartStrength, place, valid, of_parts_);
        AddCounts(counts, all);
      }
      Take(all, wanted_, threshold_, place, valid, candidates_);
      if (candidates_.size() > 2 * kCoarseKept) KeepBest();
    }
  }

  static void Take(const BitPlanes::Counts& counts, int wanted, double strength, const Place& first, int valid, std::vector<Candidate>& found) {
    const BitPlanes::Lanes lanes = AtLeast(counts, LeastAgreeing(strength, wanted));
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      for (std::uint64_t left = lanes[lane]; left != 0; left &= left - 1) {
        const int i = static_cast<int>(64 * lane) + std::countr_zero(left);
        if (i >= valid) return;
        found.push_back({.strength = Strength(CountAt(counts, i), wanted), .place = {first.segment, first.word + i, first.phase}});
      }
    }
  }

  void KeepBest() {
    std::nth_element(candidates_.begin(), candidates_.begin() + kCoarseKept - 1, candidates_.end(), std::greater<>());
    candidates_.resize(kCoarseKept);
    threshold_ = std::max(threshold_, candidates_.back().strength);
  }

  const std::vector<Segment>& segments_;
  int bits_per_part_;
  std::vector<std::vector<WantedBit>> parts_;
  int wanted_ = 0;  // of all parts
  double threshold_ = kLeastCoarse;
  std::vector<Candidate> candidates_;
  std::vector<Candidate> of_parts_;
};

void FingerprintIndex::Add(int track, std::int64_t first_word, std::span<const std::uint64_t> words) {
  if (segments_.empty() || segments_.back().track != track ||
      segments_.back().first_word + static_cast<std::int64_t>(segments_.back().words.size()) != first_word) {
    segments_.push_back({.track = track, .first_word = first_word, .words = {}, .planes = {}});
  }
  Segment& to = segments_.back();
  to.words.insert(to.words.end(), words.begin(), words.end());
  to.planes.Append(words);
}

std::int64_t FingerprintIndex::num_words() const {
  std::int64_t sum = 0;
  for (const Segment& segment : segments_) sum += static_cast<std::int64_t>(segment.words.size());
  return sum;
}

// The best places, by all bits that count.
class FingerprintIndex::FineSearch {
 public:
  FineSearch(const std::vector<Segment>& segments, const ClipFingerprint& clip) : segments_(segments), clip_(clip) {
    for (const auto& words : clip.phases) {
      masked_.push_back({0});
      for (std::size_t w = 0; w < words.size(); w += kPartWords) {
        double bits = 0;
        for (std::size_t j = w; j < std::min(words.size(), w + kPartWords); ++j) bits += std::popcount(words[j].mask);
        masked_.back().push_back(masked_.back().back() + bits);
      }
    }
  }

  // The strongest run of parts.
  Candidate FitAt(const Place& place) {
    const auto phase = static_cast<std::size_t>(place.phase);
    const auto& words = clip_.phases[phase];
    const auto& masked = masked_[phase];
    const std::uint64_t* const there = segments_[place.segment].words.data() + place.word;
    excess_.assign(1, 0);
    for (std::size_t w = 0; w < words.size(); w += kPartWords) {
      const int wrong = CountWrong(there + w, words.data() + w, std::min(words.size() - w, kPartWords));
      const std::size_t part = excess_.size() - 1;
      excess_.push_back(excess_.back() + masked[part + 1] - masked[part] - 2.0 * wrong);
    }
    Candidate best{.place = place};
    for (std::size_t from = 0; from < masked.size(); ++from) {
      for (std::size_t to = from + 1; to < masked.size(); ++to) {
        const double bits = masked[to] - masked[from];
        if (bits < kLeastMaskedBits) continue;
        const double strength = (excess_[to] - excess_[from]) / std::sqrt(bits);
        if (strength > best.strength) best = {strength, place, from * kPartWords, std::min(words.size(), to * kPartWords)};
      }
    }
    return best;
  }

  // The best of all phases and the places next to a candidate's.
  Candidate Refine(const Candidate& candidate) {
    const auto num_words = static_cast<std::int64_t>(segments_[candidate.place.segment].words.size());
    Candidate best = candidate;
    for (std::size_t phase = 0; phase < clip_.phases.size(); ++phase) {
      for (std::int64_t word = candidate.place.word - 1; word <= candidate.place.word + 1; ++word) {
        if (word < 0 || word + static_cast<std::int64_t>(clip_.phases[phase].size()) > num_words) continue;
        const Candidate there = FitAt({candidate.place.segment, word, static_cast<int>(phase)});
        if (there > best) best = there;
      }
    }
    return best;
  }

 private:
  const std::vector<Segment>& segments_;
  const ClipFingerprint& clip_;
  std::vector<std::vector<double>> masked_;  // [phase][part]: bits that count before it
  std::vector<double> excess_;               // [part]: how many more agree than differ before it
};

std::vector<FingerprintIndex::Match> FingerprintIndex::Search(const ClipFingerprint& clip, int most, int most_per_track, int bits_per_second) const {
  std::vector<Candidate> candidates = CoarseSearch(segments_, bits_per_second).Run(clip);
  FineSearch fine(segments_, clip);
  for (Candidate& candidate : candidates) candidate = fine.FitAt(candidate.place);
  if (candidates.size() > kFineKept) {
    std::nth_element(candidates.begin(), candidates.begin() + kFineKept - 1, candidates.end(), std::greater<>());
    candidates.resize(kFineKept);
  }
  for (Candidate& candidate : candidates) candidate = fine.Refine(candidate);
  std::sort(candidates.begin(), candidates.end(), std::greater<>());
  std::vector<Match> matches;
  std::map<int, int> of_track;
  for (const Candidate& candidate : candidates) {
    const Segment& segment = segments_[candidate.place.segment];
    const double offset_s = clip.PhaseOffset(candidate.place.phase);
    const Match match{.track = segment.track,
                      .stream_s = static_cast<double>(segment.first_word + candidate.place.word) * kFingerprintWordS - offset_s,
                      .strength = candidate.strength,
                      .from_s = static_cast<double>(candidate.first_word) * kFingerprintWordS,
                      .to_s = static_cast<double>(candidate.end_word) * kFingerprintWordS + offset_s};
    const bool near = std::any_of(matches.begin(), matches.end(), [&](const Match& other) {
      return other.track == match.track && std::abs(other.stream_s - match.stream_s) < 1;
    });
    if (near || of_track[match.track] >= most_per_track || match.strength <= 0) continue;
    ++of_track[match.track];
    matches.push_back(match);
    if (static_cast<int>(matches.size()) >= most) break;
  }
  return matches;
}

}  // namespace earmark
