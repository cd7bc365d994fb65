// The reference: the packets of all variants, kept in sealed chunks. docs/formats/sealed-reference.md is the format.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/secret.h"
#include "dsp/marking/variant_encoder.h"

namespace earmark {

inline constexpr int kPacketsPerChunk = 500;  // 10 s; the last chunk of a source may be shorter

// What a sealed chunk is bound to: one cannot be passed off as another.
struct ChunkContext {
  std::string_view stream_id;
  int source = 0;
  std::int64_t first_packet = 0;
};

// An opened chunk.
class ReferenceChunkData {
 public:
  int num_variants() const { return num_variants_; }
  int num_packets() const { return static_cast<int>(slots_.size()); }
  // 0 … num_packets()-1, from the start of the chunk; the spans live as long as this object. Empty packets where nothing was sent. Slot::packet
  // is not set: a chunk does not know where it lies.
  Slot SlotAt(int packet) const noexcept;

  // kDataLoss: wrong key, wrong context, or damaged; which of them cannot be told apart.
  static Result<ReferenceChunkData> Open(std::span<const std::uint8_t> sealed, const Key& seal_key, const ChunkContext& context);

 private:
  struct Entry {
    std::uint32_t offset;
    std::uint16_t length;
    bool erased;
  };
  static Result<ReferenceChunkData> Parse(std::vector<std::uint8_t> bytes);

  int num_variants_ = 0;
  std::vector<std::uint8_t> bytes_;
  std::vector<Entry> slots_;
};

// Collects slots and seals them. Add does not allocate once constructed.
class ReferenceChunkBuilder {
 public:
  explicit ReferenceChunkBuilder(int num_variants);
  void Add(const Slot& slot);
  // Nothing was sent for the next `num_packets` slots; they count as packets, not as erased. At most kPacketsPerChunk slots fit in all; what is more is
  // the caller's mistake, and is cut off.
  void AddGap(int num_packets);
  int num_packets() const { return num_packets_; }
  int num_erased() const { return num_erased_; }
  // Seals what was added and starts anew.
  std::vector<std::uint8_t> Seal(const Key& seal_key, const ChunkContext& context);

 private:
  void Clear();

  int num_variants_;
  int num_packets_ = 0;
  int num_erased_ = 0;
  int num_gap_packets_ = 0;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace earmark
