#include "dsp/media/key_file.h"

#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "dsp/core/stream_keys.h"
#include "dsp/media/atomic_file.h"
#include "dsp/media/input_file.h"

namespace earmark {
namespace {

constexpr std::string_view kPrefix = "earmark-key-1 ";
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kLineBytes = kPrefix.size() + 2 * kKeyBytes;

// A line of the file, its line end, and a byte more: room for hex conversion's NUL, and to notice a file that is longer.
using Text = Secret<kLineBytes + 2>;

Result<void> StartSodium() {
  if (sodium_init() < 0) return Fail(ErrorCode::kInternal, "libsodium cannot start");
  return {};
}

tl::unexpected<Error> NotAKey(const std::string& path) {
  return Fail(ErrorCode::kInvalidArgument,
              path + " is not a key file: one line of \"earmark-key-1 \" and 64 hex digits wanted; restore it from a backup");
}

Result<void> RefuseReadableByOthers(const std::string& path, mode_t mode) {
  if ((mode & (S_IRWXG | S_IRWXO)) == 0) return {};
  return Fail(ErrorCode::kPermissionDenied, path + " can be read by others; run: chmod 600 " + path);
}

// How many bytes of the file fit into `text`.
Result<std::size_t> ReadText(const std::string& path, const FileHandle& file, Text& text) {
  const std::span<std::uint8_t> bytes = text.MutableBytes();
  std::size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t num_read = ::read(file.fd(), bytes.data() + size, bytes.size() - size);
    if (num_read < 0 && errno == EINTR) continue;
    if (num_read < 0) return Fail(ErrorCode::kUnavailable, path + ": cannot be read: " + std::generic_category().message(errno));
    if (num_read == 0) break;
    size += static_cast<std::size_t>(num_read);
  }
  return size;
}

Result<Key> ParseText(const std::string& path, const Text& text, std::size_t size) {
  if (!text.is_set()) return NotAKey(path);  // empty, or a hole where a file was
  const char* const chars = reinterpret_cast<const char*>(text.RevealBytes().data());
  const bool ends_well = size == kLineBytes || (size == kLineBytes + 1 && chars[kLineBytes] == '\n');
  if (!ends_well || std::string_view(chars, kPrefix.size()) != kPrefix) return NotAKey(path);
  Key key;
  std::size_t num_bytes = 0;
  const int status =
      sodium_hex2bin(key.MutableBytes().data(), kKeyBytes, chars + kPrefix.size(), 2 * kKeyBytes, nullptr, &num_bytes, nullptr);
  if (status != 0 || num_bytes != kKeyBytes) return NotAKey(path);
  if (!key.is_set())
    return Fail(
        ErrorCode::kInvalidArgument,
        path +
            " holds a key of zeros, which everybody knows; restore it from a backup, or make a new one with: earmark keys create");
  return key;
}

Text FormatText(const Key& key) {
  Text text;
  char* const chars = reinterpret_cast<char*>(text.MutableBytes().data());
  std::memcpy(chars, kPrefix.data(), kPrefix.size());
  sodium_bin2hex(chars + kPrefix.size(), 2 * kKeyBytes + 1, key.RevealBytes().data(), kKeyBytes);
  chars[kLineBytes] = '\n';
  return text;
}

// Like `mkdir -p`, with folders that only their owner can enter.
Result<void> MakeFolders(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (folder.empty() || std::filesystem::is_directory(folder, ignored)) return {};
  if (Result<void> made = MakeFolders(folder.parent_path()); !made) return made;
  if (::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return {};
  const ErrorCode code =
      errno == EACCES || errno == EPERM || errno == EROFS ? ErrorCode::kPermissionDenied : ErrorCode::kInvalidArgument;
  return Fail(code, folder.string() + ": folder cannot be made: " + std::generic_category().message(errno));
}

}  // namespace

std::string KeyId(const Key& key) {
  // The label keeps this hash apart from everything else that is derived from the key.
  constexpr std::string_view kLabel = "earmark/key-id/1";
  std::array<unsigned char, crypto_generichash_BYTES_MIN> hash;
  crypto_generichash(hash.data(), hash.size(), reinterpret_cast<const unsigned char*>(kLabel.data()), kLabel.size(),
                     key.RevealBytes().data(), key.RevealBytes().size());
  char id[17];
  sodium_bin2hex(id, sizeof(id), hash.data(), 8);
  return id;
}

Result<MasterKey> ReadKeyFile(const std::string& path) {
  if (Result<void> started = StartSodium(); !started) return Pass(started);
  Result<InputFile> file = OpenInputFile(path);
  if (!file) return Pass(file);
  // Asked of the open file, not of the path, so that it cannot be exchanged in between.
  if (Result<void> is_private = RefuseReadableByOthers(path, file->status.st_mode); !is_private) return Pass(is_private);
  Text text;
  const Result<std::size_t> size = ReadText(path, file->handle, text);
  if (!size) return Pass(size);
  const Result<Key> key = ParseText(path, text, *size);
  if (!key) return Pass(key);
  return MasterKey{*key, KeyId(*key)};
}

Result<MasterKey> CreateKeyFile(const std::string& path) {
  if (Result<void> started = StartSodium(); !started) return Pass(started);
  if (Result<void> made = MakeFolders(std::filesystem::path(path).parent_path()); !made) return Pass(made);
  Result<std::unique_ptr<AtomicFile>> file = AtomicFile::Create(path, 0600);
  if (!file) return Pass(file);
  // An umask can take even the owner's permissions away.
  if (::fchmod((*file)->fd(), 0600) != 0) return (*file)->WriteFailure(errno);

  const Key key = NewRandomKey();
  const Text text = FormatText(key);
  if (Result<void> written = (*file)->Write(text.RevealBytes().first(kLineBytes + 1)); !written) return Pass(written);
  if (Result<void> linked = (*file)->LinkAsNew(); !linked) return Pass(linked);
  return MasterKey{key, KeyId(key)};
}

Result<MasterKey> ReadOrCreateKeyFile(const std::string& path) {
  Result<MasterKey> key = ReadKeyFile(path);
  if (key || key.error().code != ErrorCode::kNotFound) return key;
  key = CreateKeyFile(path);
  // Another process was quicker: its key is complete, since it was linked to its name only then.
  if (!key && key.error().code == ErrorCode::kAlreadyExists) return ReadKeyFile(path);
  return key;
}

}  // namespace earmark
