// What a demuxer is shown of a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "dsp/media/input_file.h"

namespace earmark {

// Bytes of a file as if they were a file of their own. Views of one file do not disturb each other. Not thread-safe; blocks for
// I/O.
class InputView {
 public:
  virtual ~InputView() = default;
  // The next bytes, as many as are at hand, and their number; 0 at the end, -errno for an error.
  virtual std::int64_t Read(std::span<std::uint8_t> buffer) = 0;
  // The size; -1 for a view that can only be read from its beginning on.
  virtual std::int64_t size() const = 0;
  // Where to read next. Only for views that have a size.
  virtual void Seek(std::int64_t offset) = 0;
};

// At most so many bytes from an offset on, and fewer only at the end.
using PeekBytes = std::function<std::string(std::int64_t offset, std::size_t max_bytes)>;

// Of a view that has a size; where it reads next is changed. The view must stay.
PeekBytes PeekInto(InputView& view);
// The file must stay.
PeekBytes PeekInto(const FileHandle& file);

struct ByteRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

std::unique_ptr<InputView> MakeRangeView(std::shared_ptr<const InputFile> file, ByteRange range);

}  // namespace earmark
