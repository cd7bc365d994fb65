// A clip that is decoded from a file, in this process.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include "dsp/core/sha256.h"
#include "dsp/media/decoded_clip.h"
#include "dsp/media/file_tracks.h"
#include "dsp/media/input_file.h"

namespace earmark {
namespace {

constexpr double kDecodeShare = 0.95;  // of the work; the rest is the digest
constexpr std::size_t kBytesPerHash = std::size_t{1} << 18;

bool IsSameState(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

tl::unexpected<Error> Cancelled() { return Fail(ErrorCode::kCancelled, "cancelled"); }

Result<std::string> Digest(const std::string& path, const InputFile& file, const Advance& advance) {
  Sha256 hash;
  std::vector<std::uint8_t> block(kBytesPerHash);
  std::int64_t at = 0;
  for (;;) {
    const double of_file = std::min(1.0, static_cast<double>(at) / static_cast<double>(file.status.st_size));
    if (advance && !advance(kDecodeShare + (1 - kDecodeShare) * of_file)) return Cancelled();
    const ssize_t got = ::pread(file.handle.fd(), block.data(), block.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Fail(ErrorCode::kDataLoss, path + ": cannot be read: " + std::generic_category().message(errno));
    if (got == 0) return hash.Hex();
    hash.Add(std::span(block).first(static_cast<std::size_t>(got)));
    at += got;
  }
}

}  // namespace

Result<DecodedClip> DecodedClip::Decode(const std::string& path, const Advance& advance) {
  if (advance && !advance(0)) return Cancelled();
  Result<InputFile> opened = OpenInputFile(path);
  if (!opened) return Pass(opened);
  const auto file = std::make_shared<InputFile>(*std::move(opened));
  FileTracks tracks(path, file);
  const Advance share = [&](double fraction) { return !advance || advance(fraction < 0 ? fraction : kDecodeShare * fraction); };
  auto clip = Decode(path, tracks, kMaxHours, share);
  auto digest = clip ? Digest(path, *file, advance) : Pass(clip);
  if (!digest && digest.error().code == ErrorCode::kCancelled) return Pass(digest);
  // Before other errors, which may come of it.
  struct stat now {};
  if (::fstat(file->handle.fd(), &now) != 0 || !IsSameState(now, file->status))
    return Fail(ErrorCode::kUnavailable, path + " changed while it was read; try again when it is complete");
  if (!digest) return Pass(digest);
  clip->sha256_ = *std::move(digest);
  return clip;
}

}  // namespace earmark
