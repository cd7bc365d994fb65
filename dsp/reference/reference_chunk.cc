#include "dsp/reference/reference_chunk.h"

#include <opus.h>

#include <algorithm>
#include <optional>
#include <string>

namespace earmark {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kVersionWithGaps = 2;  // so that a reader from before there were gaps says what is the matter
constexpr std::uint8_t kVersionOfSourcePackets = 3;
constexpr std::uint32_t kMovedFlag = 1;  // a packet that does not start where the one before ends
constexpr int kMaxVarintBytes = 4;       // 28 bits, more than any length or distance in a chunk
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

// Seven bits a byte, the lowest first; the top bit says that there are more.
void AppendVarint(std::uint32_t value, std::vector<std::uint8_t>& bytes) {
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<std::uint8_t>(value | 0x80));
  bytes.push_back(static_cast<std::uint8_t>(value));
}

// Takes a varint off the front of `bytes`, if one is there.
std::optional<std::uint32_t> TakeVarint(std::span<const std::uint8_t>& bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < bytes.size() && i < kMaxVarintBytes; ++i) {
    value |= static_cast<std::uint32_t>(bytes[i] & 0x7F) << (7 * i);
    if ((bytes[i] & 0x80) != 0) continue;
    bytes = bytes.subspan(i + 1);
    return value;
  }
  return std::nullopt;
}

// Small numbers of either sign as small numbers: 0, -1, 1, -2 … as 0, 1, 2, 3 …
std::uint32_t ZigZag(int value) {
  return value < 0 ? 2 * static_cast<std::uint32_t>(-(value + 1)) + 1 : 2 * static_cast<std::uint32_t>(value);
}
int FromZigZag(std::uint32_t value) { return (value & 1) != 0 ? -static_cast<int>(value / 2) - 1 : static_cast<int>(value / 2); }

// 120 to 5760 at 48 kHz, or 0 or less if it is no Opus packet.
int DurationSamples(std::span<const std::uint8_t> opus) {
  return opus.empty() ? 0 : opus_packet_get_nb_samples(opus.data(), static_cast<opus_int32>(opus.size()), kSampleRateHz);
}

}  // namespace

ReferenceChunkBuilder::ReferenceChunkBuilder(int num_variants) : num_variants_(num_variants) {
  bytes_.reserve(kHeaderBytes +
                 static_cast<std::size_t>(kPacketsPerChunk) * (2 + static_cast<std::size_t>(num_variants) * kMaxPacketBytes));
  Clear();
}

ReferenceChunkBuilder ReferenceChunkBuilder::ForSourcePackets(int max_packets) {
  ReferenceChunkBuilder builder(1);
  builder.is_source_packets_ = true;
  builder.max_packets_ = max_packets;
  return builder;
}

void ReferenceChunkBuilder::Clear() {
  bytes_.assign(kHeaderBytes, 0);
  last_start_samples_ = -1;
  last_end_samples_ = 0;
  num_packets_ = 0;
  num_erased_ = 0;
  num_gap_packets_ = 0;
}

void ReferenceChunkBuilder::AddGap(int num_packets) {
  const int added = std::clamp(num_packets, 0, max_packets_ - num_packets_);
  if (!is_source_packets_) bytes_.resize(bytes_.size() + 2 * static_cast<std::size_t>(added), 0);
  num_packets_ += added;
  num_gap_packets_ += added;
}

void ReferenceChunkBuilder::Add(const Slot& slot) {
  if (is_source_packets_) return;  // the caller's mistake
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

Result<void> ReferenceChunkBuilder::AddSourcePacket(int packet_in_chunk, int offset_samples, std::span<const std::uint8_t> opus) {
  const auto wrong = [](const std::string& what, std::int64_t got) {
    return Fail(ErrorCode::kInvalidArgument, what + " wanted, got " + std::to_string(got));
  };
  if (!is_source_packets_)
    return Fail(ErrorCode::kFailedPrecondition, "reference chunk: its builder is one of slots, and got a source packet");
  if (packet_in_chunk < 0 || packet_in_chunk >= max_packets_)
    return wrong("packet_in_chunk: 0 to " + std::to_string(max_packets_ - 1), packet_in_chunk);
  if (offset_samples < 0 || offset_samples >= kPacketSamples) return wrong("offset_samples: 0 to 959", offset_samples);
  const int start = packet_in_chunk * kPacketSamples + offset_samples;
  if (start <= last_start_samples_)
    return wrong("start of a source packet: more than " + std::to_string(last_start_samples_) + " samples", start);
  if (opus.size() > kMaxSourcePacketBytes)
    return wrong("source packet: up to 61308 bytes", static_cast<std::int64_t>(opus.size()));
  const int duration = DurationSamples(opus);
  if (duration <= 0) return wrong("source packet: an Opus packet", duration);
  if (bytes_.size() + opus.size() + 2 * kMaxVarintBytes > kMaxSourceChunkBytes) {
    return Fail(ErrorCode::kResourceExhausted,
                "reference chunk: up to " + std::to_string(kMaxSourceChunkBytes) + " bytes of source packets fit");
  }
  const bool moved = start != last_end_samples_;
  AppendVarint(static_cast<std::uint32_t>(opus.size()) << 1 | (moved ? kMovedFlag : 0), bytes_);
  if (moved) AppendVarint(ZigZag(start - last_end_samples_), bytes_);
  bytes_.insert(bytes_.end(), opus.begin(), opus.end());
  last_start_samples_ = start;
  last_end_samples_ = start + duration;
  num_packets_ = std::clamp((last_end_samples_ + kPacketSamples - 1) / kPacketSamples, num_packets_, max_packets_);
  return {};
}

std::vector<std::uint8_t> ReferenceChunkBuilder::Seal(const Key& seal_key, const ChunkContext& context) {
  bytes_[0] = is_source_packets_ ? kVersionOfSourcePackets : num_gap_packets_ > 0 ? kVersionWithGaps : kVersion;
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
      crypto_secretstream_xchacha20poly1305_pull(
          &state, bytes.data(), nullptr, &tag, sealed.data() + kSealHeaderBytes, sealed.size() - kSealHeaderBytes,
          reinterpret_cast<const unsigned char*>(associated.data()), associated.size()) == 0;
  sodium_memzero(&state, sizeof state);
  if (!opened || tag != crypto_secretstream_xchacha20poly1305_TAG_FINAL) return damaged();
  return Parse(std::move(bytes));
}

Result<ReferenceChunkData> ReferenceChunkData::Parse(std::vector<std::uint8_t> bytes) {
  const auto malformed = [] { return Fail(ErrorCode::kDataLoss, "reference chunk: malformed"); };
  if (bytes.size() < kHeaderBytes) return malformed();
  ReferenceChunkData data;
  data.version_ = bytes[0];
  if (data.version_ < kVersion || data.version_ > kVersionOfSourcePackets) {
    return Fail(ErrorCode::kFailedPrecondition, "reference chunk: written by a newer version of Earmark");
  }
  data.num_variants_ = bytes[1];
  data.num_packets_ = ReadU16(&bytes[2]);
  data.is_source_packets_ = data.version_ == kVersionOfSourcePackets;
  data.bytes_ = std::move(bytes);
  if (data.is_source_packets_ ? !data.ParseSourcePackets() : !data.ParseSlots()) return malformed();
  return data;
}

bool ReferenceChunkData::ParseSlots() {
  if (num_variants_ < 1 || num_variants_ > kMaxVariants) return false;
  std::size_t at = kHeaderBytes;
  for (int i = 0; i < num_packets_; ++i) {
    if (at + 2 > bytes_.size()) return false;
    const std::uint16_t word = ReadU16(&bytes_[at]);
    const bool erased = (word & kErasedFlag) != 0;
    const auto length = static_cast<std::uint16_t>(word & ~kErasedFlag);
    at += 2;
    slots_.push_back({static_cast<std::uint32_t>(at), length, erased});
    at += static_cast<std::size_t>(length) * (erased ? 1 : static_cast<std::size_t>(num_variants_));
    if (length == 0 && (erased || version_ != kVersionWithGaps)) return false;
    if (length > kMaxPacketBytes || at > bytes_.size()) return false;
  }
  return at == bytes_.size();
}

bool ReferenceChunkData::ParseSourcePackets() {
  if (num_variants_ != 1 || num_packets_ > kPacketsPerChunk) return false;
  std::span<const std::uint8_t> rest = std::span(bytes_).subspan(kHeaderBytes);
  int last_start = -1;
  int last_end = 0;
  while (!rest.empty()) {
    const auto word = TakeVarint(rest);
    if (!word) return false;
    const auto moved_by = (*word & kMovedFlag) != 0 ? TakeVarint(rest) : std::optional<std::uint32_t>(0);
    const std::uint32_t length = *word >> 1;
    if (!moved_by || length > kMaxSourcePacketBytes || length > rest.size()) return false;
    const int start = last_end + FromZigZag(*moved_by);
    const int duration = DurationSamples(rest.first(length));
    if (start <= last_start || start >= num_packets_ * kPacketSamples || duration <= 0) return false;
    source_packets_.push_back({static_cast<std::uint32_t>(bytes_.size() - rest.size()), length, start});
    rest = rest.subspan(length);
    last_start = start;
    last_end = start + duration;
  }
  return true;
}

SourcePacketRecord ReferenceChunkData::SourcePacketAt(int index) const noexcept {
  const SourceEntry& entry = source_packets_[static_cast<std::size_t>(index)];
  return {.packet = entry.start_samples / kPacketSamples,
          .offset_samples = entry.start_samples % kPacketSamples,
          .opus = {bytes_.data() + entry.offset, entry.length}};
}

Slot ReferenceChunkData::SlotAt(int packet) const noexcept {
  if (is_source_packets_) return {};
  const Entry& entry = slots_[static_cast<std::size_t>(packet)];
  Slot slot;
  slot.erased = entry.erased;
  for (std::size_t v = 0; v < static_cast<std::size_t>(num_variants_); ++v) {
    slot.packets[v] = {bytes_.data() + entry.offset + (entry.erased ? 0 : v * entry.length), entry.length};
  }
  return slot;
}

}  // namespace earmark
