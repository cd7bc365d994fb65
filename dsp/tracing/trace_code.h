// Trace codes: which variant a listener gets in each symbol.
//
// A code is the ChaCha20 keystream of a key derived from the stream's code key and the account's name, cut into fields of
// 1, 2 or 4 bits for q = 2, 4 or 8 variants, least significant field of each byte first; the variant is the field modulo q (so every
// variant is equally likely and all symbols of all accounts are independent, as far as anyone without the key can tell). Codes are
// derived, never stored. docs/formats/trace-code.md has test vectors.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "dsp/core/keystream.h"
#include "dsp/core/secret.h"
#include "dsp/tracing/code_key.h"

namespace earmark {

// Bits of keystream per symbol: 1, 2, 4 for q = 2, 4, 8.
constexpr int BitsPerSymbol(int num_variants) { return num_variants == 2 ? 1 : num_variants == 4 ? 2 : 4; }

constexpr int SymbolsPerBlock(int num_variants) { return kKeystreamBlockBytes * 8 / BitsPerSymbol(num_variants); }

// The key of one account's code in one stream.
Key DeriveGrantKey(const CodeKey& code_key, std::string_view account);

// One listener's code, read in order by the choosing side. 100 bytes of state; VariantAt neither allocates nor locks, and computes a new
// block once in SymbolsPerBlock symbols (about 10 s). One object serves one thread at a time.
class TraceCode {
 public:
  TraceCode(const CodeKey& code_key, std::string_view account, int num_variants)
      : grant_key_(DeriveGrantKey(code_key, account)), num_variants_(num_variants) {}

  // The variant of a symbol (>= 0): 0 … num_variants-1.
  int VariantAt(std::int64_t symbol) noexcept;

 private:
  Key grant_key_;
  int num_variants_;
  std::int64_t block_index_ = -1;
  std::array<std::uint8_t, kKeystreamBlockBytes> block_{};
};

}  // namespace earmark
