// What a decoder that was taken over may say: whatever the bytes are, what is read of them keeps to its limits and reads the same once more.
#include "services/decode/pcm_pipe.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace earmark::decode;
  const std::span<const std::uint8_t> bytes(data, size);
  if (size >= kMessageHeadBytes) {
    const auto head = DecodeHead(bytes.first(kMessageHeadBytes));
    if (head && head->payload_bytes > kMaxPayloadBytes) std::abort();
  }
  if (const auto start = DecodeTrackStart(bytes)) {
    if (start->num_channels < 1 || start->num_channels > 2) std::abort();
    if (!DecodeTrackStart(Encode(*start))) std::abort();
  }
  if (const auto end = DecodeTrackEnd(bytes); end && end->error) {
    if (end->error->message.size() > kMaxTextBytes) std::abort();
    for (const char c : end->error->message) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) std::abort();
    }
  }
  return 0;
}
