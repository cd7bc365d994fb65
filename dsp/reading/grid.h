// Numbers by row and place, grid[bin][frame], and the places around one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

namespace earmark {

template <typename T>
class Grid {
 public:
  Grid() = default;
  Grid(std::size_t num_rows, std::size_t length, T value = T{}) : length_(length), data_(num_rows * length, value) {}

  std::span<T> operator[](std::size_t row) { return std::span(data_).subspan(row * length_, length_); }
  std::span<const T> operator[](std::size_t row) const { return std::span(data_).subspan(row * length_, length_); }

 private:
  std::size_t length_ = 0;
  std::vector<T> data_;
};

struct Places {
  std::size_t first = 0;
  std::size_t end = 0;
};

// Those at most `half` away from `at`, of `length` that there are.
inline Places Around(std::size_t at, std::size_t half, std::size_t length) {
  return {.first = at < half ? 0 : at - half, .end = std::min(length, at + half + 1)};
}

}  // namespace earmark
