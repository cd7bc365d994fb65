#include "dsp/marking/trace_code.h"

#include "dsp/core/stream_keys.h"

namespace earmark {

Key DeriveGrantKey(const Key& code_key, std::string_view account) { return DeriveKey(code_key, "earmark.v1.grant", account); }

void CodeKeystream(const Key& grant_key, std::int64_t first_block, std::span<std::uint8_t> keystream) noexcept {
  static constexpr std::array<std::uint8_t, crypto_stream_chacha20_NONCEBYTES> kNonce{};  // a key makes one keystream, ever
  std::fill(keystream.begin(), keystream.end(), std::uint8_t{0});
  crypto_stream_chacha20_xor_ic(keystream.data(), keystream.data(), keystream.size(), kNonce.data(),
                                static_cast<std::uint64_t>(first_block), grant_key.RevealBytes().data());
}

int TraceCode::VariantAt(std::int64_t symbol) noexcept {
  const int per_block = SymbolsPerBlock(num_variants_);
  const std::int64_t block = symbol / per_block;
  if (block != block_index_) {
    CodeKeystream(grant_key_, block, block_);
    block_index_ = block;
  }
  const int bit = static_cast<int>(symbol % per_block) * BitsPerSymbol(num_variants_);
  return (block_[static_cast<std::size_t>(bit / 8)] >> (bit % 8)) & (num_variants_ - 1);
}

}  // namespace earmark
