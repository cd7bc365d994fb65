// Finding a stretch of clip in the fingerprints of all streams, by comparing it with every place.
//
// Brute force is the design: 100 bytes a second of stream; robust because every reliable bit of the clip counts, and its cost is known: linear in the stored
// hours (earmark_bench prints it).
//
//   everywhere        two of the eight phases, the clip's strongest bits, 256 places at once (bit_planes.h); counted for each second of the clip and in all
//   the best places   all bits that count, all phases, the places next to it; the run of seconds that fits best
//
// A place is found by what fits there, be it the whole stretch or one second of it: clips that were cut and joined match nothing as a whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dsp/search/bit_planes.h"
#include "dsp/search/fingerprint.h"

namespace earmark {

class FingerprintIndex {
 public:
  // Adds words of a track (any number a caller gives to a stream's source). Words of one track come in order; a gap starts a new segment.
  void Add(int track, std::int64_t first_word, std::span<const std::uint64_t> words);

  struct Match {
    int track = 0;
    double stream_s = 0;  // stream time of the clip stretch's start, to about 10 ms
    double strength = 0;  // standard deviations above chance, were bits independent …
    double from_s = 0;    // … of this part of the stretch, which fits best
    double to_s = 0;
  };
  // How many of the clip's strongest bits are compared everywhere, for each second of it: what a search costs, and how weak a match may be that it still finds.
  static constexpr int kThoroughBits = 175;
  static constexpr int kQuickBits = 84;
  // The strongest matches, strongest first, at most one for every second of one track and at most `most_per_track` of a track.
  // Thread-safe while nothing is added.
  std::vector<Match> Search(const ClipFingerprint& clip, int most, int most_per_track, int bits_per_second = kThoroughBits) const;

  std::int64_t num_words() const;

 private:
  struct Segment {
    int track = 0;
    std::int64_t first_word = 0;
    std::vector<std::uint64_t> words;
    BitPlanes planes;
  };
  // A place of one segment where the clip is laid in one of its phases.
  struct Place {
    std::size_t segment = 0;
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

  std::vector<Segment> segments_;
};

}  // namespace earmark
