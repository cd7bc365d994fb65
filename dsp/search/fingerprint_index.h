// Finding a stretch of clip in the fingerprints of all streams, by comparing it with every place.
//
// Brute force is the design: 100 bytes a second of stream; robust because every reliable bit of the clip counts, and its cost is
// known: linear in the stored hours (earmark_bench prints it).
//
//   everywhere        two of the eight phases, the clip's strongest bits, 256 places at once (bit_planes.h); counted for each
//                     second of the clip and in all
//   the best places   all bits that count, all phases, the places next to it; the run of seconds that fits best
//
// A place is found by what fits there, be it the whole stretch or one second of it: clips that were cut and joined match nothing
// as a whole.
//
// The words of all streams stand one behind the other, in blocks of half a million; blocks never change, so copies of an index
// share them: one that grows beside searches in another is made by copying it and adding to the copy.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "dsp/search/bit_planes.h"
#include "dsp/search/fingerprint.h"

namespace earmark {

class FingerprintIndex {
 public:
  // Adds words of a source (any number that a caller gives it). Words of one source come in order; a gap starts a new
  // segment. Sources may grow in turns: where others came in between, the last words are kept twice, so that a clip of up to
  // kJointWords is found across the joint as anywhere else.
  void Add(int source, std::int64_t first_word, std::span<const std::uint64_t> words);
  // Nothing is found in this source any more. Its words stay, and are counted by num_lost_words.
  void Remove(int source);
  // Makes what was added findable. More may be added afterwards, and finished again.
  void Finish();
  static constexpr std::int64_t kJointWords = 64;  // 5.1 s

  struct Match {
    int source = 0;
    double stream_s = 0;  // stream time of the clip stretch's start, to about 10 ms
    double strength = 0;  // standard deviations above chance, were bits independent …
    double from_s = 0;    // … of this part of the stretch, which fits best
    double to_s = 0;
  };
  // How many of the clip's strongest bits are compared everywhere, for each second of it: what a search costs, and how weak a
  // match may be that it still finds.
  static constexpr int kThoroughBits = 176;
  static constexpr int kQuickBits = 88;
  // The strongest matches, strongest first, at most one for every second of one source and at most `max_per_source` of a source. Of
  // clips longer than 20 s only so much is compared. Thread-safe while nothing is added.
  std::vector<Match> Search(const ClipFingerprint& clip, int max, int max_per_source, int bits_per_second = kThoroughBits) const;

  std::int64_t num_words() const { return num_words_; }
  // Of these, how many are searched in vain.
  std::int64_t num_lost_words() const { return num_lost_words_; }

 private:
  struct Segment {
    int source = 0;
    std::int64_t first_word = 0;  // of the source
    std::int64_t begin = 0;       // where its words stand among all
    std::int64_t end = 0;
  };
  struct Block {
    Block(std::int64_t begin_in, std::vector<std::uint64_t> words_in, std::int64_t num_places)
        : begin(begin_in), words(std::move(words_in)), planes(words, num_places) {}
    std::int64_t begin;
    std::vector<std::uint64_t> words;  // kReach more than places, where there are as many
    BitPlanes planes;
  };
  static constexpr std::int64_t kBlockWords = std::int64_t{1} << 19;

  // A place among all words where the clip is laid in one of its phases.
  struct Place {
    std::int64_t word = 0;
    int phase = 0;
  };
  // How well the clip fits there.
  struct Candidate {
    double strength = 0;
    Place place;
    std::size_t first_word = 0;  // of the clip: the run that fits best
    std::size_t end_word = 0;
    bool operator>(const Candidate& other) const { return strength > other.strength; }
  };
  class CoarseSearch;
  class FineSearch;

  void AddBlock(std::int64_t num_places);
  void Append(std::span<const std::uint64_t> words);
  std::vector<std::uint64_t> LastWordsOf(const Segment& segment) const;
  // The segment that holds `num_words` words from there on; null if none does.
  const Segment* SegmentAt(std::int64_t word, std::size_t num_words) const;
  const std::uint64_t* WordsAt(std::int64_t word) const;  // kReach of them, as far as there are any

  std::vector<Segment> segments_;             // by place
  std::map<int, std::size_t> last_segments_;  // [source]: of segments_, the one that its next words may go on with
  std::vector<std::shared_ptr<const Block>> blocks_;
  std::int64_t num_words_ = 0;
  std::int64_t num_lost_words_ = 0;
  std::int64_t num_whole_ = 0;       // blocks that will not change any more
  std::vector<std::uint64_t> open_;  // the words behind them
};

}  // namespace earmark
