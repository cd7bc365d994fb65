#include "dsp/core/stream_keys.h"

#include <string>

namespace earmark {

Key DeriveKey(const Key& key, std::string_view label, std::string_view data) {
  crypto_generichash_state state;
  const auto secret = key.RevealBytes();
  crypto_generichash_init(&state, secret.data(), secret.size(), 32);
  const auto update = [&state](std::string_view bytes) {
    crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  };
  update(label);
  std::array<char, 8> length{};
  for (std::size_t i = 0; i < length.size(); ++i) length[i] = static_cast<char>((data.size() >> (8 * i)) & 0xFF);
  update({length.data(), length.size()});
  update(data);
  Key derived;
  crypto_generichash_final(&state, derived.MutableBytes().data(), 32);
  sodium_memzero(&state, sizeof state);
  return derived;
}

Key NewRandomKey() {
  Key key;
  randombytes_buf(key.MutableBytes().data(), key.MutableBytes().size());
  return key;
}

Key DeriveStreamKey(const Key& master, std::string_view stream_id, const std::array<std::uint8_t, 16>& salt) {
  std::string name(stream_id);
  name.append(reinterpret_cast<const char*>(salt.data()), salt.size());
  return DeriveKey(master, "earmark.v1.stream", name);
}

ReadingKeys DeriveReadingKeys(const Key& master, std::string_view stream_id, const std::array<std::uint8_t, 16>& salt) {
  const Key stream = DeriveStreamKey(master, stream_id, salt);
  return {.seal = DeriveKey(stream, "earmark.v1.seal"), .carrier = DeriveKey(stream, "earmark.v1.carrier")};
}

}  // namespace earmark
