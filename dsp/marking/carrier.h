// The carriers: keyed ± patterns over bands and symbols that the variants differ by.
//
// Code version 1: variant v of q = 2^c variants is the host plus sum over j < c of s(v, j) · carrier j, s = +1 where bit j of v is 0 and -1 where it is 1.
// Carrier j has one sign for each of 21 bands and each symbol: bit b of the 32-bit little-endian word at byte 16·symbol + 4·j of the ChaCha20
// keystream of the stream's carrier key (a set bit is -1).
//
// Code version 2: variants 2j and 2j + 1 of q are the host plus and minus carrier j, j < q / 2. The signs stand in keystream block number `symbol` (64 bytes), as above
// from its start; byte 16 + b of it is band b's *draw*, which decides whether a band that may only be moved now and then is moved in this symbol. Field 21 is SILK's gain.
#pragma once

#include <array>
#include <cstdint>

#include "dsp/core/secret.h"

namespace earmark {

inline constexpr int kNumBands = 21;
// Band edges in Hz (critical bands after Zwicker, from 200 Hz to 12 kHz). Band b is [edge b, edge b+1).
inline constexpr std::array<int, kNumBands + 1> kBandEdgesHz = {
    200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400, 7700, 9500, 12000};
inline constexpr int kMaxCarriers = 4;  // half of kMaxVariants, which code version 2 needs; version 1 uses log2 of it

constexpr int NumCarriers(int num_variants) { return num_variants == 2 ? 1 : num_variants == 4 ? 2 : 3; }
constexpr float CarrierSign(int variant, int carrier) { return ((variant >> carrier) & 1) != 0 ? -1.0F : 1.0F; }

// First FFT bin of a band edge, for a transform of `fft_size` at 48 kHz.
constexpr int BandEdgeBin(int edge, int fft_size) {
  return (kBandEdgesHz[static_cast<std::size_t>(edge)] * fft_size + 24000) / 48000;
}

// Signs of one symbol: [carrier][band], ±1.
using SymbolSigns = std::array<std::array<float, kNumBands>, kMaxCarriers>;
// What code version 2 has besides.
inline constexpr int kGainField = kNumBands;
struct SymbolDraws {
  std::array<std::uint8_t, kNumBands + 1> draws{};  // [field] 0 … 255
  std::array<float, kMaxCarriers> gain_signs{};     // [carrier] ±1, of kGainField
};

// Reads what is keyed, in any order of symbols; fastest in sequence. Real-time safe; one object serves one thread at a time.
class CarrierSigns {
 public:
  explicit CarrierSigns(const Key& carrier_key, int code_version = 1) : key_(carrier_key), code_version_(code_version) {}
  const SymbolSigns& At(std::int64_t symbol) noexcept;
  // Of the symbol of the last At; code version 2.
  const SymbolDraws& draws() const noexcept { return draws_; }

 private:
  Key key_;
  int code_version_;
  std::int64_t symbol_ = -1;
  SymbolSigns signs_{};
  SymbolDraws draws_{};
};

}  // namespace earmark
