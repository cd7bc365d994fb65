// Finding a stretch of clip in the fingerprints of all streams, by comparing it with every place.
//
// Brute force is the design: 100 bytes a second of stream, one AND, XOR and popcount a word; robust because every reliable bit of the clip counts, and
// its cost is known: linear in the stored hours (earmark_bench prints it). Two of the eight phases are compared everywhere, the others where those fit best.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dsp/search/fingerprint.h"

namespace earmark {

class FingerprintIndex {
 public:
  // Adds words of a track (any number a caller gives to a stream's source). Words of one track come in order; a gap starts a new segment.
  void Add(int track, std::int64_t first_word, std::span<const std::uint64_t> words);

  struct Match {
    int track = 0;
    double stream_s = 0;  // stream time of the clip stretch's start, to about 10 ms
    double strength = 0;  // standard deviations above chance, were bits independent
  };
  // The strongest matches, strongest first, at most one for every second of one track and at most `most_per_track` of a track.
  // Thread-safe while nothing is added.
  std::vector<Match> Search(const ClipFingerprint& clip, int most, int most_per_track) const;

  std::int64_t num_words() const;

 private:
  struct Segment {
    int track = 0;
    std::int64_t first_word = 0;
    std::vector<std::uint64_t> words;
  };
  // One place of one segment, and how well the clip fits there.
  struct Candidate {
    double strength;
    std::size_t segment;
    std::int64_t place;  // word within the segment
    int phase;
    bool operator>(const Candidate& other) const { return strength > other.strength; }
  };
  std::vector<Candidate> SearchCoarsely(const ClipFingerprint& clip) const;
  Candidate Refine(const Candidate& candidate, const ClipFingerprint& clip) const;

  std::vector<Segment> segments_;
};

}  // namespace earmark
