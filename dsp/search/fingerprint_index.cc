#include "dsp/search/fingerprint_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <map>

namespace earmark {
namespace {

constexpr double kLeastMaskedBits = 64;  // fewer tell nothing
constexpr std::size_t kBlock = 512;  // places at a time: their words and counts stay in the first-level cache

// disagreements[i] = masked bits in which the clip, laid at words[i], differs.
inline __attribute__((always_inline)) void CountInline(const std::uint64_t* words, const ClipWord* clip, std::size_t clip_words,
                                                       std::size_t places, std::uint64_t* disagreements) {
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

using CountFunction = void (*)(const std::uint64_t*, const ClipWord*, std::size_t, std::size_t, std::uint64_t*);

void CountPlain(const std::uint64_t* words, const ClipWord* clip, std::size_t clip_words, std::size_t places, std::uint64_t* disagreements) {
  CountInline(words, clip, clip_words, places, disagreements);
}

#if defined(__x86_64__)
// The same loop, for processors that count bits in whole vectors, and for those that have at least an instruction for it.
__attribute__((target("avx512f,avx512vl,avx512bw,avx512vpopcntdq,popcnt"))) void CountVector(const std::uint64_t* words, const ClipWord* clip,
                                                                                             std::size_t clip_words, std::size_t places,
                                                                                             std::uint64_t* disagreements) {
  CountInline(words, clip, clip_words, places, disagreements);
}
__attribute__((target("popcnt"))) void CountScalar(const std::uint64_t* words, const ClipWord* clip, std::size_t clip_words, std::size_t places,
                                                   std::uint64_t* disagreements) {
  CountInline(words, clip, clip_words, places, disagreements);
}
#endif

CountFunction ChooseCount() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vpopcntdq") != 0 && __builtin_cpu_supports("avx512bw") != 0) return CountVector;
  if (__builtin_cpu_supports("popcnt") != 0) return CountScalar;
#endif
  return CountPlain;
}

double MaskedBits(const std::vector<ClipWord>& words) {
  double bits = 0;
  for (const ClipWord& word : words) bits += std::popcount(word.mask);
  return bits;
}

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

// All places at every fourth phase; neighbouring phases look nearly alike, so the right place stands out in one of these.
std::vector<FingerprintIndex::Candidate> FingerprintIndex::SearchCoarsely(const ClipFingerprint& clip) const {
  constexpr std::size_t kPhaseStep = 4;
  constexpr std::size_t kKept = 2048;
  std::vector<Candidate> candidates;
  std::array<std::uint64_t, kBlock> disagreements{};
  static const CountFunction count_disagreements = ChooseCount();
  double threshold = 2.5;
  for (std::size_t phase = 0; phase < clip.phases.size(); phase += kPhaseStep) {
    const auto& words = clip.phases[phase];
    const double masked = MaskedBits(words);
    if (masked < kLeastMaskedBits) continue;
    const double scale = 1 / std::sqrt(masked);
    for (std::size_t s = 0; s < segments_.size(); ++s) {
      const Segment& segment = segments_[s];
      if (segment.words.size() < words.size()) continue;
      const std::size_t places = segment.words.size() - words.size() + 1;
      for (std::size_t first = 0; first < places; first += kBlock) {
        const std::size_t count = std::min(kBlock, places - first);
        count_disagreements(segment.words.data() + first, words.data(), words.size(), count, disagreements.data());
        const auto fewest = static_cast<std::uint64_t>(std::max(0.0, (masked - threshold / scale) / 2));
        for (std::size_t i = 0; i < count; ++i) {
          if (disagreements[i] > fewest) continue;
          candidates.push_back({.strength = (masked - 2 * static_cast<double>(disagreements[i])) * scale,
                                .segment = s,
                                .place = static_cast<std::int64_t>(first + i),
                                .phase = static_cast<int>(phase)});
        }
        if (candidates.size() > 2 * kKept) {
          std::nth_element(candidates.begin(), candidates.begin() + kKept - 1, candidates.end(), std::greater<>());
          candidates.resize(kKept);
          threshold = std::max(threshold, candidates.back().strength);
        }
      }
    }
  }
  return candidates;
}

// The best of all phases and the places next to a candidate's.
FingerprintIndex::Candidate FingerprintIndex::Refine(const Candidate& candidate, const ClipFingerprint& clip) const {
  const Segment& segment = segments_[candidate.segment];
  Candidate best = candidate;
  for (std::size_t phase = 0; phase < clip.phases.size(); ++phase) {
    const auto& words = clip.phases[phase];
    const double masked = MaskedBits(words);
    if (masked < kLeastMaskedBits) continue;
    for (std::int64_t place = candidate.place - 1; place <= candidate.place + 1; ++place) {
      if (place < 0 || place + static_cast<std::int64_t>(words.size()) > static_cast<std::int64_t>(segment.words.size())) continue;
      int disagreements = 0;
      for (std::size_t j = 0; j < words.size(); ++j) {
        disagreements += std::popcount((segment.words[static_cast<std::size_t>(place) + j] ^ words[j].bits) & words[j].mask);
      }
      const double strength = (masked - 2.0 * disagreements) / std::sqrt(masked);
      if (strength > best.strength) best = {.strength = strength, .segment = candidate.segment, .place = place, .phase = static_cast<int>(phase)};
    }
  }
  return best;
}

std::vector<FingerprintIndex::Match> FingerprintIndex::Search(const ClipFingerprint& clip, int most, int most_per_track) const {
  std::vector<Candidate> candidates = SearchCoarsely(clip);
  for (Candidate& candidate : candidates) candidate = Refine(candidate, clip);
  std::sort(candidates.begin(), candidates.end(), std::greater<>());
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
