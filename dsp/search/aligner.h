// Laying a clip on a stream's clock, to a fraction of a sample.
//
// The search (fingerprint_index.h) says roughly where: stream time at some moment of the clip, to a few tens of milliseconds. The aligner
// compares waveforms. All correlations are phase-only (GCC-PHAT, Knapp and Carter 1976) over 200-6,000 Hz, in overlapping blocks of half a
// second:
//
//   clip     |--block 0--|
//                  |--block 1--|                     each block against the stream around where the line
//                        |--block 2--|   …           stream = start + speed · clip puts it: ±60 ms to verify, ±0.6 s to follow
//
//   1. speed: a grid in steps of 0.2 %, the clip resampled for each, and within a step straight lines through the blocks' correlations (a
//      Hough sum) for what remains; taken at the strongest line.
//   2. follow: the best path through the blocks' lags (Viterbi), on which staying is free and jumping costs; each block is looked for around where the
//      path has come to, so that losses that close up again and again are followed. Its straight stretches are the pieces.
//   3. refine: for every piece the correlations along the line are summed and the line is moved and tilted until the sum peaks.
//
// Nothing here knows a key or a code.
#pragma once

#include <complex>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "dsp/core/result.h"

namespace earmark {

// Clip time to stream time: stream = stream_start_s + (clip - clip_start_s) · speed, on [clip_start_s, clip_end_s).
struct Alignment {
  double clip_start_s = 0;
  double clip_end_s = 0;
  double stream_start_s = 0;
  double speed = 1;
  // how far the correlation stands above what chance gives, in standard deviations; no block adds more than 6
  double strength = 0;
  double sharpness = 0;  // the same without that limit: tells the true place from exact repeats of the same sound elsewhere
  float polarity = 1;    // -1: the clip is the stream turned upside down

  double StreamTime(double clip_s) const { return stream_start_s + (clip_s - clip_start_s) * speed; }
  double stream_end_s() const { return StreamTime(clip_end_s); }
};

// Strength grows with the root of the length; this does not.
double FirmnessOf(const Alignment& alignment);
// Next to another of the same clip so much weaker that it may be no place of its own, but an echo: the same word said again, the same note played again.
bool IsEchoNextTo(double firmness, double other_firmness);

// One variant's sound for [start_s, end_s) of stream time, mono at kDetectRateHz; cut where the stream begins or ends. `first_sample`: where it starts.
struct StreamAudio {
  std::int64_t first_sample = 0;
  std::vector<float> samples;
};
using StreamAudioLoader = std::function<Result<StreamAudio>(double start_s, double end_s)>;

class BlockCorrelator;

class Aligner {
 public:
  // `clip`: mono at kDetectRateHz; kept by reference.
  explicit Aligner(std::span<const float> clip) : clip_(clip) {}

  // A stretch of the clip, to be compared with many places: what can be computed of it alone is computed once. Lives no longer than the clip.
  class Stretch {
   public:
    Stretch(std::span<const float> clip, double start_s, double end_s);
    Stretch(Stretch&& other) noexcept;
    ~Stretch();
    double start_s() const { return start_s_; }
    double end_s() const { return end_s_; }

   private:
    friend class Aligner;
    const std::vector<std::vector<std::complex<float>>>& PhasesAt(int speed_step);
    // The strongest straight line near this speed, accepted or not.
    Alignment StrongestAt(int speed_step, double stream_start_s, const StreamAudio& stream);
    // The strongest line through two or three blocks that follow each other, if it is beyond chance.
    std::optional<Alignment> StrongestRun(double stream_start_s, const StreamAudio& stream);

    std::span<const float> clip_;
    double start_s_;
    double end_s_;
    std::unique_ptr<BlockCorrelator> correlator_;
    std::map<int, std::vector<std::vector<std::complex<float>>>> phases_;  // [speed step][block]
  };
  Stretch Prepare(double start_s, double end_s) const { return Stretch(clip_, start_s, end_s); }

  // Tests by waveform whether the stretch lies at stream_start_s of the stream, give or take 50 ms; nullopt if it is not that part of it. Speeds up to 0.12 % off are
  // always seen, with `all_speeds` up to 1 %; of what is accepted the speed is then followed to the sharpest. With `all_speeds` a stretch that lies there only in part,
  // as where something is left out every half second, is accepted by that part, and the alignment is of it alone.
  static Result<std::optional<Alignment>> Verify(Stretch& stretch, double stream_start_s, bool all_speeds,
                                                 const StreamAudioLoader& load);
  // Follows a verified alignment through [clip_start_s, clip_end_s) of the clip, over drift, jumps and holes. Pieces in clip order, none
  // overlapping in clip time.
  Result<std::vector<Alignment>> Follow(const Alignment& seed, double clip_start_s, double clip_end_s,
                                        const StreamAudioLoader& load) const;

  // Of two pieces that follow each other, whose ends are known to a quarter of a second: moves the end of one and the start of the other to where the clip goes over. What may
  // be an echo of the other only gets what that leaves.
  Result<void> Cut(Alignment& before, const StreamAudioLoader& load_before, Alignment& after,
                   const StreamAudioLoader& load_after) const;

 private:
  std::span<const float> clip_;
};

}  // namespace earmark
