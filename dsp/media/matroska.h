// The elements that Matroska and WebM files are made of (EBML, RFC 8794).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "dsp/media/input_view.h"

namespace earmark {

constexpr std::string_view kEbmlMagic = "\x1A\x45\xDF\xA3";
constexpr std::uint32_t kEbmlId = 0x1A45DFA3;  // the same, as a number
constexpr std::uint32_t kSegmentId = 0x18538067;
constexpr std::uint32_t kClusterId = 0x1F43B675;

struct EbmlElement {
  std::uint32_t id = 0;    // with its marker bits, as it stands in the file
  std::int64_t begin = 0;  // of what it holds
  std::int64_t size = 0;   // of that; -1: it does not say, as those of live recordings
  std::int64_t end() const { return size < 0 ? -1 : begin + size; }
};

// The element at `offset`; nothing if there is none, or not all of its head.
std::optional<EbmlElement> ReadElement(const PeekBytes& peek, std::int64_t offset);

// The length of the EBML header of a Matroska file at `offset`; 0 if there is none.
std::int64_t MatroskaHeaderBytes(const PeekBytes& peek, std::int64_t offset);

}  // namespace earmark
