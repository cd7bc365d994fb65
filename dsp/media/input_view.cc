#include "dsp/media/input_view.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace earmark {
namespace {

class RangeView final : public InputView {
 public:
  RangeView(std::shared_ptr<const InputFile> file, ByteRange range) : file_(std::move(file)), range_(range) {}

  std::int64_t Read(std::span<std::uint8_t> buffer) override {
    const std::int64_t left = size() - position_;
    if (left <= 0) return 0;
    const auto room = static_cast<std::size_t>(std::min<std::int64_t>(left, static_cast<std::int64_t>(buffer.size())));
    const ssize_t num_read = ::pread(file_->handle.fd(), buffer.data(), room, range_.begin + position_);
    if (num_read < 0) return -errno;
    position_ += num_read;
    return num_read;
  }
  std::int64_t size() const override { return range_.end - range_.begin; }
  void Seek(std::int64_t offset) override { position_ = offset; }

 private:
  std::shared_ptr<const InputFile> file_;
  const ByteRange range_;
  std::int64_t position_ = 0;  // from the beginning of the range, never negative
};

}  // namespace

std::unique_ptr<InputView> MakeRangeView(std::shared_ptr<const InputFile> file, ByteRange range) {
  return std::make_unique<RangeView>(std::move(file), range);
}

PeekBytes PeekInto(const FileHandle& file) {
  return [&file](std::int64_t offset, std::size_t max_bytes) { return PeekFile(file, offset, max_bytes); };
}

PeekBytes PeekInto(InputView& view) {
  return [&view](std::int64_t offset, std::size_t max_bytes) {
    std::string bytes(max_bytes, '\0');
    std::size_t filled = 0;
    view.Seek(offset);
    while (filled < max_bytes) {
      const std::span<char> rest = std::span(bytes).subspan(filled);
      const std::int64_t num_read = view.Read(std::span(reinterpret_cast<std::uint8_t*>(rest.data()), rest.size()));
      if (num_read <= 0) break;
      filled += static_cast<std::size_t>(num_read);
    }
    bytes.resize(filled);
    return bytes;
  };
}

}  // namespace earmark
