#include "dsp/tracing/trace_code.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "tests/support/marked_stream.h"
#include "tests/support/random.h"

namespace earmark {
namespace {

// A limit that a chi-square variable passes with chance 1e-9 (six standard deviations in Wilson and Hilferty's approximation).
double ChiSquareLimit(int degrees) {
  const double d = degrees;
  return d * std::pow(1 - 2 / (9 * d) + 6 * std::sqrt(2 / (9 * d)), 3);
}

double ChiSquare(const std::vector<int>& counts) {
  double total = 0;
  for (const int count : counts) total += count;
  const double expected = total / static_cast<double>(counts.size());
  double sum = 0;
  for (const int count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

std::string Digits(TraceCode code, std::int64_t first, int count) {
  std::string digits;
  for (int i = 0; i < count; ++i) digits += static_cast<char>('0' + code.VariantAt(first + i));
  return digits;
}

std::string Hex(const Key& key) {
  std::string hex(64, '0');
  for (std::size_t i = 0; i < 64; ++i) hex[i] = "0123456789abcdef"[(key.RevealBytes()[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 15];
  return hex;
}

// Frozen for code_version 1 and quoted in docs/formats/trace-code.md: copies made with them are out there. Checked against an independent implementation (Python's
// hashlib.blake2b and ChaCha20 written out from its definition).
TEST_CASE("TraceCode: known answers", "[trace_code]") {
  const CodeKey code_key = TestCodeKey(0);  // bytes 0, 1, … 31
  CHECK(Hex(DeriveGrantKey(code_key, "alice")) == "5d970d6418c66bb007711e26e2d85612977e127e9930964bfe8f14f450a35923");
  CHECK(Hex(DeriveGrantKey(code_key, "")) == "f9ee4214ea93d64fdb4825678fa1f04b70407e284a34691d5fc4d2b8b9f307a9");
  CHECK(Digits({code_key, "alice", 2}, 0, 48) == "000101111100110100100110111101001101001011011011");
  CHECK(Digits({code_key, "alice", 4}, 0, 48) == "022330320121332032013213312100133303303232010002");
  CHECK(Digits({code_key, "alice", 8}, 0, 48) == "063346723435760574333400121374325420064521140772");
  CHECK(Digits({code_key, "bob", 4}, 0, 48) == "030321121023011001330221312023121320230020133022");
  CHECK(Digits({code_key, "alice", 4}, 1'000'000, 48) == "303200301101002133013121103032003103232233131132");
  CHECK(Digits({code_key, "alice", 8}, 1'000'000, 48) == "030711115721202433643523705357245250267534051524");
}

TEST_CASE("TraceCode: every variant is equally likely, over symbols and over accounts", "[trace_code]") {
  // Chance of failing: 6 tests of 1e-9 each, with keys that are fixed.
  for (const int q : {2, 4, 8}) {
    std::vector<int> over_symbols(static_cast<std::size_t>(q));
    std::vector<int> over_accounts(static_cast<std::size_t>(q));
    TraceCode code(TestCodeKey(3), "listener", q);
    for (int i = 0; i < 40'000; ++i) {
      ++over_symbols[static_cast<std::size_t>(code.VariantAt(i))];
      ++over_accounts[static_cast<std::size_t>(TraceCode(TestCodeKey(3), std::to_string(i), q).VariantAt(17))];
    }
    CHECK(ChiSquare(over_symbols) < ChiSquareLimit(q - 1));
    CHECK(ChiSquare(over_accounts) < ChiSquareLimit(q - 1));
  }
}

TEST_CASE("TraceCode: codes of accounts, streams, keys and neighbouring symbols are independent", "[trace_code]") {
  // Pairs of variants are uniform over q² values. Chance of failing: 12 tests of 1e-9 each, with keys that are fixed.
  const StreamKeys keys = TestKeys(1, "room");
  const StreamKeys other_stream = TestKeys(1, "room2");
  const StreamKeys other_master = TestKeys(2, "room");
  for (const int q : {2, 4, 8}) {
    const auto n = static_cast<std::size_t>(q);
    const auto independent = [&](TraceCode a, TraceCode b, int lag) {
      std::vector<int> pairs(n * n);
      for (int i = 0; i < 50'000; ++i)
        ++pairs[static_cast<std::size_t>(a.VariantAt(i)) * n + static_cast<std::size_t>(b.VariantAt(i + lag))];
      return ChiSquare(pairs) < ChiSquareLimit(q * q - 1);
    };
    const TraceCode code(keys.code, "account-1", q);
    CHECK(independent(code, {keys.code, "account-2", q}, 0));
    CHECK(independent(code, {other_stream.code, "account-1", q}, 0));
    CHECK(independent(code, {other_master.code, "account-1", q}, 0));
    CHECK(independent(code, code, 1));
    CHECK_FALSE(independent(code, code, 0));  // the test can fail
  }
}

TEST_CASE("TraceCode: any order of reading gives the same code", "[trace_code]") {
  for (const int q : {2, 4, 8}) {
    constexpr int kSymbols = 3000;
    TraceCode sequential(TestCodeKey(5), "a", q);
    std::vector<int> variants;
    for (int i = 0; i < kSymbols; ++i) variants.push_back(sequential.VariantAt(i));
    TraceCode random_access(TestCodeKey(5), "a", q);
    Random random(6);
    for (int i = 0; i < 5000; ++i) {
      const std::int64_t symbol = random.Below(kSymbols);
      REQUIRE(random_access.VariantAt(symbol) == variants[static_cast<std::size_t>(symbol)]);
    }
    for (int i = kSymbols; i-- > 0;) REQUIRE(random_access.VariantAt(i) == variants[static_cast<std::size_t>(i)]);
  }
}

TEST_CASE("TraceCode: a code goes on for longer than any stream", "[trace_code]") {
  // A century of 20 ms symbols; and the blocks' borders.
  for (const int q : {2, 4, 8}) {
    TraceCode code(TestCodeKey(5), "a", q);
    for (const std::int64_t symbol :
         {std::int64_t{157'788'000'000}, std::int64_t{SymbolsPerBlock(q)}, std::int64_t{SymbolsPerBlock(q)} - 1}) {
      const int variant = code.VariantAt(symbol);
      CHECK(variant >= 0);
      CHECK(variant < q);
      CHECK(TraceCode(TestCodeKey(5), "a", q).VariantAt(symbol) == variant);
    }
  }
}

TEST_CASE("TraceCode: names that look alike are other accounts", "[trace_code]") {
  using namespace std::string_view_literals;
  for (const auto other : {"alice "sv, "Alice"sv, "alic"sv, "alice\0"sv, ""sv, "alice\xC2\xA0"sv}) {
    CHECK(Digits({TestCodeKey(0), "alice", 4}, 0, 48) != Digits({TestCodeKey(0), other, 4}, 0, 48));
  }
}

}  // namespace
}  // namespace earmark
