#include "dsp/search/fingerprint_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <map>

#include "dsp/search/differing_bits.h"

namespace earmark {
namespace {

constexpr std::size_t kPartWords = 12;  // a second, about: what is counted apart
constexpr int kMinWanted = 32;          // fewer tell nothing
constexpr double kMinMaskedBits = 64;   // the same of all that count
// of one part alone, from which on a place is looked at: chance gives a few such in a hundred hours
constexpr double kPartStrength = 5.5;
constexpr double kMinCoarse = 2;       // of all parts together
constexpr std::size_t kPhaseStep = 4;  // neighbouring phases look nearly alike, so the right place stands out in one of these
constexpr std::size_t kCoarseKept = 8192;
constexpr std::size_t kFineKept = 512;
// of a block's, that are compared with one part of the clip after the other while they are in the nearest caches
constexpr std::int64_t kRowsAtOnce = 32;

// What is compared of a clip.
std::span<const ClipWord> Compared(const std::vector<ClipWord>& words) {
  return std::span(words).first(std::min<std::size_t>(words.size(), BitPlanes::kReach));
}

int PartsOf(std::size_t num_words) { return static_cast<int>((num_words + kPartWords - 1) / kPartWords); }

// The strongest bits of each part, at most `max` of them, as even as can be.
std::vector<std::vector<WantedBit>> WantedBits(std::span<const ClipWord> words, int max) {
  std::vector<std::vector<WantedBit>> parts(static_cast<std::size_t>(PartsOf(words.size())));
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const std::size_t end = std::min(words.size(), (p + 1) * kPartWords);
    std::vector<WantedBit> strong;
    for (std::size_t w = p * kPartWords; w < end; ++w) {
      for (std::uint64_t left = words[w].strong; left != 0; left &= left - 1) {
        const int bit = std::countr_zero(left);
        strong.emplace_back(w, bit, (words[w].bits >> bit & 1) != 0);
      }
    }
    const auto count = std::min(strong.size(), static_cast<std::size_t>(max));
    for (std::size_t i = 0; i < count; ++i) parts[p].push_back(strong[i * strong.size() / count]);
  }
  return parts;
}

double Strength(int agreeing, int wanted) { return (2.0 * agreeing - wanted) / std::sqrt(static_cast<double>(wanted)); }

// The fewest agreeing bits that make up this strength.
int MinAgreeing(double strength, int wanted) {
  return static_cast<int>(std::ceil((wanted + strength * std::sqrt(static_cast<double>(wanted))) / 2));
}

}  // namespace

// All places, by the strongest bits.
class FingerprintIndex::CoarseSearch {
 public:
  CoarseSearch(const FingerprintIndex& index, const ClipFingerprint& clip, int bits_per_part) : index_(index) {
    for (std::size_t phase = 0; phase < clip.phases.size(); phase += kPhaseStep) {
      const auto words = Compared(clip.phases[phase]);
      const int parts = std::max(1, PartsOf(words.size()));
      Wanted wanted{.phase = static_cast<int>(phase),
                    .num_words = words.size(),
                    .parts = WantedBits(words, std::min(bits_per_part, BitPlanes::kMaxCount / parts))};
      for (const auto& part : wanted.parts) wanted.all += static_cast<int>(part.size());
      if (wanted.all >= kMinWanted) wanted_.push_back(std::move(wanted));
    }
  }

  std::vector<Candidate> Run() {
    for (const auto& block : index_.blocks_) {
      for (std::int64_t row = 0; row < block->planes.num_rows(); row += kRowsAtOnce) {
        for (const Wanted& wanted : wanted_)
          SearchRows(*block, row, std::min(block->planes.num_rows(), row + kRowsAtOnce), wanted);
      }
    }
    candidates_.insert(candidates_.end(), of_parts_.begin(), of_parts_.end());
    return std::move(candidates_);
  }

 private:
  struct Wanted {
    int phase = 0;
    std::size_t num_words = 0;
    std::vector<std::vector<WantedBit>> parts;
    int all = 0;  // bits of all parts
  };

  void SearchRows(const Block& block, std::int64_t first, std::int64_t end, const Wanted& wanted) {
    std::array<BitPlanes::Counts, kRowsAtOnce> all{};
    for (const auto& part : wanted.parts) {
      const int size = static_cast<int>(part.size());
      for (std::int64_t row = first; row < end; ++row) {
        const BitPlanes::Counts counts = block.planes.CountAgreeing(row, part);
        if (size >= kMinWanted) Take(counts, size, kPartStrength, block, row, wanted, of_parts_);
        AddCounts(counts, all[static_cast<std::size_t>(row - first)]);
      }
    }
    for (std::int64_t row = first; row < end; ++row) {
      Take(all[static_cast<std::size_t>(row - first)], wanted.all, threshold_, block, row, wanted, candidates_);
      if (candidates_.size() > 2 * kCoarseKept) KeepBest();
    }
  }

  void Take(const BitPlanes::Counts& counts, int num_bits, double strength, const Block& block, std::int64_t row,
            const Wanted& wanted, std::vector<Candidate>& found) const {
    const BitPlanes::Lanes lanes = AtLeast(counts, MinAgreeing(strength, num_bits));
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      for (std::uint64_t left = lanes[lane]; left != 0; left &= left - 1) {
        const int column = static_cast<int>(64 * lane) + std::countr_zero(left);
        const std::int64_t word = block.begin + block.planes.PlaceOf(row, column);
        if (index_.SegmentAt(word, wanted.num_words) == nullptr) continue;
        found.push_back({.strength = Strength(CountAt(counts, column), num_bits), .place = {word, wanted.phase}});
      }
    }
  }

  void KeepBest() {
    std::nth_element(candidates_.begin(), candidates_.begin() + kCoarseKept - 1, candidates_.end(), std::greater<>());
    candidates_.resize(kCoarseKept);
    threshold_ = std::max(threshold_, candidates_.back().strength);
  }

  const FingerprintIndex& index_;
  std::vector<Wanted> wanted_;  // of each phase that is compared
  double threshold_ = kMinCoarse;
  std::vector<Candidate> candidates_;
  std::vector<Candidate> of_parts_;
};

void FingerprintIndex::Add(int source, std::int64_t first_word, std::span<const std::uint64_t> words) {
  const auto known = last_segments_.find(source);
  const Segment* const last = known == last_segments_.end() ? nullptr : &segments_[known->second];
  const bool goes_on = last != nullptr && last->first_word + last->end - last->begin == first_word;
  if (!goes_on || last->end != num_words_) {
    const std::vector<std::uint64_t> before = goes_on ? LastWordsOf(*last) : std::vector<std::uint64_t>();
    const auto num_before = static_cast<std::int64_t>(before.size());
    last_segments_[source] = segments_.size();
    segments_.push_back({.source = source, .first_word = first_word - num_before, .begin = num_words_, .end = num_words_});
    Append(before);
  }
  Append(words);
}

// To the last segment.
void FingerprintIndex::Append(std::span<const std::uint64_t> words) {
  num_words_ += static_cast<std::int64_t>(words.size());
  segments_.back().end = num_words_;
  open_.insert(open_.end(), words.begin(), words.end());
  while (static_cast<std::int64_t>(open_.size()) >= kBlockWords + BitPlanes::kReach) {
    AddBlock(kBlockWords);
    ++num_whole_;
    open_.erase(open_.begin(), open_.begin() + kBlockWords);
  }
}

std::vector<std::uint64_t> FingerprintIndex::LastWordsOf(const Segment& segment) const {
  std::vector<std::uint64_t> words;
  for (std::int64_t at = std::max(segment.begin, segment.end - kJointWords); at < segment.end; ++at) {
    const std::int64_t in_open = at - num_whole_ * kBlockWords;
    words.push_back(in_open >= 0 ? open_[static_cast<std::size_t>(in_open)] : *WordsAt(at));
  }
  return words;
}

void FingerprintIndex::Remove(int source) {
  for (const Segment& segment : segments_) num_lost_words_ += segment.source == source ? segment.end - segment.begin : 0;
  std::erase_if(segments_, [&](const Segment& segment) { return segment.source == source; });
  last_segments_.clear();
  for (std::size_t i = 0; i < segments_.size(); ++i) last_segments_[segments_[i].source] = i;
}

void FingerprintIndex::Finish() {
  if (!open_.empty()) AddBlock(static_cast<std::int64_t>(open_.size()));
}

void FingerprintIndex::AddBlock(std::int64_t num_places) {
  blocks_.resize(static_cast<std::size_t>(num_whole_));
  const auto count = std::min(open_.size(), static_cast<std::size_t>(num_places) + BitPlanes::kReach);
  blocks_.push_back(std::make_shared<const Block>(
      num_whole_ * kBlockWords, std::vector(open_.begin(), open_.begin() + static_cast<std::ptrdiff_t>(count)), num_places));
}

const FingerprintIndex::Segment* FingerprintIndex::SegmentAt(std::int64_t word, std::size_t num_words) const {
  const auto behind = std::upper_bound(segments_.begin(), segments_.end(), word,
                                       [](std::int64_t at, const Segment& segment) { return at < segment.begin; });
  if (behind == segments_.begin()) return nullptr;
  const Segment& segment = *std::prev(behind);
  return word + static_cast<std::int64_t>(num_words) <= segment.end ? &segment : nullptr;
}

const std::uint64_t* FingerprintIndex::WordsAt(std::int64_t word) const {
  const Block& block = *blocks_[std::min(blocks_.size() - 1, static_cast<std::size_t>(word / kBlockWords))];
  return block.words.data() + (word - block.begin);
}

// The best places, by all bits that count.
class FingerprintIndex::FineSearch {
 public:
  FineSearch(const FingerprintIndex& index, const ClipFingerprint& clip) : index_(index), clip_(clip) {
    for (const auto& phase : clip.phases) {
      const auto words = Compared(phase);
      bits_.emplace_back();
      masks_.emplace_back();
      masked_.push_back({0});
      for (std::size_t w = 0; w < words.size(); w += kPartWords) {
        double bits = 0;
        for (std::size_t j = w; j < std::min(words.size(), w + kPartWords); ++j) {
          bits_.back().push_back(words[j].bits);
          masks_.back().push_back(words[j].mask);
          bits += std::popcount(words[j].mask);
        }
        masked_.back().push_back(masked_.back().back() + bits);
      }
    }
  }

  // The strongest run of parts.
  Candidate FitAt(const Place& place) {
    const auto phase = static_cast<std::size_t>(place.phase);
    const std::size_t num_words = bits_[phase].size();
    const auto& masked = masked_[phase];
    const std::uint64_t* const there = index_.WordsAt(place.word);
    excess_.assign(1, 0);
    for (std::size_t w = 0; w < num_words; w += kPartWords) {
      const int wrong =
          CountDiffering(there + w, bits_[phase].data() + w, masks_[phase].data() + w, std::min(num_words - w, kPartWords));
      const std::size_t part = excess_.size() - 1;
      excess_.push_back(excess_.back() + masked[part + 1] - masked[part] - 2.0 * wrong);
    }
    Candidate best{.place = place};
    for (std::size_t from = 0; from < masked.size(); ++from) {
      for (std::size_t to = from + 1; to < masked.size(); ++to) {
        const double bits = masked[to] - masked[from];
        if (bits < kMinMaskedBits) continue;
        const double strength = (excess_[to] - excess_[from]) / std::sqrt(bits);
        if (strength > best.strength) best = {strength, place, from * kPartWords, std::min(num_words, to * kPartWords)};
      }
    }
    return best;
  }

  // The best of all phases and the places next to a candidate's.
  Candidate Refine(const Candidate& candidate) {
    const Segment* const segment =
        index_.SegmentAt(candidate.place.word, Compared(clip_.phases[static_cast<std::size_t>(candidate.place.phase)]).size());
    Candidate best = candidate;
    for (std::size_t phase = 0; phase < clip_.phases.size(); ++phase) {
      for (std::int64_t word = candidate.place.word - 1; word <= candidate.place.word + 1; ++word) {
        if (word < segment->begin || word + static_cast<std::int64_t>(Compared(clip_.phases[phase]).size()) > segment->end)
          continue;
        const Candidate there = FitAt({word, static_cast<int>(phase)});
        if (there > best) best = there;
      }
    }
    return best;
  }

 private:
  const FingerprintIndex& index_;
  const ClipFingerprint& clip_;
  std::vector<std::vector<std::uint64_t>> bits_;   // [phase][word]
  std::vector<std::vector<std::uint64_t>> masks_;  // [phase][word]: those that count
  std::vector<std::vector<double>> masked_;        // [phase][part]: bits that count before it
  std::vector<double> excess_;                     // [part]: how many more agree than differ before it
};

std::vector<FingerprintIndex::Match> FingerprintIndex::Search(const ClipFingerprint& clip, int max, int max_per_source,
                                                              int bits_per_second) const {
  std::vector<Candidate> candidates = CoarseSearch(*this, clip, bits_per_second).Run();
  FineSearch fine(*this, clip);
  for (Candidate& candidate : candidates) candidate = fine.FitAt(candidate.place);
  if (candidates.size() > kFineKept) {
    std::nth_element(candidates.begin(), candidates.begin() + kFineKept - 1, candidates.end(), std::greater<>());
    candidates.resize(kFineKept);
  }
  for (Candidate& candidate : candidates) candidate = fine.Refine(candidate);
  std::sort(candidates.begin(), candidates.end(), std::greater<>());
  std::vector<Match> matches;
  std::map<int, int> of_source;
  for (const Candidate& candidate : candidates) {
    const Segment& segment = *SegmentAt(candidate.place.word, 0);
    const double offset_s = clip.PhaseOffset(candidate.place.phase);
    const Match match{
        .source = segment.source,
        .stream_s = static_cast<double>(segment.first_word + candidate.place.word - segment.begin) * kFingerprintWordS - offset_s,
        .strength = candidate.strength,
        .from_s = static_cast<double>(candidate.first_word) * kFingerprintWordS,
        .to_s = static_cast<double>(candidate.end_word) * kFingerprintWordS + offset_s};
    const bool near = std::any_of(matches.begin(), matches.end(), [&](const Match& other) {
      return other.source == match.source && std::abs(other.stream_s - match.stream_s) < 1;
    });
    if (near || of_source[match.source] >= max_per_source || match.strength <= 0) continue;
    ++of_source[match.source];
    matches.push_back(match);
    if (static_cast<int>(matches.size()) >= max) break;
  }
  return matches;
}

}  // namespace earmark
