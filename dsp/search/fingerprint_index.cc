#include "dsp/search/fingerprint_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <map>

namespace earmark {
namespace {

constexpr std::size_t kBlock = 512;  // places at a time: their words and counts stay in the first-level cache

// disagreements[i] = masked bits in which the clip, laid at words[i], differs. Compiled for several instruction sets, chosen at start.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
__attribute__((target_clones("arch=icelake-server", "popcnt", "default")))
#endif
void CountDisagreements(const std::uint64_t* words, const ClipWord* clip, std::size_t clip_words, std::size_t places,
                        std::uint64_t* disagreements) {
  std::fill(disagreements, disagreements + places, std::uint64_t{0});
  for (std::size_t j = 0; j < clip_words; ++j) {
    const std::uint64_t bits = clip[j].bits;
    const std::uint64_t mask = clip[j].mask;
    const std::uint64_t* at = words + j;
    for (std::size_t i = 0; i < places; ++i) {
      disagreements[i] += static_cast<std::uint64_t>(__builtin_popcountll((at[i] ^ bits) & mask));
    }
  }
}

struct Candidate {
  double strength;
  std::size_t segment;
  std::int64_t place;  // word within the segment
  int phase;
};

}  // namespace

void FingerprintIndex::Add(int track, std::int64_t first_word, std::span<const std::uint64_t> words) {
  if (segments_.empty() || segments_.back().track != track ||
      segments_.back().first_word + static_cast<std::int64_t>(segments_.back().words.size()) != first_word) {
    segments_.push_back({.track = track, .first_word = first_word, .words = {}});
  }
  auto& to = segments_.back().words;
  to.insert(to.end(), words.begin(), words.end());
}

std::int64_t FingerprintIndex::num_words() const {
  std::int64_t sum = 0;
  for (const Segment& segment : segments_) sum += static_cast<std::int64_t>(segment.words.size());
  return sum;
}

std::vector<FingerprintIndex::Match> FingerprintIndex::Search(const ClipFingerprint& clip, int most, int most_per_track) const {
  // The best of every half-block and phase is enough: candidates closer than a second are one match anyway.
  constexpr std::size_t kKept = 4096;
  std::vector<Candidate> candidates;
  std::array<std::uint64_t, kBlock> disagreements{};
  double threshold = 2.5;
  const auto stronger = [](const Candidate& a, const Candidate& b) { return a.strength > b.strength; };
  for (std::size_t phase = 0; phase < clip.phases.size(); ++phase) {
    const auto& words = clip.phases[phase];
    double masked = 0;
    for (const ClipWord& word : words) masked += std::popcount(word.mask);
    if (words.empty() || masked < 64) continue;
    const double scale = 1 / std::sqrt(masked);
    for (std::size_t s = 0; s < segments_.size(); ++s) {
      const Segment& segment = segments_[s];
      if (segment.words.size() < words.size()) continue;
      const std::size_t places = segment.words.size() - words.size() + 1;
      for (std::size_t first = 0; first < places; first += kBlock) {
        const std::size_t count = std::min(kBlock, places - first);
        CountDisagreements(segment.words.data() + first, words.data(), words.size(), count, disagreements.data());
        const auto fewest = static_cast<std::uint64_t>(std::max(0.0, (masked - threshold / scale) / 2));
        for (std::size_t i = 0; i < count; ++i) {
          if (disagreements[i] > fewest) continue;
          candidates.push_back({.strength = (masked - 2 * static_cast<double>(disagreements[i])) * scale,
                                .segment = s,
                                .place = static_cast<std::int64_t>(first + i),
                                .phase = static_cast<int>(phase)});
        }
        if (candidates.size() > 2 * kKept) {
          std::nth_element(candidates.begin(), candidates.begin() + kKept, candidates.end(), stronger);
          candidates.resize(kKept);
          threshold = std::max(threshold, std::min_element(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
                                            return a.strength < b.strength;
                                          })->strength);
        }
      }
    }
  }
  std::sort(candidates.begin(), candidates.end(), stronger);
  std::vector<Match> matches;
  std::map<int, int> of_track;
  for (const Candidate& candidate : candidates) {
    const Segment& segment = segments_[candidate.segment];
    const Match match{.track = segment.track,
                      .stream_s = static_cast<double>(segment.first_word + candidate.place) * kFingerprintWordS - clip.PhaseOffset(candidate.phase),
                      .strength = candidate.strength};
    const bool near = std::any_of(matches.begin(), matches.end(), [&](const Match& other) {
      return other.track == match.track && std::abs(other.stream_s - match.stream_s) < 1;
    });
    if (near || of_track[match.track] >= most_per_track) continue;
    ++of_track[match.track];
    matches.push_back(match);
    if (static_cast<int>(matches.size()) >= most) break;
  }
  return matches;
}

}  // namespace earmark
