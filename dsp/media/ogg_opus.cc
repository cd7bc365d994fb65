#include "dsp/media/ogg_opus.h"

#include <ogg/ogg.h>
#include <opus.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "dsp/core/stream_format.h"
#include "dsp/media/atomic_file.h"

namespace earmark {
namespace {

constexpr int kMaxPreSkipSamples = 65535;

class Bytes {
 public:
  Bytes& Text(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    return *this;
  }
  Bytes& LittleEndian(std::uint32_t value, int num_bytes) {
    for (int i = 0; i < num_bytes; ++i) bytes_.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
    return *this;
  }
  std::vector<std::uint8_t> Take() { return std::move(bytes_); }

  Bytes() { bytes_.reserve(64); }

 private:
  std::vector<std::uint8_t> bytes_;
};

// RFC 7845, 5.1
std::vector<std::uint8_t> IdentificationHeader(const OggOpusWriter::Options& options) {
  return Bytes()
      .Text("OpusHead")
      .LittleEndian(1, 1)  // version
      .LittleEndian(static_cast<std::uint32_t>(options.num_channels), 1)
      .LittleEndian(static_cast<std::uint32_t>(options.pre_skip_samples), 2)
      .LittleEndian(static_cast<std::uint32_t>(options.input_sample_rate_hz), 4)
      .LittleEndian(static_cast<std::uint16_t>(options.output_gain_q8_db), 2)
      .LittleEndian(0, 1)  // mapping family: mono or stereo
      .Take();
}

// RFC 7845, 5.2
std::vector<std::uint8_t> CommentHeader() {
  constexpr std::string_view kVendor = "earmark";
  return Bytes().Text("OpusTags").LittleEndian(kVendor.size(), 4).Text(kVendor).LittleEndian(0, 4).Take();
}

// 120 to 5760 at 48 kHz, or 0 or less if it is no Opus packet.
int DurationSamples(std::span<const std::uint8_t> packet) {
  return packet.empty() ? 0 : opus_packet_get_nb_samples(packet.data(), static_cast<opus_int32>(packet.size()), kSampleRateHz);
}

class Writer final : public OggOpusWriter {
 public:
  Writer(std::unique_ptr<AtomicFile> file, const Options& options) : file_(std::move(file)), options_(options) {
    ogg_stream_init(&stream_, static_cast<int>(options.serial));
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() override { ogg_stream_clear(&stream_); }

  // Each header has its page to itself, as the RFC demands.
  Result<void> WriteHeaders() {
    for (const std::vector<std::uint8_t>& header : {IdentificationHeader(options_), CommentHeader()}) {
      if (Result<void> written = Submit(header, 0, PageEnd::kHere); !written) return written;
    }
    return {};
  }

  Result<void> Write(std::span<const std::uint8_t> packet) override {
    if (is_last_) return Fail(ErrorCode::kFailedPrecondition, "the Ogg Opus file is finished already");
    const int num_samples = DurationSamples(packet);
    if (num_samples <= 0) return Fail(ErrorCode::kInvalidArgument, "packet: an Opus packet wanted, got none");
    if (Result<void> written = SubmitHeldPacket(num_samples); !written) return written;
    held_packet_.assign(packet.begin(), packet.end());
    held_samples_ = num_samples;
    return {};
  }

  Result<void> Finish(std::int64_t num_samples) override {
    if (is_last_) return Fail(ErrorCode::kFailedPrecondition, "the Ogg Opus file is finished already");
    if (held_packet_.empty()) return Fail(ErrorCode::kFailedPrecondition, "no packets to finish an Ogg Opus file with");
    const std::int64_t end = options_.pre_skip_samples + num_samples;
    const std::int64_t decoded = num_decoded_ + held_samples_;
    // A page that is out cannot be taken back, and a granule position must not fall.
    if (num_samples < 0 || end > decoded || end < written_granule_) {
      return Fail(ErrorCode::kInvalidArgument,
                  "num_samples: " + std::to_string(std::max<std::int64_t>(0, written_granule_ - options_.pre_skip_samples)) +
                      " to " + std::to_string(decoded - options_.pre_skip_samples) + " wanted for the packets written, got " +
                      std::to_string(num_samples));
    }
    is_last_ = true;
    if (Result<void> written = Submit(held_packet_, end, PageEnd::kHere); !written) return written;
    return file_->Replace();
  }

 private:
  enum class PageEnd { kHere, kWhenFull };

  // The last packet must say that it is the last, so each waits here until the next one comes, which lasts `next_samples`.
  Result<void> SubmitHeldPacket(int next_samples) {
    if (held_packet_.empty()) return {};
    num_decoded_ += held_samples_;
    const bool is_second = num_decoded_ + next_samples > page_start_ + kSampleRateHz;
    if (is_second) page_start_ = num_decoded_;
    return Submit(held_packet_, num_decoded_, is_second ? PageEnd::kHere : PageEnd::kWhenFull);
  }

  Result<void> Submit(const std::vector<std::uint8_t>& bytes, std::int64_t granule_position, PageEnd page_end) {
    ogg_packet packet{};
    packet.packet = const_cast<unsigned char*>(bytes.data());  // libogg only reads it
    packet.bytes = static_cast<long>(bytes.size());
    packet.b_o_s = num_submitted_ == 0;
    packet.e_o_s = is_last_;
    packet.granulepos = granule_position;
    packet.packetno = num_submitted_++;
    if (ogg_stream_packetin(&stream_, &packet) != 0) return Fail(ErrorCode::kResourceExhausted, "out of memory for Ogg pages");
    return WritePages(page_end);
  }

  Result<void> WritePages(PageEnd page_end) {
    ogg_page page;
    while ((page_end == PageEnd::kHere ? ogg_stream_flush(&stream_, &page) : ogg_stream_pageout(&stream_, &page)) != 0) {
      // -1 is the position of a page on which no packet ends.
      written_granule_ = std::max<std::int64_t>(written_granule_, ogg_page_granulepos(&page));
      for (const auto& [data, size] : {std::pair(page.header, page.header_len), std::pair(page.body, page.body_len)}) {
        if (Result<void> written = file_->Write({data, static_cast<std::size_t>(size)}); !written) return written;
      }
    }
    return {};
  }

  std::unique_ptr<AtomicFile> file_;
  const Options options_;
  ogg_stream_state stream_{};
  std::vector<std::uint8_t> held_packet_;
  int held_samples_ = 0;
  std::int64_t num_decoded_ = 0;    // samples of the packets given to libogg
  std::int64_t page_start_ = 0;     // samples before the last page that was ended for its length
  std::int64_t num_submitted_ = 0;  // headers too
  std::int64_t written_granule_ = 0;
  bool is_last_ = false;
};

}  // namespace

Result<std::unique_ptr<OggOpusWriter>> OggOpusWriter::Create(const std::string& path, const Options& options) {
  if (options.num_channels != 1 && options.num_channels != 2) {
    return Fail(ErrorCode::kInvalidArgument, "num_channels: 1 or 2 wanted, got " + std::to_string(options.num_channels));
  }
  if (options.pre_skip_samples < 0 || options.pre_skip_samples > kMaxPreSkipSamples) {
    return Fail(ErrorCode::kInvalidArgument,
                "pre_skip_samples: 0 to 65535 wanted, got " + std::to_string(options.pre_skip_samples));
  }
  if (options.input_sample_rate_hz < 0) {
    return Fail(ErrorCode::kInvalidArgument,
                "input_sample_rate_hz: 0 (unknown) or more wanted, got " + std::to_string(options.input_sample_rate_hz));
  }
  if (options.output_gain_q8_db < -32768 || options.output_gain_q8_db > 32767) {
    return Fail(ErrorCode::kInvalidArgument,
                "output_gain_q8_db: -32768 to 32767 wanted, got " + std::to_string(options.output_gain_q8_db));
  }
  Result<std::unique_ptr<AtomicFile>> file = AtomicFile::Create(path, 0666);
  if (!file) return Pass(file);
  auto writer = std::make_unique<Writer>(*std::move(file), options);
  if (Result<void> written = writer->WriteHeaders(); !written) return Pass(written);
  return std::unique_ptr<OggOpusWriter>(std::move(writer));
}

}  // namespace earmark
