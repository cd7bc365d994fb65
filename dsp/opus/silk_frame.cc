#include "dsp/opus/silk_frame.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include "dsp/opus/silk_tables.h"

namespace earmark {
namespace {

constexpr int kBlockSamples = 16;
constexpr int kMaxLowBits = 10;
// Zeros that libopus may have cut off a SILK-only frame's end. That there were more than four bytes of them by chance happens once in 2^32 packets.
constexpr int kMaxCutBits = 32;

// §4.2.7.4 to 4.2.7.7: what a frame may take over from the one before in the same channel.
enum class Coding : std::uint8_t {
  kIndependent,
  kIndependentWithoutLtpScaling,  // the side channel's first after frames of this packet without one
  kConditional
};

std::size_t At(int index) { return static_cast<std::size_t>(index); }

struct SignalType {
  SilkSignal signal = SilkSignal::kInactive;
  int offset = 0;
  std::size_t voiced() const { return signal == SilkSignal::kVoiced ? 1 : 0; }
};

class SilkParser {
 public:
  SilkParser(RangeDecoder& decoder, const SilkOptions& options)
      : decoder_(decoder),
        num_channels_(options.num_channels),
        num_frames_(options.duration_ms <= 20 ? 1 : options.duration_ms / 20),
        num_subframes_(options.duration_ms == 10 ? 2 : 4),
        bandwidth_(options.bandwidth) {}

  SilkLayer Parse() {
    ReadFlags();
    for (int frame = 0; frame < num_frames_; ++frame) SkipLbrr(frame);
    bool side_was_coded = true;
    for (int frame = 0; frame < num_frames_; ++frame) {
      bool side_is_coded = false;
      if (num_channels_ == 2) side_is_coded = ReadStereo(channels_[1].active[At(frame)]);
      ReadFrame(0, frame, channels_[0].active[At(frame)], frame == 0 ? Coding::kIndependent : Coding::kConditional, &layer_);
      if (side_is_coded) ReadFrame(1, frame, channels_[1].active[At(frame)], SideCoding(frame, side_was_coded), &layer_);
      side_was_coded = side_is_coded;
    }
    return layer_;
  }

 private:
  struct Channel {
    std::array<bool, 3> active = {};
    std::array<bool, 3> lbrr = {};
    bool was_voiced = false;  // the last frame read
  };

  static Coding SideCoding(int frame, bool side_was_coded) {
    if (frame == 0) return Coding::kIndependent;
    return side_was_coded ? Coding::kConditional : Coding::kIndependentWithoutLtpScaling;
  }

  // §4.2.3, 4.2.4.
  void ReadFlags() {
    std::array<bool, 2> has_lbrr = {};
    for (int c = 0; c < num_channels_; ++c) {
      for (int frame = 0; frame < num_frames_; ++frame) channels_[At(c)].active[At(frame)] = decoder_.BitLogp(1);
      has_lbrr[At(c)] = decoder_.BitLogp(1);
    }
    for (int c = 0; c < num_channels_; ++c) {
      if (!has_lbrr[At(c)]) continue;
      int flags = 1;
      if (num_frames_ == 2) flags = decoder_.Icdf(silk::kLbrrFlags40Ms) + 1;
      if (num_frames_ == 3) flags = decoder_.Icdf(silk::kLbrrFlags60Ms) + 1;
      for (int frame = 0; frame < num_frames_; ++frame) channels_[At(c)].lbrr[At(frame)] = ((flags >> frame) & 1) != 0;
    }
  }

  // §4.2.5: frames for packets that were lost. They count as active, and follow on from the LBRR frame before, if there is one.
  void SkipLbrr(int frame) {
    for (int c = 0; c < num_channels_; ++c) {
      const auto& lbrr = channels_[At(c)].lbrr;
      if (!lbrr[At(frame)]) continue;
      if (num_channels_ == 2 && c == 0) (void)ReadStereo(channels_[1].lbrr[At(frame)]);
      const bool follows = frame > 0 && lbrr[At(frame - 1)];
      ReadFrame(c, frame, true, follows ? Coding::kConditional : Coding::kIndependent, nullptr);
    }
  }

  // §4.2.7.1, 4.2.7.2: the weights, and whether there is a side channel, which goes without saying for an active one.
  bool ReadStereo(bool side_is_active) {
    (void)decoder_.Icdf(silk::kStereoWeightsJoint);
    for (int i = 0; i < 2; ++i) {
      (void)decoder_.Icdf(silk::kUniform3);
      (void)decoder_.Icdf(silk::kUniform5);
    }
    return side_is_active || decoder_.Icdf(silk::kMidOnly) == 0;
  }

  // §4.2.7.3 and what follows. `layer` is where an independent gain goes, if anywhere.
  void ReadFrame(int channel, int frame, bool active, Coding coding, SilkLayer* layer) {
    const int symbol = active ? decoder_.Icdf(silk::kTypeActive) + 2 : decoder_.Icdf(silk::kTypeInactive);
    const SignalType type{static_cast<SilkSignal>(symbol / 2), symbol % 2};
    SilkGain gain = ReadGains(type, coding);
    gain.channel = channel;
    gain.frame_index = frame;
    ReadLsf(type);
    Channel& state = channels_[At(channel)];
    if (type.signal == SilkSignal::kVoiced) {
      ReadPitch(coding == Coding::kConditional && state.was_voiced);
      gain.ltp_gain = ReadLtp(coding);
    }
    if (layer != nullptr && coding != Coding::kConditional && layer->num_gains < static_cast<int>(layer->gains.size())) {
      layer->gains[At(layer->num_gains++)] = gain;
    }
    state.was_voiced = type.signal == SilkSignal::kVoiced;
    (void)decoder_.Icdf(silk::kUniform4);  // §4.2.7.7: the seed
    ReadExcitation(type);
  }

  // §4.2.7.4.
  SilkGain ReadGains(const SignalType& type, Coding coding) {
    SilkGain gain;
    gain.signal = type.signal;
    gain.num_subframes = num_subframes_;
    if (coding == Coding::kConditional) {
      (void)decoder_.Icdf(silk::kGainDelta);
    } else {
      gain.msb = decoder_.Icdf(silk::kGainMsb[static_cast<std::size_t>(type.signal)]);
      gain.range = decoder_.range();
      gain.num_front_bytes = decoder_.num_front_bytes();
      gain.lsb = decoder_.Icdf(silk::kUniform8);
    }
    for (int i = 1; i < num_subframes_; ++i) gain.deltas[At(i - 1)] = decoder_.Icdf(silk::kGainDelta) - 4;
    return gain;
  }

  // §4.2.7.5: the first stage says which tables the second one uses.
  void ReadLsf(const SignalType& type) {
    if (bandwidth_ == SilkBandwidth::kWide) {
      const int first = decoder_.Icdf(silk::kLsfStage1Wide[type.voiced()]);
      ReadLsfStage2(silk::kLsfTableWide[At(first)], silk::kLsfStage2Wide);
    } else {
      const int first = decoder_.Icdf(silk::kLsfStage1Narrow[type.voiced()]);
      ReadLsfStage2(silk::kLsfTableNarrow[At(first)], silk::kLsfStage2Narrow);
    }
    if (num_subframes_ == 4) (void)decoder_.Icdf(silk::kLsfInterpolation);
  }

  void ReadLsfStage2(std::span<const std::uint8_t> table_of, const std::array<std::array<std::uint8_t, 9>, 8>& tables) {
    for (const std::uint8_t table : table_of) {
      const int symbol = decoder_.Icdf(tables[table]);
      if (symbol == 0 || symbol == 8) (void)decoder_.Icdf(silk::kLsfExtension);
    }
  }

  // §4.2.7.6.1: against the lag before, where that can be; symbol 0 says that it is not.
  void ReadPitch(bool may_be_relative) {
    if (!may_be_relative || decoder_.Icdf(silk::kPitchLagDelta) == 0) {
      (void)decoder_.Icdf(silk::kPitchLagHigh);
      if (bandwidth_ == SilkBandwidth::kNarrow) (void)decoder_.Icdf(silk::kUniform4);
      if (bandwidth_ == SilkBandwidth::kMedium) (void)decoder_.Icdf(silk::kUniform6);
      if (bandwidth_ == SilkBandwidth::kWide) (void)decoder_.Icdf(silk::kUniform8);
    }
    if (bandwidth_ == SilkBandwidth::kNarrow) {
      (void)(num_subframes_ == 2 ? decoder_.Icdf(silk::kContourNarrow10Ms) : decoder_.Icdf(silk::kContourNarrow20Ms));
    } else {
      (void)(num_subframes_ == 2 ? decoder_.Icdf(silk::kContourWider10Ms) : decoder_.Icdf(silk::kContourWider20Ms));
    }
  }

  // §4.2.7.6.2, 4.2.7.6.3. Returns SilkGain::ltp_gain.
  int ReadLtp(Coding coding) {
    const int periodicity = decoder_.Icdf(silk::kLtpPeriodicity);
    int gain = 0;
    for (int i = 0; i < num_subframes_; ++i) {
      if (periodicity == 0) gain += silk::kLtpGain0[At(decoder_.Icdf(silk::kLtpFilter0))];
      if (periodicity == 1) gain += silk::kLtpGain1[At(decoder_.Icdf(silk::kLtpFilter1))];
      if (periodicity == 2) gain += silk::kLtpGain2[At(decoder_.Icdf(silk::kLtpFilter2))];
    }
    if (coding == Coding::kIndependent) (void)decoder_.Icdf(silk::kLtpScaling);
    return (gain + num_subframes_ - 1) / num_subframes_;
  }

  // §4.2.7.8. Blocks of 16 samples: all counts come first, then where the pulses are, then low bits, then signs of what is not zero.
  void ReadExcitation(const SignalType& type) {
    struct Block {
      int num_pulses = 0;
      int num_low_bits = 0;
      std::array<int, kBlockSamples> magnitudes = {};
    };
    std::array<Block, 20> blocks;
    const int khz = bandwidth_ == SilkBandwidth::kNarrow ? 8 : bandwidth_ == SilkBandwidth::kMedium ? 12 : 16;
    // 10 ms at 12 kHz: half a block more than there is sound
    const int num_blocks = (khz * 5 * num_subframes_ + kBlockSamples - 1) / kBlockSamples;
    const auto used = std::span(blocks).first(At(num_blocks));

    const int rate_level = decoder_.Icdf(silk::kRateLevel[type.voiced()]);
    for (Block& block : used) {
      block.num_pulses = decoder_.Icdf(silk::kPulseCount[At(rate_level)]);
      while (block.num_pulses == 17)
        block.num_pulses = decoder_.Icdf(silk::kPulseCount[++block.num_low_bits == kMaxLowBits ? 10 : 9]);
    }
    for (Block& block : used) ReadPulses(0, block.num_pulses, block.magnitudes);
    for (Block& block : used) {
      if (block.num_low_bits == 0) continue;
      for (int& magnitude : block.magnitudes) {
        for (int i = 0; i < block.num_low_bits; ++i) magnitude = 2 * magnitude + decoder_.Icdf(silk::kPulseLowBit);
      }
    }
    const auto& signs = silk::kSign[static_cast<std::size_t>(type.signal)][At(type.offset)];
    for (const Block& block : used) {
      const std::array<std::uint8_t, 2> sign = {signs[At(std::min(block.num_pulses, 6))], 0};
      for (const int magnitude : block.magnitudes) {
        if (magnitude != 0) (void)decoder_.Icdf(sign);
      }
    }
  }

  // §4.2.7.8.3: halves, each split up before the next; four levels deep.
  void ReadPulses(int level, int num_pulses, std::span<int> samples) {
    if (num_pulses == 0) return;
    if (samples.size() == 1) {
      samples[0] = num_pulses;
      return;
    }
    const int left = decoder_.Icdf(silk::kPulseSplit[At(level)][At(num_pulses - 1)]);
    ReadPulses(level + 1, left, samples.first(samples.size() / 2));
    ReadPulses(level + 1, num_pulses - left, samples.subspan(samples.size() / 2));
  }

  RangeDecoder& decoder_;
  int num_channels_;
  int num_frames_;     // SILK frames of the Opus frame
  int num_subframes_;  // in each
  SilkBandwidth bandwidth_;
  std::array<Channel, 2> channels_;
  SilkLayer layer_;
};

bool Exists(const SilkOptions& options) {
  if (options.num_channels != 1 && options.num_channels != 2) return false;
  const int ms = options.duration_ms;
  if (options.hybrid) return options.bandwidth == SilkBandwidth::kWide && (ms == 10 || ms == 20);
  return ms == 10 || ms == 20 || ms == 40 || ms == 60;
}

}  // namespace

std::optional<SilkLayer> ParseSilk(RangeDecoder& decoder, const SilkOptions& options) noexcept {
  if (!Exists(options) || decoder.num_bytes() < 2) return std::nullopt;
  const SilkLayer layer = SilkParser(decoder, options).Parse();
  const int missing_bits = decoder.Tell() - 8 * decoder.num_bytes();
  if (missing_bits > (options.hybrid ? 0 : kMaxCutBits)) return std::nullopt;
  return layer;
}

std::array<int, 4> SubframeLevels(const SilkGain& gain, int previous) noexcept {
  std::array<int, 4> levels = {};
  int level = std::clamp(std::max(gain.index(), previous - 16), 0, 63);
  levels[0] = level;
  for (int i = 1; i < std::min(gain.num_subframes, 4); ++i) {
    const int delta = gain.deltas[At(i - 1)];
    level = std::clamp(std::max(level + delta, 2 * delta - 8), 0, 63);
    levels[At(i)] = level;
  }
  return levels;
}

}  // namespace earmark
