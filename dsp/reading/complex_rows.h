// Rows of complex numbers, real and imaginary parts apart, so that loops along a row use whole vectors.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace earmark {

struct ConstRow {
  const float* re;
  const float* im;

  // The row as it was `frames` (0 to ComplexRows::kPast) before.
  ConstRow Delayed(std::size_t frames) const { return {re - frames, im - frames}; }
  ConstRow From(std::size_t frame) const { return {re + frame, im + frame}; }
};

struct Row {
  float* re;
  float* im;

  operator ConstRow() const { return {re, im}; }
  Row From(std::size_t frame) const { return {re + frame, im + frame}; }
};

// Zero at first. Before each row lie kPast zeros, which is what filters find that reach back beyond its start.
class ComplexRows {
 public:
  static constexpr std::size_t kPast = 8;

  ComplexRows() = default;
  ComplexRows(std::size_t num_rows, std::size_t length) : length_(length), data_(2 * num_rows * (kPast + length)) {}

  Row operator[](std::size_t row) { return {data_.data() + Real(row), data_.data() + Imaginary(row)}; }
  ConstRow operator[](std::size_t row) const { return {data_.data() + Real(row), data_.data() + Imaginary(row)}; }
  // All rows' numbers with the zeros, for what is done to each number alone and leaves zero as it is.
  std::span<float> all() { return data_; }
  std::span<const float> all() const { return data_; }

 private:
  std::size_t Real(std::size_t row) const { return 2 * row * (kPast + length_) + kPast; }
  std::size_t Imaginary(std::size_t row) const { return Real(row) + kPast + length_; }

  std::size_t length_ = 0;
  std::vector<float> data_;
};

}  // namespace earmark
