#include "dsp/marking/carrier.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdio>
#include <string>

#include "tests/support/marked_stream.h"

namespace earmark {
namespace {

// The signs of a symbol, a word in hex for each carrier: a set bit is a minus.
std::string Words(const SymbolSigns& signs) {
  std::string text;
  for (const auto& carrier : signs) {
    unsigned word = 0;
    for (std::size_t band = 0; band < carrier.size(); ++band) word |= (carrier[band] < 0 ? 1U : 0U) << band;
    char hex[16];
    std::snprintf(hex, sizeof hex, "%06x", word);
    if (!text.empty()) text += ' ';
    text += hex;
  }
  return text;
}

TEST_CASE("Carrier: known answers", "[carrier]") {
  // Frozen for code_version 1: references in stores were marked with them. From an independent implementation (ChaCha20 in Python).
  CarrierSigns signs(TestKey(0));
  CHECK(Words(signs.At(0)) == "0bfd39 19c5d9 03bd8d 0adcb8");
  CHECK(Words(signs.At(5)) == "13b1f8 1bade1 1cf8ec 15352a");
  CHECK(Words(signs.At(1'000'000)) == "190153 0b5779 199007 18ac4d");
  CHECK(Words(signs.At(0)) == "0bfd39 19c5d9 03bd8d 0adcb8");
}

TEST_CASE("Carrier: code version 2 has a block of the keystream to each symbol", "[carrier]") {
  CarrierSigns before(TestKey(1));
  CarrierSigns signs(TestKey(1), 2);
  for (const std::int64_t symbol : {0, 1, 5, 250'000}) {
    CHECK(Words(signs.At(symbol)) == Words(before.At(4 * symbol)));
    // The draws are the next bytes, which version 1 reads as signs of the symbol after that.
    const SymbolSigns& next = before.At(4 * symbol + 1);
    for (int b = 0; b < 8; ++b) {
      CHECK(((signs.draws().draws[0] >> b) & 1) == (next[0][static_cast<std::size_t>(b)] < 0 ? 1 : 0));
      CHECK(((signs.draws().draws[5] >> b) & 1) == (next[1][static_cast<std::size_t>(b + 8)] < 0 ? 1 : 0));
    }
  }
}

TEST_CASE("Carrier: every sign is ±1, balanced over symbols, and depends on the key", "[carrier]") {
  CarrierSigns signs(TestKey(1));
  CarrierSigns other(TestKey(2));
  std::array<std::array<double, kNumBands>, kMaxCarriers> sums{};
  double agreement = 0;
  bool all_unit = true;
  constexpr int kSymbols = 20'000;
  for (int symbol = 0; symbol < kSymbols; ++symbol) {
    const SymbolSigns& at = signs.At(symbol);
    const SymbolSigns& elsewhere = other.At(symbol);
    for (std::size_t j = 0; j < at.size(); ++j) {
      for (std::size_t band = 0; band < kNumBands; ++band) {
        all_unit = all_unit && std::abs(at[j][band]) == 1.0F;
        sums[j][band] += at[j][band];
        agreement += at[j][band] * elsewhere[j][band];
      }
    }
  }
  CHECK(all_unit);
  // 64 sums, each beyond 6.5 standard deviations with chance 8e-11; the keys are fixed.
  for (const auto& carrier : sums) {
    for (const double sum : carrier) CHECK(std::abs(sum) < 6.5 * std::sqrt(kSymbols));
  }
  CHECK(std::abs(agreement) < 6.5 * std::sqrt(static_cast<double>(kSymbols) * kMaxCarriers * kNumBands));
}

TEST_CASE("Carrier: the signs of all variants cancel", "[carrier]") {
  for (const int q : {2, 4, 8}) {
    for (int j = 0; j < NumCarriers(q); ++j) {
      float sum = 0;
      for (int v = 0; v < q; ++v) sum += CarrierSign(v, j);
      CHECK(sum == 0);
    }
  }
}

}  // namespace
}  // namespace earmark
