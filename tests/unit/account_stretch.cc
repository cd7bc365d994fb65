#include "services/common/scan/account_stretch.h"

#include <catch2/catch.hpp>

#include "tests/support/marked_stream.h"

namespace earmark {
namespace {

constexpr double kSymbolS = 0.02;

SourcePiece PieceOf(double start_s, double end_s, double strength, bool is_firm) {
  return {.alignment = {.clip_start_s = start_s, .clip_end_s = end_s, .stream_start_s = start_s, .strength = strength},
          .is_firm = is_firm};
}

// Symbols of [0, 8) s, of which those before `from_s` say `share` for alice's code and those from there on for bob's.
HypothesisReading ReadingOf(std::vector<SourcePiece> pieces, double from_s, float share) {
  HypothesisReading reading{
      .hypothesis = {.pieces = std::move(pieces)}, .stream = "room", .symbols = {}, .to_stream_s = 8, .clip = {0, 8}};
  TraceCode alice(TestCodeKey(1), "alice", reading.num_variants);
  TraceCode bob(TestCodeKey(1), "bob", reading.num_variants);
  for (std::int64_t i = 0; i < 400; ++i) {
    HeardSymbol symbol{.clip_s = (static_cast<double>(i) + 0.5) * kSymbolS, .likelihood = {.symbol = i, .log_likelihood = {}}};
    const bool of_alice = symbol.clip_s < from_s;
    const auto variant = static_cast<std::size_t>((of_alice ? alice : bob).VariantAt(i));
    symbol.likelihood.log_likelihood[variant] = share;
    reading.symbols.push_back(symbol);
  }
  return reading;
}

TEST_CASE("StretchOfAccount: each account is heard where its copy is", "[account_stretch]") {
  const auto reading = ReadingOf({PieceOf(0, 3, 40, true), PieceOf(3, 8, 40, true)}, 3, 1);
  const ClipStretch alice = StretchOfAccount(reading, TestCodeKey(1), "alice");
  CHECK(alice.from_s == Approx(0).margin(0.1));
  CHECK(alice.to_s == Approx(3).margin(0.2));
  const ClipStretch bob = StretchOfAccount(reading, TestCodeKey(1), "bob");
  CHECK(bob.from_s == Approx(3).margin(0.2));
  CHECK(bob.to_s == Approx(8).margin(0.1));
}

TEST_CASE("StretchOfAccount: a few symbols behind other sound that fit by chance are not the end", "[account_stretch]") {
  auto reading = ReadingOf({PieceOf(0, 3, 40, true), PieceOf(6, 8, 40, true)}, 3, 1);
  std::erase_if(reading.symbols, [](const HeardSymbol& symbol) { return symbol.clip_s > 3 && symbol.clip_s < 6; });
  TraceCode alice(TestCodeKey(1), "alice", reading.num_variants);
  for (HeardSymbol& symbol : reading.symbols) {
    if (symbol.clip_s < 6 || symbol.clip_s > 6.05) continue;
    symbol.likelihood.log_likelihood = {};
    symbol.likelihood.log_likelihood[static_cast<std::size_t>(alice.VariantAt(symbol.likelihood.symbol))] = 1;
  }
  CHECK(StretchOfAccount(reading, TestCodeKey(1), "alice").to_s == Approx(3).margin(0.1));
}

TEST_CASE("StretchOfAccount: what is read of a piece that may be chance makes no stretch longer", "[account_stretch]") {
  const auto reading = ReadingOf({PieceOf(0, 3, 40, true), PieceOf(3, 8, 9.6, false)}, 8, 0.6F);
  const ClipStretch alice = StretchOfAccount(reading, TestCodeKey(1), "alice");
  CHECK(alice.to_s == Approx(3).margin(0.05));
}

}  // namespace
}  // namespace earmark
