// How many bits of two fingerprints differ.
#pragma once

#include <cstddef>
#include <cstdint>

namespace earmark {

// Bits that `mask` has, `num_words` words of each. In vectors of whatever processor it runs on. Real-time safe.
int CountDiffering(const std::uint64_t* a, const std::uint64_t* b, const std::uint64_t* mask, std::size_t num_words) noexcept;

// The same word by word.
int CountDifferingOneByOne(const std::uint64_t* a, const std::uint64_t* b, const std::uint64_t* mask,
                           std::size_t num_words) noexcept;

}  // namespace earmark
