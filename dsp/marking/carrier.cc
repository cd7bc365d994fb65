#include "dsp/marking/carrier.h"

#include "dsp/marking/trace_code.h"

namespace earmark {

const SymbolSigns& CarrierSigns::At(std::int64_t symbol) noexcept {
  if (symbol == symbol_) return signs_;
  symbol_ = symbol;
  constexpr int kBytesPerSymbol = 16;
  std::array<std::uint8_t, kCodeBlockBytes> block;
  CodeKeystream(key_, symbol * kBytesPerSymbol / kCodeBlockBytes, block);
  const auto* word = block.data() + symbol * kBytesPerSymbol % kCodeBlockBytes;
  for (auto& carrier : signs_) {
    for (std::size_t band = 0; band < carrier.size(); ++band) carrier[band] = ((word[band / 8] >> (band % 8)) & 1) != 0 ? -1.0F : 1.0F;
    word += 4;
  }
  return signs_;
}

}  // namespace earmark
