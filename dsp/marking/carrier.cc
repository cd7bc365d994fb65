#include "dsp/marking/carrier.h"

#include <algorithm>

#include "dsp/core/keystream.h"

namespace earmark {

const SymbolSigns& CarrierSigns::At(std::int64_t symbol) noexcept {
  if (symbol == symbol_) return signs_;
  symbol_ = symbol;
  const int bytes_per_symbol = code_version_ == 1 ? 16 : kKeystreamBlockBytes;
  std::array<std::uint8_t, kKeystreamBlockBytes> block;
  Keystream(key_, symbol * bytes_per_symbol / kKeystreamBlockBytes, block);
  const auto* word = block.data() + symbol * bytes_per_symbol % kKeystreamBlockBytes;
  for (std::size_t j = 0; j < signs_.size(); ++j) {
    auto& carrier = signs_[j];
    for (std::size_t band = 0; band < carrier.size(); ++band)
      carrier[band] = ((word[band / 8] >> (band % 8)) & 1) != 0 ? -1.0F : 1.0F;
    draws_.gain_signs[j] = ((word[kGainField / 8] >> (kGainField % 8)) & 1) != 0 ? -1.0F : 1.0F;
    word += 4;
  }
  if (code_version_ > 1) std::copy_n(word, draws_.draws.size(), draws_.draws.begin());
  return signs_;
}

}  // namespace earmark
