#include "services/common/text_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "dsp/media/input_file.h"

namespace earmark {
namespace {

constexpr int kTickMs = 100;
constexpr std::size_t kPieceBytes = 64 * 1024;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";  // some editors begin a text with it

tl::unexpected<Error> Unreadable(const std::string& path, int error) {
  const ErrorCode code = error == ENOENT                     ? ErrorCode::kNotFound
                         : error == EACCES || error == EPERM ? ErrorCode::kPermissionDenied
                                                             : ErrorCode::kInvalidArgument;
  return Fail(code,
              path + ": cannot be read: " + (error == ENXIO ? "a socket or device" : std::generic_category().message(error)));
}

tl::unexpected<Error> TooLong(const std::string& path, std::size_t max_bytes) {
  return Fail(ErrorCode::kInvalidArgument,
              path + " is longer than the " + std::to_string(max_bytes >> 20) + " MB that are read of such a file");
}

// A pipe has nothing for a while, and one without a writer looks the same as one at its end to whoever reads without waiting.
Result<void> WaitForBytes(const std::string& path, const FileHandle& file, const std::function<bool()>& going) {
  for (;;) {
    if (!going()) return Fail(ErrorCode::kCancelled, "cancelled");
    pollfd wanted{.fd = file.fd(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&wanted, 1, kTickMs);
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return Unreadable(path, errno);
  }
}

Result<std::string> ReadToEnd(const std::string& path, const FileHandle& file, std::size_t max_bytes,
                              const std::function<bool()>& going) {
  std::string text;
  for (;;) {
    if (auto ready = WaitForBytes(path, file, going); !ready) return Pass(ready);
    const std::size_t size = text.size();
    text.resize(size + std::min(kPieceBytes, max_bytes + 1 - size));
    const ssize_t got = ::read(file.fd(), text.data() + size, text.size() - size);
    const int error = errno;
    text.resize(size + (got > 0 ? static_cast<std::size_t>(got) : 0));
    if (got == 0) return text;
    if (got < 0 && error != EINTR && error != EAGAIN)
      return Fail(ErrorCode::kUnavailable, path + ": cannot be read: " + std::generic_category().message(error));
    if (text.size() > max_bytes) return TooLong(path, max_bytes);
  }
}

}  // namespace

Result<std::string> ReadTextFile(const std::string& path, std::size_t max_bytes, const std::function<bool()>& going) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer where nobody can interrupt it.
  const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status = {};
  if (!file.is_open() || ::fstat(file.fd(), &status) != 0) return Unreadable(path, errno);
  if (S_ISDIR(status.st_mode)) return Fail(ErrorCode::kInvalidArgument, path + " is a folder, not a text file");
  if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode))
    return Fail(ErrorCode::kInvalidArgument, path + " is a device, not a text file");
  if (S_ISREG(status.st_mode) && static_cast<std::size_t>(status.st_size) > max_bytes) return TooLong(path, max_bytes);
  return ReadToEnd(path, file, max_bytes, going);
}

std::vector<Line> LinesOf(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<Line> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0) line.remove_suffix(1);
    if (!line.empty() && line.front() != '#') lines.push_back({number, std::string(line)});
  }
  return lines;
}

}  // namespace earmark
