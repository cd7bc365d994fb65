// The marker: makes q variants of a host, 20 ms at a time.
//
// Per channel, an STFT of 20 ms square-root Hann windows with 10 ms hop (perfect reconstruction). Carrier j of frame t is the host's
// frame with band b multiplied by sign(j, b, symbol) · strength(b, t); variant v is the host plus the signed sum of the carriers (carrier.h). So one
// forward transform and log2(q) inverse ones make all q variants, and the host itself passes through untouched, only delayed.
//
// Frame t is centred on output sample 480·t and belongs to symbol t / (2·packets_per_symbol), rounded down. Opus delays by another 312
// samples, which puts the frames of a symbol in the middle of its packets.
//
// Strength: ±0.2 dB in all, shared by the carriers, lowered by the masking model (masking.h) and zero below about -72 dBFS. The same
// gains act on both channels.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "dsp/core/fft.h"
#include "dsp/core/secret.h"
#include "dsp/core/stream_format.h"
#include "dsp/marking/carrier.h"
#include "dsp/marking/masking.h"

namespace earmark {

class Marker {
 public:
  static constexpr int kLatencySamples = 480;
  static constexpr int kFftSamples = 960;
  static constexpr int kHopSamples = 480;

  // `format` must be valid. `first_packet`: where in the stream the first block lies (a reader may start anywhere).
  Marker(const StreamFormat& format, const Key& carrier_key, std::int64_t first_packet = 0);

  // For PCM delivery: variant 0 becomes the copy of the listener who gets these variants, going over between symbols as smoothly as the frames overlap.
  using VariantAt = std::function<int(std::int64_t symbol)>;
  void Follow(VariantAt variant_at) { variant_at_ = std::move(variant_at); }

  // In: 20 ms, kPacketSamples × channels, interleaved, ±1 (beyond that is allowed and kept). Then Variant(v) is 20 ms of variant v in
  // the same layout, delayed by kLatencySamples, valid until the next call. Does not allocate, lock or do I/O.
  void Process(std::span<const float> host) noexcept;
  // The next block lies `num_packets` (>= 0) packets later than it would. Forgets all sound: the marker is then as one constructed there (but for whom it
  // follows). Real-time safe.
  void Skip(std::int64_t num_packets) noexcept;
  std::span<const float> Variant(int variant) const noexcept { return variants_[static_cast<std::size_t>(variant)]; }
  // The delayed host itself.
  std::span<const float> Host() const noexcept { return delayed_host_; }

 private:
  using Bands = std::array<float, kNumBands>;

  void ProcessHop(const float* host, int hop_in_block) noexcept;
  // Takes a channel's next hop of sound in: its spectrum, and what that adds to the power of the bands.
  void AnalyseHop(const float* host, int hop_in_block, int c, Bands& band_power) noexcept;
  // A carrier's next hop: the channel's spectrum with these gains.
  void SynthesiseHop(const Bands& gains, int hop_in_block, int carrier, int c) noexcept;
  static std::span<std::complex<float>> OfBand(std::span<std::complex<float>> spectrum, int band) noexcept;
  std::size_t PlaceOf(int hop_in_block, int c) const noexcept;  // of a channel's first sample, interleaved

  StreamFormat format_;
  int num_carriers_;
  std::int64_t next_frame_;
  CarrierSigns signs_;
  VariantAt variant_at_;
  MaskingModel masking_;
  RealFft fft_;
  std::array<float, kFftSamples> window_;
  // Per channel: the last 20 ms of host; the spectrum; per carrier the overlap-add tail.
  struct Channel {
    std::array<float, kFftSamples> history{};
    std::vector<std::complex<float>> spectrum;
    std::array<std::array<float, kHopSamples>, kMaxCarriers> tail{};
  };
  std::vector<Channel> channels_;
  std::vector<float> carriers_[kMaxCarriers];  // this block, interleaved
  std::vector<float> delayed_host_;
  std::vector<std::vector<float>> variants_;
};

}  // namespace earmark
