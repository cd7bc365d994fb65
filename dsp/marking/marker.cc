#include "dsp/marking/marker.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace earmark {
Marker::Marker(const StreamFormat& format, const Key& carrier_key, std::int64_t first_packet)
    : format_(format),
      num_carriers_(NumCarriers(format.num_variants)),
      next_frame_(first_packet * (kPacketSamples / kHopSamples) + 1),  // the first hop completes the frame centred on its end
      signs_(carrier_key),
      masking_(kFftSamples),
      fft_(kFftSamples) {
  for (int n = 0; n < kFftSamples; ++n) {
    window_[static_cast<std::size_t>(n)] =
        static_cast<float>(std::sqrt(0.5 - 0.5 * std::cos(2 * std::numbers::pi * (n + 0.5) / kFftSamples)));
  }
  const auto block = static_cast<std::size_t>(kPacketSamples * format.num_channels);
  channels_.resize(static_cast<std::size_t>(format.num_channels));
  for (auto& channel : channels_) channel.spectrum.resize(static_cast<std::size_t>(fft_.num_bins()));
  for (auto& carrier : carriers_) carrier.resize(block);
  delayed_host_.resize(block);
  variants_.assign(static_cast<std::size_t>(format.num_variants), std::vector<float>(block));
}

void Marker::Process(std::span<const float> host) noexcept {
  for (int hop = 0; hop < kPacketSamples / kHopSamples; ++hop) {
    ProcessHop(host.data() + hop * kHopSamples * format_.num_channels, hop);
  }
  for (int v = 0; v < format_.num_variants; ++v) {
    auto& out = variants_[static_cast<std::size_t>(v)];
    std::copy(delayed_host_.begin(), delayed_host_.end(), out.begin());
    for (int j = 0; j < num_carriers_; ++j) {
      const float sign = CarrierSign(v, j);
      const float* carrier = carriers_[j].data();
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += sign * carrier[i];
    }
  }
}

void Marker::Skip(std::int64_t num_packets) noexcept {
  next_frame_ += num_packets * (kPacketSamples / kHopSamples);
  masking_ = MaskingModel(kFftSamples);
  for (auto& channel : channels_) {
    channel.history.fill(0);
    for (auto& tail : channel.tail) tail.fill(0);
  }
}

void Marker::ProcessHop(const float* host, int hop_in_block) noexcept {
  Bands band_power{};
  for (int c = 0; c < format_.num_channels; ++c) AnalyseHop(host, hop_in_block, c, band_power);
  const BandStrengths& strengths = masking_.Update(band_power);
  const std::int64_t symbol = next_frame_ / (format_.packets_per_symbol * (kPacketSamples / kHopSamples));
  const SymbolSigns& signs = signs_.At(symbol);
  const int followed = variant_at_ ? variant_at_(symbol) : 0;  // variant 0 has all signs +
  ++next_frame_;
  const float share = 1 / std::sqrt(static_cast<float>(num_carriers_));
  for (int j = 0; j < num_carriers_; ++j) {
    Bands gains{};
    for (std::size_t b = 0; b < gains.size(); ++b)
      gains[b] = share * CarrierSign(followed, j) * strengths[b] * signs[static_cast<std::size_t>(j)][b];
    for (int c = 0; c < format_.num_channels; ++c) SynthesiseHop(gains, hop_in_block, j, c);
  }
}

void Marker::AnalyseHop(const float* host, int hop_in_block, int c, Bands& band_power) noexcept {
  Channel& channel = channels_[static_cast<std::size_t>(c)];
  std::copy(channel.history.begin() + kHopSamples, channel.history.end(), channel.history.begin());
  const std::size_t first = PlaceOf(hop_in_block, c);
  const auto step = static_cast<std::size_t>(format_.num_channels);
  for (std::size_t i = 0; i < kHopSamples; ++i) {
    channel.history[kHopSamples + i] = host[static_cast<std::size_t>(c) + i * step];
    delayed_host_[first + i * step] = channel.history[i];
  }
  auto time = fft_.time();
  for (std::size_t i = 0; i < kFftSamples; ++i) time[i] = channel.history[i] * window_[i];
  fft_.Forward();
  std::copy(fft_.bins().begin(), fft_.bins().end(), channel.spectrum.begin());
  for (int band = 0; band < kNumBands; ++band) {
    for (const auto& bin : OfBand(channel.spectrum, band)) band_power[static_cast<std::size_t>(band)] += std::norm(bin);
  }
}

void Marker::SynthesiseHop(const Bands& gains, int hop_in_block, int carrier, int c) noexcept {
  Channel& channel = channels_[static_cast<std::size_t>(c)];
  std::fill(fft_.bins().begin(), fft_.bins().end(), std::complex<float>(0, 0));
  for (int band = 0; band < kNumBands; ++band) {
    const auto from = OfBand(channel.spectrum, band);
    const auto to = OfBand(fft_.bins(), band);
    for (std::size_t k = 0; k < from.size(); ++k) to[k] = gains[static_cast<std::size_t>(band)] * from[k];
  }
  fft_.Inverse();
  const auto time = fft_.time();
  auto& tail = channel.tail[static_cast<std::size_t>(carrier)];
  float* out = carriers_[carrier].data() + PlaceOf(hop_in_block, c);
  const auto step = static_cast<std::size_t>(format_.num_channels);
  for (std::size_t i = 0; i < kHopSamples; ++i) {
    out[i * step] = tail[i] + time[i] * window_[i];
    tail[i] = time[kHopSamples + i] * window_[kHopSamples + i];
  }
}

std::span<std::complex<float>> Marker::OfBand(std::span<std::complex<float>> spectrum, int band) noexcept {
  const auto first = static_cast<std::size_t>(BandEdgeBin(band, kFftSamples));
  return spectrum.subspan(first, static_cast<std::size_t>(BandEdgeBin(band + 1, kFftSamples)) - first);
}

std::size_t Marker::PlaceOf(int hop_in_block, int c) const noexcept {
  return static_cast<std::size_t>(hop_in_block * kHopSamples * format_.num_channels + c);
}

}  // namespace earmark
