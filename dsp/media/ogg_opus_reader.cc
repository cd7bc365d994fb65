#include <ogg/ogg.h>
#include <opus.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "dsp/core/stream_format.h"
#include "dsp/media/input_file.h"
#include "dsp/media/ogg_opus.h"
#include "dsp/media/ogg_pages.h"

namespace earmark {
namespace {

constexpr std::size_t kReadBytes = 16384;
constexpr std::size_t kMaxPacketBytes = 61308;  // 120 ms in frames of 2.5 ms, without padding (RFC 7845, section 6)
constexpr std::int64_t kNoPacketEnds = -1;      // granule position of a page on which none does

// RFC 7845, 5.1
struct Head {
  int version = 0;
  int num_channels = 0;
  int pre_skip_samples = 0;
  int input_sample_rate_hz = 0;
  int output_gain_q8_db = 0;
  int mapping_family = 0;
};

bool BeginsWith(const ogg_page& page, std::string_view text) {
  return page.body_len >= static_cast<long>(text.size()) && std::memcmp(page.body, text.data(), text.size()) == 0;
}

std::optional<Head> ParseHead(const ogg_page& page) {
  constexpr long kHeadBytes = 19;
  if (!ogg_page_bos(&page) || ogg_page_packets(&page) != 1 || !BeginsWith(page, "OpusHead") || page.body_len < kHeadBytes)
    return std::nullopt;
  const unsigned char* bytes = page.body;
  const auto little_endian = [bytes](int at, int num_bytes) {
    std::uint32_t value = 0;
    for (int i = 0; i < num_bytes; ++i) value |= static_cast<std::uint32_t>(bytes[at + i]) << (8 * i);
    return value;
  };
  return Head{.version = bytes[8],
              .num_channels = bytes[9],
              .pre_skip_samples = static_cast<int>(little_endian(10, 2)),
              .input_sample_rate_hz = static_cast<int>(std::min<std::uint32_t>(little_endian(12, 4), 0x7FFFFFFF)),
              .output_gain_q8_db = static_cast<std::int16_t>(little_endian(16, 2)),
              .mapping_family = bytes[18]};
}

class Reader final : public OggOpusReader {
 public:
  Reader(std::string path, FileHandle file) : path_(std::move(path)), file_(std::move(file)) {
    ogg_sync_init(&sync_);
    ogg_stream_init(&stream_, 0);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() override {
    ogg_stream_clear(&stream_);
    ogg_sync_clear(&sync_);
  }

  int num_channels() const override { return head_.num_channels; }
  int pre_skip_samples() const override { return head_.pre_skip_samples; }
  int output_gain_q8_db() const override { return head_.output_gain_q8_db; }
  int input_sample_rate_hz() const override { return head_.input_sample_rate_hz; }
  std::int64_t num_samples() const override {
    return std::max<std::int64_t>(0, num_decoded_ - head_.pre_skip_samples - end_trim_);
  }

  Result<void> ReadHeaders() {
    char magic[4] = {};
    if (pread(file_.fd(), magic, sizeof magic, 0) != sizeof magic || std::string_view(magic, sizeof magic) != "OggS") {
      return Wrong("not an Ogg file");
    }
    auto page = ReadPage();
    if (!page) return Pass(page);
    const auto head = ParseHead(***page);  // there is a page: a file that begins with its magic number has one, or breaks off
    if (!head) return Wrong("an Ogg file, but not one of Opus alone");
    head_ = *head;
    return StartLink(***page);
  }

  Result<std::optional<std::span<const std::uint8_t>>> Next() override {
    if (failure_) return tl::unexpected<Error>(*failure_);
    auto packet = ReadPacket();
    if (!packet) failure_ = packet.error();
    return packet;
  }

 private:
  enum class PageOutcome { kTaken, kEndOfFile };

  tl::unexpected<Error> Wrong(const std::string& what) const { return Fail(ErrorCode::kInvalidArgument, path_ + ": " + what); }
  tl::unexpected<Error> Damaged(const std::string& what) const { return Fail(ErrorCode::kDataLoss, path_ + ": " + what); }

  // The next page, whole and with the right checksum, valid until the next call; none at the end of the file.
  Result<std::optional<ogg_page*>> ReadPage() {
    for (;;) {
      const long found = ogg_sync_pageseek(&sync_, &page_);
      if (found < 0 && !IsBehindTheEnd(sync_.returned + static_cast<int>(found)))
        return Damaged("damaged after page " + std::to_string(num_pages_) +
                       ": a page with a wrong checksum, or something else than pages");
      if (found < 0) continue;
      if (found > 0) {
        ++num_pages_;
        return &page_;
      }
      char* buffer = ogg_sync_buffer(&sync_, kReadBytes);
      if (buffer == nullptr) return Fail(ErrorCode::kResourceExhausted, "out of memory for Ogg pages");
      ssize_t got = 0;
      do {
        got = read(file_.fd(), buffer, kReadBytes);
      } while (got < 0 && errno == EINTR);
      if (got < 0) return Damaged(std::string("cannot be read: ") + std::strerror(errno));
      if (got == 0 && sync_.fill > sync_.returned && !IsBehindTheEnd(sync_.returned)) return Damaged("breaks off within a page");
      if (got == 0) return std::optional<ogg_page*>();
      ogg_sync_wrote(&sync_, static_cast<long>(got));
    }
  }

  // Whether the bytes from there on are what files get appended, such as tags, and no page with an error in it.
  bool IsBehindTheEnd(int first) const {
    const std::string_view there(reinterpret_cast<const char*>(sync_.data) + first, static_cast<std::size_t>(sync_.fill - first));
    return is_last_page_ && !there.starts_with(kOggMagic.substr(0, there.size()));
  }

  // A page of the link that is being read, in its place.
  Result<void> CheckPage(const ogg_page& page) {
    if (ogg_page_serialno(&page) != serial_) return Wrong("has other streams beside the Opus one");
    if (ogg_page_pageno(&page) != next_page_number_) {
      return Damaged("page " + std::to_string(next_page_number_) + " is missing, got " + std::to_string(ogg_page_pageno(&page)));
    }
    // libogg joins what does not belong together, and drops beginnings and ends, without a word.
    if ((ogg_page_continued(&page) != 0) != is_within_packet_)
      return Damaged("page " + std::to_string(next_page_number_) + " does not go on where the one before ends");
    ++next_page_number_;
    const int num_segments = page.header[26];
    if (num_segments > 0) is_within_packet_ = page.header[26 + num_segments] == 255;
    return {};
  }

  // From its first page to the end of its tags, of which nothing is kept.
  Result<void> StartLink(const ogg_page& first) {
    const auto head = ParseHead(first);
    if (!head) return Wrong("another stream follows the Opus one");
    if (head->version >= 16)
      return Wrong("Opus of a later version (" + std::to_string(head->version) + ") than this program knows");
    if (head->mapping_family != 0)
      return Wrong("mapping family: 0 (mono or stereo) wanted, got " + std::to_string(head->mapping_family));
    if (head->num_channels != 1 && head->num_channels != 2)
      return Wrong("channels: 1 or 2 wanted, got " + std::to_string(head->num_channels));
    if (head->num_channels != head_.num_channels) {
      return Wrong("a part with " + std::to_string(head->num_channels) + " channels follows one with " +
                   std::to_string(head_.num_channels));
    }
    serial_ = ogg_page_serialno(&first);
    next_page_number_ = ogg_page_pageno(&first) + 1;
    is_within_packet_ = false;
    ogg_stream_reset_serialno(&stream_, serial_);
    link_samples_ = 0;
    samples_before_page_ = 0;
    end_trim_ = 0;
    first_granule_.reset();
    last_granule_ = 0;
    is_last_page_ = false;
    return SkipTags();
  }

  Result<void> SkipTags() {
    for (bool is_first = true;; is_first = false) {
      auto page = ReadPage();
      if (!page) return Pass(page);
      if (!*page) return Damaged("breaks off within its headers");
      if (auto checked = CheckPage(***page); !checked) return checked;
      if (is_first && !BeginsWith(***page, "OpusTags")) return Damaged("its second header is not OpusTags");
      is_last_page_ = ogg_page_eos(**page) != 0;
      if (ogg_page_packets(**page) == 0 && !is_last_page_) continue;
      if (is_within_packet_ || ogg_page_packets(**page) > 1) return Damaged("its tags do not end with a page");
      return {};
    }
  }

  // Gives libogg one more page; starts the next link if there is one.
  Result<PageOutcome> TakePage() {
    auto page = ReadPage();
    if (!page) return Pass(page);
    if (!*page && !is_last_page_) return Damaged(std::string("breaks off: no page says that it is the last; ") + kHowToEndOgg);
    if (!*page) return PageOutcome::kEndOfFile;
    if (is_last_page_) {
      if (!ogg_page_bos(**page)) return Damaged("has pages after the last one of its stream");
      if (auto started = StartLink(***page); !started) return Pass(started);
      return PageOutcome::kTaken;
    }
    if (auto checked = CheckPage(***page); !checked) return Pass(checked);
    is_last_page_ = ogg_page_eos(**page) != 0;
    page_granule_ = ogg_page_granulepos(**page);
    pending_bytes_ = ogg_page_packets(**page) > 0 ? 0 : pending_bytes_ + static_cast<std::size_t>((**page)->body_len);
    if (pending_bytes_ > kMaxPacketBytes) return Damaged("a packet of more than 61308 bytes");
    if (ogg_stream_pagein(&stream_, **page) != 0)
      return Damaged("page " + std::to_string(next_page_number_ - 1) + " cannot be read");
    return PageOutcome::kTaken;
  }

  Result<std::optional<std::span<const std::uint8_t>>> ReadPacket() {
    ogg_packet packet{};
    while (ogg_stream_packetout(&stream_, &packet) != 1) {
      if (auto finished = FinishPage(); !finished) return Pass(finished);
      auto taken = TakePage();
      if (!taken) return Pass(taken);
      if (*taken == PageOutcome::kEndOfFile) return std::optional<std::span<const std::uint8_t>>();
    }
    const std::span<const std::uint8_t> bytes(packet.packet, static_cast<std::size_t>(packet.bytes));
    const int duration =
        bytes.empty() ? 0 : opus_packet_get_nb_samples(bytes.data(), static_cast<opus_int32>(bytes.size()), kSampleRateHz);
    if (bytes.size() > kMaxPacketBytes) return Damaged("a packet of more than 61308 bytes");
    if (duration <= 0) return Damaged("packet " + std::to_string(num_packets_) + " is no Opus packet");
    ++num_packets_;
    num_decoded_ += duration;
    link_samples_ += duration;
    return bytes;
  }

  // All packets of the page are out: now it can be told where it lies in time (RFC 7845, section 4).
  Result<void> FinishPage() {
    const std::int64_t granule = std::exchange(page_granule_, kNoPacketEnds);
    if (is_last_page_ && is_within_packet_) return Damaged("breaks off within its last packet");
    if (granule == kNoPacketEnds) return {};
    if (!first_granule_) {
      // A recording of a broadcast does not start at 0; a first page that is the last one too may end before its packets do.
      if (granule < link_samples_ && !is_last_page_) return Damaged("its first page is of a time before its start");
      first_granule_ = std::max<std::int64_t>(0, granule - link_samples_);
    }
    if (granule < last_granule_) return Damaged("time runs back at page " + std::to_string(next_page_number_ - 1));
    // The end that is trimmed is the last page's: files that were put together may tell less time than their packets before it, or more where packets were
    // lost, and all that is there counts.
    const std::int64_t page_start = std::max(last_granule_, *first_granule_);
    const std::int64_t page_samples = link_samples_ - std::exchange(samples_before_page_, link_samples_);
    if (is_last_page_) end_trim_ = std::clamp<std::int64_t>(page_start + page_samples - granule, 0, page_samples);
    last_granule_ = granule;
    return {};
  }

  const std::string path_;
  const FileHandle file_;
  ogg_sync_state sync_{};
  ogg_stream_state stream_{};
  ogg_page page_{};
  Head head_;  // of the first link
  std::optional<Error> failure_;
  std::int64_t num_pages_ = 0;
  std::int64_t num_packets_ = 0;
  std::int64_t num_decoded_ = 0;  // samples of all packets
  std::int64_t end_trim_ = 0;     // of these, behind the end of the last link

  // Of the link that is being read:
  int serial_ = 0;
  long next_page_number_ = 0;
  bool is_within_packet_ = false;  // the last page ends in one
  bool is_last_page_ = false;
  std::size_t pending_bytes_ = 0;  // of a packet that no page has ended
  std::int64_t link_samples_ = 0;
  std::int64_t samples_before_page_ = 0;
  std::optional<std::int64_t> first_granule_;  // its start, on its own clock
  std::int64_t last_granule_ = 0;
  std::int64_t page_granule_ = kNoPacketEnds;
};

}  // namespace

Result<std::unique_ptr<OggOpusReader>> OggOpusReader::Open(const std::string& path) {
  auto file = OpenInputFile(path);
  if (!file) return Pass(file);
  auto reader = std::make_unique<Reader>(path, std::move(file->handle));
  if (Result<void> headers = reader->ReadHeaders(); !headers) return Pass(headers);
  return std::unique_ptr<OggOpusReader>(std::move(reader));
}

}  // namespace earmark
