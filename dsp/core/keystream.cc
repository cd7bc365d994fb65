#include "dsp/core/keystream.h"

#include <algorithm>
#include <array>

namespace earmark {

void Keystream(const Key& key, std::int64_t first_block, std::span<std::uint8_t> keystream) noexcept {
  static constexpr std::array<std::uint8_t, crypto_stream_chacha20_NONCEBYTES> kNonce{};  // a key makes one keystream, ever
  std::fill(keystream.begin(), keystream.end(), std::uint8_t{0});
  crypto_stream_chacha20_xor_ic(keystream.data(), keystream.data(), keystream.size(), kNonce.data(),
                                static_cast<std::uint64_t>(first_block), key.RevealBytes().data());
}

}  // namespace earmark
