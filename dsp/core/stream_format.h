// What a stream is made of: the numbers that marking, storing and detecting must agree on.
#pragma once

#include <cstdint>
#include <string>

#include "dsp/core/result.h"

namespace earmark {

inline constexpr int kSampleRateHz = 48000;
inline constexpr int kPacketSamples = 960;  // 20 ms, one Opus packet
inline constexpr int kPacketsPerSecond = 50;
inline constexpr int kMaxVariants = 8;

// What the reference holds, and so how the detector gets the variants back.
enum class ReferenceKind {
  kVariantPackets = 0,  // the Opus packets of all variants, as sent
  kHostPackets = 1,     // one Opus encode of the unmarked host; the variants are marked again from it (PCM delivery)
  // packets of one encode, the speaker's own or one made here; the variants are these with a few bits changed
  kSourcePackets = 2,
};

struct StreamFormat {
  int num_variants = 4;        // q: 2, 4 or 8
  int packets_per_symbol = 2;  // 1 to 10
  int num_channels = 1;        // 1 or 2
  // of the encode that made the packets, 12000 to 256000; constant where each variant has its own. 0: packets are as long as the
  // source's
  int bitrate_bps = 32000;
  ReferenceKind kind = ReferenceKind::kVariantPackets;
  // of the trace code and carrier derivation; see docs/formats/trace-code.md. 2 for kSourcePackets, else 1
  int code_version = 1;
  // of marks in packets, from inaudible (1) to naming from the shortest clips (100). For kSourcePackets alone
  int strength = 50;

  bool operator==(const StreamFormat&) const = default;
};

// kInvalidArgument with the field, the range and the value when one is out of range.
Result<StreamFormat> Validate(const StreamFormat& format);

}  // namespace earmark
