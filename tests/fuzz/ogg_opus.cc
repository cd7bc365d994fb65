// Ogg Opus files of any content: an error, or packets of 120 ms at most. Checksums are made right here, so that the fuzzer gets past them; the first byte
// says whether they are.
#include "dsp/media/ogg_opus.h"

#include <ogg/ogg.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "dsp/opus/opus_frames.h"

namespace {

constexpr std::size_t kPageHeaderBytes = 27;
constexpr std::int64_t kMaxPacketSamples = 5760;

// Wherever a page could begin.
void MakeChecksumsRight(std::vector<std::uint8_t>& file) {
  static constexpr std::uint8_t kMagic[] = {'O', 'g', 'g', 'S'};
  for (auto at = file.begin();; ++at) {
    at = std::search(at, file.end(), std::begin(kMagic), std::end(kMagic));
    const auto left = static_cast<std::size_t>(file.end() - at);
    if (left < kPageHeaderBytes || left < kPageHeaderBytes + at[26]) return;
    ogg_page page{};
    page.header = &*at;
    page.header_len = static_cast<long>(kPageHeaderBytes + at[26]);
    for (long i = kPageHeaderBytes; i < page.header_len; ++i) page.body_len += page.header[i];
    if (left < static_cast<std::size_t>(page.header_len + page.body_len)) continue;
    page.body = page.header + page.header_len;
    ogg_page_checksum_set(&page);
  }
}

void ReadAll(earmark::OggOpusReader& reader) {
  if (reader.num_channels() < 1 || reader.num_channels() > 2 || reader.pre_skip_samples() < 0 ||
      reader.pre_skip_samples() > 65535)
    std::abort();
  std::int64_t num_packets = 0;
  for (;;) {
    const auto packet = reader.Next();
    if (!packet || !*packet) {
      // an end is the end
      if (const auto again = reader.Next(); again.has_value() != packet.has_value() || (again && *again)) std::abort();
      break;
    }
    ++num_packets;
    // touches it, for the address sanitizer to look at; what is in it may still be no Opus
    (void)earmark::SplitOpusPacket(**packet);
  }
  if (reader.num_samples() < 0 || reader.num_samples() > num_packets * kMaxPacketSamples) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int fd = memfd_create("recording", 0);
  if (size == 0) return 0;
  std::vector<std::uint8_t> file(data + 1, data + size);
  if (data[0] % 8 != 0) MakeChecksumsRight(file);
  if (ftruncate(fd, 0) != 0 || pwrite(fd, file.data(), file.size(), 0) != static_cast<ssize_t>(file.size())) std::abort();
  if (const auto reader = earmark::OggOpusReader::Open("/proc/self/fd/" + std::to_string(fd))) ReadAll(**reader);
  return 0;
}
