#include <catch2/catch.hpp>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "dsp/tracing/code_key.h"
#include "tests/support/marked_stream.h"

namespace earmark {
namespace {

using namespace std::string_view_literals;

bool Same(const Key& a, const Key& b) { return a.EqualsInConstantTime(b); }

std::string Hex(const Key& key) {
  std::string hex(64, '0');
  for (std::size_t i = 0; i < 64; ++i) hex[i] = "0123456789abcdef"[(key.RevealBytes()[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 15];
  return hex;
}

std::array<std::uint8_t, 16> Salt(std::uint8_t first) {
  std::array<std::uint8_t, 16> salt{};
  std::iota(salt.begin(), salt.end(), first);
  return salt;
}

TEST_CASE("StreamKeys: known answers", "[stream_keys]") {
  // Frozen for version 1; computed by an independent implementation (Python's hashlib.blake2b).
  const StreamKeys keys = DeriveStreamKeys(TestKey(0), "room", Salt(100));
  CHECK(Hex(keys.seal) == "3e0af274ab32fb074a7deea00e791008d86743c5a505124e96ba3436aa105563");
  CHECK(Hex(keys.carrier) == "8b60d73e0d18ed9cd1a38545fb535973d8d72b52c2216afb4188b4ed3c05f5ed");
  CHECK(Hex(keys.code.key()) == "092caa5158ac9511f39ec1f1f86ad40598f8000caff1bb7f136dba835bd7edab");
}

TEST_CASE("StreamKeys: master key, stream id and salt each make other keys, and all leaves differ", "[stream_keys]") {
  std::vector<Key> all;
  for (const auto& keys : {DeriveStreamKeys(TestKey(0), "room", Salt(0)), DeriveStreamKeys(TestKey(1), "room", Salt(0)),
                           DeriveStreamKeys(TestKey(0), "room2", Salt(0)), DeriveStreamKeys(TestKey(0), "", Salt(0)),
                           DeriveStreamKeys(TestKey(0), "room", Salt(1))}) {
    for (const Key& key : {keys.seal, keys.carrier, keys.code.key()}) all.push_back(key);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) CHECK_FALSE(Same(all[i], all[j]));
  }
  CHECK(Same(all[0], DeriveStreamKeys(TestKey(0), "room", Salt(0)).seal));
}

TEST_CASE("StreamKeys: moving bytes between label, data and salt makes another key", "[stream_keys]") {
  const Key key = TestKey(0);
  CHECK_FALSE(Same(DeriveKey(key, "ab", "c"), DeriveKey(key, "a", "bc")));
  CHECK_FALSE(Same(DeriveKey(key, "a", ""), DeriveKey(key, "", "a")));
  CHECK_FALSE(Same(DeriveKey(key, "a"), DeriveKey(key, "a", "\0"sv)));
  // The length's own bytes in the label do not pass for a length.
  CHECK_FALSE(Same(DeriveKey(key, "a\0\0\0\0\0\0\0\0"sv), DeriveKey(key, "a")));
  // A stream id that ends in what could be a salt.
  std::string id = "room";
  const auto salt = Salt(100);
  id.append(reinterpret_cast<const char*>(salt.data()), salt.size());
  CHECK_FALSE(Same(DeriveStreamKeys(key, id, {}).seal, DeriveStreamKeys(key, "room", salt).seal));
}

TEST_CASE("StreamKeys: one bit of the master key changes half the bits of every key", "[stream_keys]") {
  // Of 256 bits 60 to 196 differ: 8.5 standard deviations each way, chance of failing below 1e-16.
  Key flipped = TestKey(0);
  flipped.MutableBytes()[31] ^= 1;
  const Key a = DeriveKey(TestKey(0), "label");
  const Key b = DeriveKey(flipped, "label");
  int bits = 0;
  for (std::size_t i = 0; i < 32; ++i) bits += __builtin_popcount(static_cast<unsigned>(a.RevealBytes()[i] ^ b.RevealBytes()[i]));
  CHECK(bits > 60);
  CHECK(bits < 196);
}

TEST_CASE("Secret: a copy is the same key, and comparing takes the whole of it", "[stream_keys]") {
  const Key key = TestKey(4);
  const Key copy = key;  // NOLINT(performance-unnecessary-copy-initialization)
  CHECK(Same(key, copy));
  Key other = key;
  other.MutableBytes()[31] ^= 0x80;
  CHECK_FALSE(Same(key, other));
}

}  // namespace
}  // namespace earmark
