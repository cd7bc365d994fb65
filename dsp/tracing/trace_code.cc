#include "dsp/tracing/trace_code.h"

#include "dsp/core/stream_keys.h"

namespace earmark {

Key DeriveGrantKey(const CodeKey& code_key, std::string_view account) {
  return DeriveKey(code_key.key(), "earmark.v1.grant", account);
}

int TraceCode::VariantAt(std::int64_t symbol) noexcept {
  const int per_block = SymbolsPerBlock(num_variants_);
  const std::int64_t block = symbol / per_block;
  if (block != block_index_) {
    Keystream(grant_key_, block, block_);
    block_index_ = block;
  }
  const int bit = static_cast<int>(symbol % per_block) * BitsPerSymbol(num_variants_);
  return (block_[static_cast<std::size_t>(bit / 8)] >> (bit % 8)) & (num_variants_ - 1);
}

}  // namespace earmark
