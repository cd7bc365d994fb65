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
  const auto num_channels = static_cast<std::size_t>(format_.num_channels);
  std::array<float, kNumBands> band_power{};
  for (std::size_t c = 0; c < num_channels; ++c) {
    Channel& channel = channels_[c];
    std::copy(channel.history.begin() + kHopSamples, channel.history.end(), channel.history.begin());
    for (std::size_t i = 0; i < kHopSamples; ++i) channel.history[kHopSamples + i] = host[i * num_channels + c];
    float* out = delayed_host_.data() + static_cast<std::size_t>(hop_in_block * kHopSamples) * num_channels + c;
    for (std::size_t i = 0; i < kHopSamples; ++i) out[i * num_channels] = channel.history[i];

    auto time = fft_.time();
    for (std::size_t i = 0; i < kFftSamples; ++i) time[i] = channel.history[i] * window_[i];
    fft_.Forward();
    std::copy(fft_.bins().begin(), fft_.bins().end(), channel.spectrum.begin());
    for (int band = 0; band < kNumBands; ++band) {
      for (int k = BandEdgeBin(band, kFftSamples); k < BandEdgeBin(band + 1, kFftSamples); ++k) {
        band_power[static_cast<std::size_t>(band)] += std::norm(channel.spectrum[static_cast<std::size_t>(k)]);
      }
    }
  }

  const BandStrengths& strengths = masking_.Update(band_power);
  const std::int64_t symbol = next_frame_ / (format_.packets_per_symbol * (kPacketSamples / kHopSamples));
  const SymbolSigns& signs = signs_.At(symbol);
  const int followed = variant_at_ ? variant_at_(symbol) : 0;  // variant 0 has all signs +
  ++next_frame_;
  const float share = 1 / std::sqrt(static_cast<float>(num_carriers_));
  for (int j = 0; j < num_carriers_; ++j) {
    for (std::size_t c = 0; c < num_channels; ++c) {
      Channel& channel = channels_[c];
      auto bins = fft_.bins();
      std::fill(bins.begin(), bins.end(), std::complex<float>(0, 0));
      for (int band = 0; band < kNumBands; ++band) {
        const auto b = static_cast<std::size_t>(band);
        const float gain = share * CarrierSign(followed, j) * strengths[b] * signs[static_cast<std::size_t>(j)][b];
        for (int k = BandEdgeBin(band, kFftSamples); k < BandEdgeBin(band + 1, kFftSamples); ++k) {
          bins[static_cast<std::size_t>(k)] = gain * channel.spectrum[static_cast<std::size_t>(k)];
        }
      }
      fft_.Inverse();
      const auto time = fft_.time();
      auto& tail = channel.tail[static_cast<std::size_t>(j)];
      float* out = carriers_[j].data() + static_cast<std::size_t>(hop_in_block * kHopSamples) * num_channels + c;
      for (std::size_t i = 0; i < kHopSamples; ++i) {
        out[i * num_channels] = tail[i] + time[i] * window_[i];
        tail[i] = time[kHopSamples + i] * window_[kHopSamples + i];
      }
    }
  }
}

}  // namespace earmark
