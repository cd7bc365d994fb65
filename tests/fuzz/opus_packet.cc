// Packets from any sender through the in-packet marker: whatever the bytes are, its patches lie within the packet, and a variant's packet is taken apart as the source's is.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <vector>

#include "dsp/marking/in_packet_marker.h"

namespace {

constexpr std::array<std::uint8_t, 32> kKeyBytes = {1};  // any that is set

using Bytes = std::vector<std::uint8_t>;

bool AlikeTaken(std::span<const std::uint8_t> source, std::span<const std::uint8_t> variant) {
  const auto a = earmark::SplitOpusPacket(source);
  const auto b = earmark::SplitOpusPacket(variant);
  if (!a || !b) return !a && !b;
  if (a->mode != b->mode || a->bandwidth != b->bandwidth || a->num_channels != b->num_channels ||
      a->num_frames != b->num_frames || a->samples_per_frame != b->samples_per_frame) {
    return false;
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(a->num_frames); ++i) {
    if (a->frames[i].size() != b->frames[i].size() || a->frames[i].data() - source.data() != b->frames[i].data() - variant.data())
      return false;
  }
  return true;
}

// The packet has memory of its own, so that the address sanitizer sees what is read beside it.
void Check(earmark::InPacketMarker& marker, std::int64_t packet, std::span<const std::uint8_t> bytes, std::size_t num_variants) {
  const Bytes source(bytes.begin(), bytes.end());
  const earmark::PatchedPacket patched = marker.Mark(packet, source);
  if (patched.patches.size() != num_variants) std::abort();
  bool erased = true;
  for (const earmark::Patch& patch : patched.patches) {
    erased = erased && patch.empty();
    for (const auto& change : patch.changes()) {
      if (change.offset >= source.size() || change.byte == source[change.offset]) std::abort();
    }
    Bytes variant = source;
    patch.Apply(variant);
    if (!AlikeTaken(source, variant)) std::abort();
  }
  if (erased != patched.erased) std::abort();
}

}  // namespace

// The format, then packets: how many slots on each is, its length in two bytes, and itself.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const earmark::Key key{std::span<const std::uint8_t, 32>(kKeyBytes)};
  earmark::StreamFormat format;
  format.num_channels = (data[0] & 1) != 0 ? 2 : 1;
  format.num_variants = 2 << (data[0] >> 1) % 3;
  earmark::InPacketMarker marker(format, key);
  std::int64_t packet = 0;
  std::span<const std::uint8_t> rest(data + 1, size - 1);
  while (rest.size() >= 3) {
    packet += rest[0];
    const std::size_t length = std::min<std::size_t>(rest[1] | rest[2] << 8, rest.size() - 3);
    Check(marker, packet, rest.subspan(3, length), static_cast<std::size_t>(format.num_variants));
    rest = rest.subspan(3 + length);
  }
  return 0;
}
