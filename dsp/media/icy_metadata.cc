#include "dsp/media/icy_metadata.h"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

namespace earmark {
namespace {

constexpr std::string_view kTitle = "StreamTitle='";
constexpr std::size_t kWindowBytes = 1 << 20;
constexpr std::size_t kMaxBlockBytes = 1 + 16 * 255;
constexpr std::size_t kMinIntervalBytes = 256;
// That many zeros where a shorter interval wants them are no chance.
constexpr int kMinMoreBlocks = 4;

std::size_t LengthAt(std::string_view bytes, std::size_t at) { return 16U * static_cast<unsigned char>(bytes[at]); }

// Whether `text`, possibly cut off, is assignments padded with zeros.
bool IsMetadataText(std::string_view text) {
  const std::size_t last = text.find_last_not_of('\0');
  text = text.substr(0, last + 1);
  const bool is_printable = std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 || c == '\t' || c == '\n' || c == '\r';
  });
  return is_printable && text.find("='") != std::string_view::npos;
}

// The size of the block at `at`, 0 if there is none. `bytes` may end within it.
std::size_t BlockBytes(std::string_view bytes, std::size_t at) {
  if (at >= bytes.size()) return 0;
  const std::size_t length = LengthAt(bytes, at);
  const std::string_view text = bytes.substr(at + 1, length);
  const bool is_too_short = text.size() < length && text.size() < kTitle.size() + 1;
  return length == 0 || is_too_short || IsMetadataText(text) ? 1 + length : 0;
}

// The next block from `from` on that begins with a title and is there as a whole; npos if there is none.
std::size_t FindTitleBlock(std::string_view bytes, std::size_t from) {
  for (std::size_t at = bytes.find(kTitle, from + 1); at != std::string_view::npos; at = bytes.find(kTitle, at + 1)) {
    const std::size_t length = LengthAt(bytes, at - 1);
    const bool is_whole = length >= kTitle.size() && at + length <= bytes.size();
    if (is_whole && IsMetadataText(bytes.substr(at, length))) return at - 1;
  }
  return std::string_view::npos;
}

// The number of blocks if each is where the layout has it, and the one at `title` is one of them; else 0.
int CountBlocks(std::string_view bytes, const IcyLayout& layout, std::size_t title) {
  int num_blocks = 0;
  bool has_title = false;
  auto at = static_cast<std::size_t>(layout.first_block);
  while (at < bytes.size()) {
    const std::size_t size = BlockBytes(bytes, at);
    if (size == 0) return 0;
    has_title = has_title || at == title;
    ++num_blocks;
    at += size + static_cast<std::size_t>(layout.interval_bytes);
  }
  return has_title ? num_blocks : 0;
}

// The layout that fits best of those with a whole number of empty blocks within `distance`, which ends with the one at `title`
// or begins with it. The longest interval is the likely one: servers send the title first.
struct FoundLayout {
  IcyLayout layout;
  int num_blocks = 0;
};
FoundLayout TryDivisors(std::string_view bytes, std::size_t title, std::size_t distance) {
  FoundLayout best{};
  for (std::size_t divisor = 1; distance / divisor > kMinIntervalBytes; ++divisor) {
    if (distance % divisor != 0) continue;
    const std::size_t spacing = distance / divisor;
    const IcyLayout layout{static_cast<std::int64_t>(spacing - 1), static_cast<std::int64_t>(title % spacing)};
    const int num_blocks = CountBlocks(bytes, layout, title);
    if (num_blocks >= (best.num_blocks == 0 ? 1 : best.num_blocks + kMinMoreBlocks)) best = {layout, num_blocks};
  }
  return best;
}

class IcyView final : public InputView {
 public:
  IcyView(std::shared_ptr<const InputFile> file, const IcyLayout& layout)
      : audio_(MakeRangeView(file, {0, file->status.st_size})),
        file_(std::move(file)),
        interval_bytes_(layout.interval_bytes),
        audio_left_(layout.first_block) {}

  std::int64_t Read(std::span<std::uint8_t> buffer) override {
    if (audio_left_ == 0) SkipBlock();
    const auto room = static_cast<std::size_t>(std::min<std::int64_t>(audio_left_, static_cast<std::int64_t>(buffer.size())));
    const std::int64_t num_read = audio_->Read(buffer.first(room));
    if (num_read > 0) position_ += num_read;
    if (num_read > 0) audio_left_ -= num_read;
    return num_read;
  }
  // Seeking would take the places of all blocks, and no demuxer of such files needs it.
  std::int64_t size() const override { return -1; }
  void Seek(std::int64_t) override {}

 private:
  void SkipBlock() {
    const auto size = static_cast<std::int64_t>(BlockBytes(PeekFile(file_->handle, position_, kMaxBlockBytes), 0));
    position_ += size;
    audio_->Seek(position_);
    audio_left_ = size > 0 ? interval_bytes_ : std::numeric_limits<std::int64_t>::max();
  }

  std::unique_ptr<InputView> audio_;
  const std::shared_ptr<const InputFile> file_;
  const std::int64_t interval_bytes_;
  std::int64_t audio_left_;  // before the next block
  std::int64_t position_ = 0;
};

}  // namespace

std::optional<IcyLayout> FindIcyMetadata(const FileHandle& file) {
  const std::string window = PeekFile(file, 0, kWindowBytes);
  const std::size_t title = FindTitleBlock(window, 0);
  if (title == std::string::npos) return std::nullopt;
  // Counted from the beginning of the file, which usually is that of the stream, or else up to the next title.
  FoundLayout found = TryDivisors(window, title, title + 1);
  const std::size_t next_title = FindTitleBlock(window, title + kTitle.size());
  if (found.num_blocks == 0 && next_title != std::string::npos) {
    found = TryDivisors(window, title, next_title - title - LengthAt(window, title));
  }
  if (found.num_blocks == 0) return std::nullopt;
  return found.layout;
}

std::unique_ptr<InputView> MakeIcyView(std::shared_ptr<const InputFile> file, const IcyLayout& layout) {
  return std::make_unique<IcyView>(std::move(file), layout);
}

}  // namespace earmark
