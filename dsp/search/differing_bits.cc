// Compiled once for each kind of processor; the version that runs is chosen when it runs.
#include "dsp/search/differing_bits.h"

#include <bit>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "dsp/search/differing_bits.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace earmark {
namespace HWY_NAMESPACE {

int CountDifferingInVectors(const std::uint64_t* a, const std::uint64_t* b, const std::uint64_t* mask, std::size_t num_words) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<std::uint64_t> words;
  const std::size_t step = hn::Lanes(words);
  auto count = hn::Zero(words);
  std::size_t at = 0;
  for (; at + step <= num_words; at += step) {
    const auto differing = hn::And(hn::Xor(hn::LoadU(words, a + at), hn::LoadU(words, b + at)), hn::LoadU(words, mask + at));
    count = hn::Add(count, hn::PopulationCount(differing));
  }
  const auto counted = static_cast<int>(hn::GetLane(hn::SumOfLanes(words, count)));
  return counted + CountDifferingOneByOne(a + at, b + at, mask + at, num_words - at);
}

}  // namespace HWY_NAMESPACE
}  // namespace earmark
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace earmark {

HWY_EXPORT(CountDifferingInVectors);

int CountDiffering(const std::uint64_t* a, const std::uint64_t* b, const std::uint64_t* mask, std::size_t num_words) noexcept {
  return HWY_DYNAMIC_DISPATCH(CountDifferingInVectors)(a, b, mask, num_words);
}

int CountDifferingOneByOne(const std::uint64_t* a, const std::uint64_t* b, const std::uint64_t* mask,
                           std::size_t num_words) noexcept {
  int count = 0;
  for (std::size_t at = 0; at < num_words; ++at) count += std::popcount((a[at] ^ b[at]) & mask[at]);
  return count;
}

}  // namespace earmark
#endif
