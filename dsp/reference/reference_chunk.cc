#include "dsp/reference/reference_chunk.h"

#include <algorithm>
#include <string>

namespace earmark {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kVersionWithGaps = 2;  // so that a reader from before there were gaps says what is the matter
constexpr std::size_t kHeaderBytes = 4;  // version, variants, packets (16-bit little-endian)
constexpr std::uint16_t kErasedFlag = 0x8000;
constexpr auto kSealHeaderBytes = crypto_secretstream_xchacha20poly1305_HEADERBYTES;
constexpr auto kSealTagBytes = crypto_secretstream_xchacha20poly1305_ABYTES;

std::string AssociatedData(const ChunkContext& context) {
  std::string data = "earmark.reference.1";
  const auto append = [&data](std::uint64_t value) {
    for (int i = 0; i < 8; ++i) data.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
  };
  append(context.stream_id.size());
  data += context.stream_id;
  append(static_cast<std::uint64_t>(context.source));
  append(static_cast<std::uint64_t>(context.first_packet));
  return data;
}

std::uint16_t ReadU16(const std::uint8_t* bytes) { return static_cast<std::uint16_t>(bytes[0] | (bytes[1] << 8)); }

}  // namespace

ReferenceChunkBuilder::ReferenceChunkBuilder(int num_variants) : num_variants_(num_variants) {
  bytes_.reserve(kHeaderBytes + static_cast<std::size_t>(kPacketsPerChunk) * (2 + static_cast<std::size_t>(num_variants) * kMaxPacketBytes));
  Clear();
}

void ReferenceChunkBuilder::Clear() {
  bytes_.assign(kHeaderBytes, 0);
  num_packets_ = 0;
  num_erased_ = 0;
  num_gap_packets_ = 0;
}

void ReferenceChunkBuilder::AddGap(int num_packets) {
  const int added = std::clamp(num_packets, 0, kPacketsPerChunk - num_packets_);
  bytes_.resize(bytes_.size() + 2 * static_cast<std::size_t>(added), 0);
  num_packets_ += added;
  num_gap_packets_ += added;
}

void ReferenceChunkBuilder::Add(const Slot& slot) {
  const auto length = static_cast<std::uint16_t>(slot.packets[0].size());
  const std::uint16_t word = length | (slot.erased ? kErasedFlag : std::uint16_t{0});
  bytes_.push_back(static_cast<std::uint8_t>(word & 0xFF));
  bytes_.push_back(static_cast<std::uint8_t>(word >> 8));
  const int kept = slot.erased ? 1 : num_variants_;
  for (int v = 0; v < kept; ++v) {
    const auto packet = slot.packets[static_cast<std::size_t>(v)];
    bytes_.insert(bytes_.end(), packet.begin(), packet.end());
  }
  ++num_packets_;
  num_erased_ += slot.erased ? 1 : 0;
}

std::vector<std::uint8_t> ReferenceChunkBuilder::Seal(const Key& seal_key, const ChunkContext& context) {
  bytes_[0] = num_gap_packets_ > 0 ? kVersionWithGaps : kVersion;
  bytes_[1] = static_cast<std::uint8_t>(num_variants_);
  bytes_[2] = static_cast<std::uint8_t>(num_packets_ & 0xFF);
  bytes_[3] = static_cast<std::uint8_t>(num_packets_ >> 8);
  const std::string associated = AssociatedData(context);
  std::vector<std::uint8_t> sealed(kSealHeaderBytes + bytes_.size() + kSealTagBytes);
  crypto_secretstream_xchacha20poly1305_state state;
  crypto_secretstream_xchacha20poly1305_init_push(&state, sealed.data(), seal_key.RevealBytes().data());
  crypto_secretstream_xchacha20poly1305_push(&state, sealed.data() + kSealHeaderBytes, nullptr, bytes_.data(), bytes_.size(),
                                             reinterpret_cast<const unsigned char*>(associated.data()), associated.size(),
                                             crypto_secretstream_xchacha20poly1305_TAG_FINAL);
  sodium_memzero(&state, sizeof state);
  Clear();
  return sealed;
}

Result<ReferenceChunkData> ReferenceChunkData::Open(std::span<const std::uint8_t> sealed, const Key& seal_key,
                                                    const ChunkContext& context) {
  const auto damaged = [&context] {
    return Fail(ErrorCode::kDataLoss, "stream '" + std::string(context.stream_id) + "': reference chunk at packet " +
                                          std::to_string(context.first_packet) + " cannot be opened: other key, or damaged");
  };
  if (sealed.size() < kSealHeaderBytes + kSealTagBytes + kHeaderBytes) return damaged();
  const std::string associated = AssociatedData(context);
  std::vector<std::uint8_t> bytes(sealed.size() - kSealHeaderBytes - kSealTagBytes);
  crypto_secretstream_xchacha20poly1305_state state;
  unsigned char tag = 0;
  const bool opened =
      crypto_secretstream_xchacha20poly1305_init_pull(&state, sealed.data(), seal_key.RevealBytes().data()) == 0 &&
      crypto_secretstream_xchacha20poly1305_pull(&state, bytes.data(), nullptr, &tag, sealed.data() + kSealHeaderBytes,
                                                 sealed.size() - kSealHeaderBytes,
                                                 reinterpret_cast<const unsigned char*>(associated.data()), associated.size()) == 0;
  sodium_memzero(&state, sizeof state);
  if (!opened || tag != crypto_secretstream_xchacha20poly1305_TAG_FINAL) return damaged();
  return Parse(std::move(bytes));
}

Result<ReferenceChunkData> ReferenceChunkData::Parse(std::vector<std::uint8_t> bytes) {
  const auto malformed = [] { return Fail(ErrorCode::kDataLoss, "reference chunk: malformed"); };
  if (bytes.size() < kHeaderBytes) return malformed();
  const bool may_have_gaps = bytes[0] == kVersionWithGaps;
  if (bytes[0] != kVersion && !may_have_gaps) return Fail(ErrorCode::kFailedPrecondition, "reference chunk: written by a newer version of Earmark");
  ReferenceChunkData data;
  data.num_variants_ = bytes[1];
  if (data.num_variants_ < 1 || data.num_variants_ > kMaxVariants) return malformed();
  const int num_packets = ReadU16(&bytes[2]);
  std::size_t at = kHeaderBytes;
  for (int i = 0; i < num_packets; ++i) {
    if (at + 2 > bytes.size()) return malformed();
    const std::uint16_t word = ReadU16(&bytes[at]);
    const bool erased = (word & kErasedFlag) != 0;
    const auto length = static_cast<std::uint16_t>(word & ~kErasedFlag);
    at += 2;
    data.slots_.push_back({static_cast<std::uint32_t>(at), length, erased});
    at += static_cast<std::size_t>(length) * (erased ? 1 : static_cast<std::size_t>(data.num_variants_));
    if (length == 0 && (erased || !may_have_gaps)) return malformed();
    if (length > kMaxPacketBytes || at > bytes.size()) return malformed();
  }
  if (at != bytes.size()) return malformed();
  data.bytes_ = std::move(bytes);
  return data;
}

Slot ReferenceChunkData::SlotAt(int packet) const noexcept {
  const Entry& entry = slots_[static_cast<std::size_t>(packet)];
  Slot slot;
  slot.erased = entry.erased;
  for (std::size_t v = 0; v < static_cast<std::size_t>(num_variants_); ++v) {
    slot.packets[v] = {bytes_.data() + entry.offset + (entry.erased ? 0 : v * entry.length), entry.length};
  }
  return slot;
}

}  // namespace earmark
