// What is inside a sealed chunk: whatever the bytes are, they open to slots or source packets within bounds, or not at all. They are sealed here under the right key, so
// that the fuzzer gets past the seal.
#include "dsp/reference/reference_chunk.h"

#include <sodium.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

namespace {

constexpr std::array<std::uint8_t, 32> kKeyBytes = {1};  // any that is set

constexpr std::size_t kHeaderBytes = crypto_secretstream_xchacha20poly1305_HEADERBYTES;

// As docs/formats/sealed-reference.md says, for the chunk at packet 0 of source 0 of a stream named "s".
std::vector<std::uint8_t> Seal(const std::uint8_t* data, std::size_t size, const earmark::Key& key) {
  std::string associated = "earmark.reference.1";
  associated += std::string("\1\0\0\0\0\0\0\0s", 9) + std::string(16, '\0');
  std::vector<std::uint8_t> sealed(kHeaderBytes + size + crypto_secretstream_xchacha20poly1305_ABYTES);
  crypto_secretstream_xchacha20poly1305_state state;
  crypto_secretstream_xchacha20poly1305_init_push(&state, sealed.data(), key.RevealBytes().data());
  crypto_secretstream_xchacha20poly1305_push(&state, sealed.data() + kHeaderBytes, nullptr, data, size,
                                             reinterpret_cast<const unsigned char*>(associated.data()), associated.size(),
                                             crypto_secretstream_xchacha20poly1305_TAG_FINAL);
  return sealed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const earmark::Key key{std::span<const std::uint8_t, 32>(kKeyBytes)};
  const auto chunk =
      earmark::ReferenceChunkData::Open(Seal(data, size, key), key, {.stream_id = "s", .source = 0, .first_packet = 0});
  if (!chunk) return 0;
  volatile std::uint8_t last = 0;  // touch every byte, for the address sanitizer to look at
  for (int p = 0; p < chunk->num_packets(); ++p) {
    const earmark::Slot slot = chunk->SlotAt(p);
    for (int v = 0; v < chunk->num_variants(); ++v) {
      for (const std::uint8_t byte : slot.packets[static_cast<std::size_t>(v)]) last = byte;
    }
  }
  int last_start = -1;
  for (int i = 0; i < chunk->num_source_packets(); ++i) {
    const earmark::SourcePacketRecord record = chunk->SourcePacketAt(i);
    const int start = record.packet * earmark::kPacketSamples + record.offset_samples;
    if (record.packet >= chunk->num_packets() || record.offset_samples < 0 || start <= last_start || record.opus.empty())
      std::abort();
    last_start = start;
    for (const std::uint8_t byte : record.opus) last = byte;
  }
  (void)last;
  return 0;
}
