// The bytes of a packet that differ in a variant.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace earmark {

class Patch {
 public:
  static constexpr std::size_t kCapacity = 256;  // a frame of 20 ms has at most some 60
  static constexpr std::size_t kMaxPacketBytes = 65535;

  struct Change {
    std::uint16_t offset;  // from the packet's start
    std::uint8_t byte;     // what stands there in the variant
  };

  void Clear() noexcept { size_ = 0; }
  bool empty() const noexcept { return size_ == 0; }
  std::span<const Change> changes() const noexcept { return std::span(changes_).first(size_); }

  // Takes back all that was added since size() was `size`.
  void CutTo(std::size_t size) noexcept { size_ = size; }
  std::size_t size() const noexcept { return size_; }

  // Adds where `changed` differs from `original`, two versions of packet bytes [offset, offset + size). False: no room, and nothing is added.
  bool Add(std::size_t offset, std::span<const std::uint8_t> original, std::span<const std::uint8_t> changed) noexcept {
    const std::size_t before = size_;
    for (std::size_t i = 0; i < original.size(); ++i) {
      if (original[i] == changed[i]) continue;
      if (size_ == kCapacity) {
        size_ = before;
        return false;
      }
      changes_[size_++] = {static_cast<std::uint16_t>(offset + i), changed[i]};
    }
    return true;
  }

  // `packet`: the source's, of which this patch was made.
  void Apply(std::span<std::uint8_t> packet) const noexcept {
    for (const Change& change : changes()) packet[change.offset] = change.byte;
  }

 private:
  std::array<Change, kCapacity> changes_;
  std::size_t size_ = 0;
};

}  // namespace earmark
