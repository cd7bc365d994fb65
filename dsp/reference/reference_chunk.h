// The reference: the packets of all variants, or the source's own, kept in sealed chunks. docs/formats/sealed-reference.md is the format.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/secret.h"
#include "dsp/marking/variant_encoder.h"

namespace earmark {

inline constexpr int kPacketsPerChunk = 500;         // 10 s; the last chunk of a source may be shorter
inline constexpr int kMaxSourcePacketBytes = 61308;  // 120 ms in frames of 2.5 ms, without padding (RFC 7845, section 6)
// 3.3 Mb/s, far beyond Opus's 510 kb/s: what a chunk may take of the memory of who records it, whatever the source sends.
inline constexpr std::size_t kMaxSourceChunkBytes = std::size_t{4} << 20;

// What a sealed chunk is bound to: one cannot be passed off as another.
struct ChunkContext {
  std::string_view stream_id;
  int source = 0;
  std::int64_t first_packet = 0;
};

// One of the source's own packets, of 2.5 to 120 ms: it starts `offset_samples` (0 to 959, at 48 kHz) behind the start of slot `packet` of its chunk.
struct SourcePacketRecord {
  int packet = 0;
  int offset_samples = 0;
  std::span<const std::uint8_t> opus;
};

// An opened chunk: of slots, with the packets of all variants, or of source packets.
class ReferenceChunkData {
 public:
  int num_variants() const { return num_variants_; }  // packets a slot; 1 for source packets
  int num_packets() const { return num_packets_; }    // the 20 ms slots that it covers
  // 0 … num_packets()-1, from the start of the chunk; the spans live as long as this object. Empty packets where nothing was sent, and throughout a
  // chunk of source packets. Slot::packet is not set: a chunk does not know where it lies.
  Slot SlotAt(int packet) const noexcept;

  bool is_source_packets() const { return is_source_packets_; }
  int num_source_packets() const { return static_cast<int>(source_packets_.size()); }
  // 0 … num_source_packets()-1, in order of their starts, of which no two are the same. They may overlap, and the last may go on beyond the chunk's end.
  SourcePacketRecord SourcePacketAt(int index) const noexcept;

  // kDataLoss: wrong key, wrong context, or damaged; which of them cannot be told apart.
  static Result<ReferenceChunkData> Open(std::span<const std::uint8_t> sealed, const Key& seal_key, const ChunkContext& context);

 private:
  struct Entry {
    std::uint32_t offset;
    std::uint16_t length;
    bool erased;
  };
  struct SourceEntry {
    std::uint32_t offset;
    std::uint32_t length;
    std::int32_t start_samples;  // from the start of the chunk
  };
  static Result<ReferenceChunkData> Parse(std::vector<std::uint8_t> bytes);
  // Both say whether the bytes hold just what they should.
  bool ParseSlots();
  bool ParseSourcePackets();

  int version_ = 0;
  int num_variants_ = 0;
  int num_packets_ = 0;
  bool is_source_packets_ = false;
  std::vector<std::uint8_t> bytes_;
  std::vector<Entry> slots_;
  std::vector<SourceEntry> source_packets_;
};

// Collects slots, or source packets, and seals them. Add and AddSourcePacket do not allocate once constructed, the latter up to 510 kb/s.
class ReferenceChunkBuilder {
 public:
  explicit ReferenceChunkBuilder(int num_variants);  // of slots
  // `max_packets`: the slots that a chunk may cover.
  static ReferenceChunkBuilder ForSourcePackets(int max_packets = kPacketsPerChunk);
  // Of a builder of slots; one for source packets ignores it.
  void Add(const Slot& slot);
  // Of a builder for source packets: the packet that starts `offset_samples` (0 to 959, at 48 kHz) behind the start of slot `packet_in_chunk` (0 to
  // max_packets - 1), later than the one added before. The chunk then covers the slots up to the packet's end, as far as it may; slots without a
  // packet are gaps. kInvalidArgument: out of range, not later, or not an Opus packet of up to kMaxSourcePacketBytes; kResourceExhausted: the chunk has
  // kMaxSourceChunkBytes; kFailedPrecondition: a builder of slots. What was added before stays.
  Result<void> AddSourcePacket(int packet_in_chunk, int offset_samples, std::span<const std::uint8_t> opus);
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
  int max_packets_ = kPacketsPerChunk;
  bool is_source_packets_ = false;
  int last_start_samples_ = -1;  // of source packets, from the start of the chunk
  int last_end_samples_ = 0;
  int num_packets_ = 0;
  int num_erased_ = 0;
  int num_gap_packets_ = 0;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace earmark
