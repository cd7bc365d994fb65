#include "dsp/media/key_file.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <set>

#include "tests/unit/temp_folder.h"

namespace earmark {
namespace {

const std::string kHexKey = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

mode_t ModeOf(const std::string& path) {
  struct stat status {};
  ::stat(path.c_str(), &status);
  return status.st_mode & 07777;
}

std::string WithMode(const std::string& path, const std::string& bytes, mode_t mode) {
  WriteBytes(path, bytes);
  ::chmod(path.c_str(), mode);
  return path;
}

void CheckFails(const Result<MasterKey>& result, ErrorCode code, const std::string& fragment) {
  REQUIRE_FALSE(result);
  CHECK(result.error().code == code);
  CHECK_THAT(result.error().message,
             Catch::Contains(fragment) && !Catch::Contains("\n") && !Catch::Contains(kHexKey.substr(0, 16)));
}

TEST_CASE("KeyFile: a created key is read back, and only its owner can", "[key_file]") {
  const TempFolder folder;
  const std::string path = folder.File("a/b/master.key");
  const Result<MasterKey> created = CreateKeyFile(path);
  REQUIRE(created);
  CHECK(ModeOf(path) == 0600);
  CHECK(ModeOf(folder.File("a")) == 0700);
  CHECK(ModeOf(folder.File("a/b")) == 0700);
  CHECK(folder.NumEntries() == 1);  // no temporary file stays
  CHECK(ReadBytes(path).size() == 14 + 64 + 1);

  const Result<MasterKey> read = ReadKeyFile(path);
  REQUIRE(read);
  CHECK(read->key.Get().EqualsInConstantTime(created->key));
  CHECK(read->id == created->id);
  CHECK(created->id.size() == 16);
  CHECK(created->id.find_first_not_of("0123456789abcdef") == std::string::npos);
  CHECK_THAT(ReadBytes(path), !Catch::Contains(created->id));
}

TEST_CASE("KeyFile: an umask that forbids everything does not lock the owner out", "[key_file]") {
  const TempFolder folder;
  const mode_t before = ::umask(0777);
  const Result<MasterKey> created = CreateKeyFile(folder.File("k"));
  ::umask(before);
  REQUIRE(created);
  CHECK(ModeOf(folder.File("k")) == 0600);
}

TEST_CASE("KeyFile: the id of a known key never changes", "[key_file]") {
  const TempFolder folder;
  const Result<MasterKey> read = ReadKeyFile(WithMode(folder.File("k"), "earmark-key-1 " + kHexKey + "\n", 0400));
  REQUIRE(read);
  CHECK(read->key.Get().RevealBytes()[1] == 0x11);
  CHECK(read->key.Get().RevealBytes()[31] == 0xef);
  // Keyed BLAKE2b-128 of the label, first half; the same by hashlib.blake2b(b"earmark/key-id/1", key=…, digest_size=16) in
  // Python.
  CHECK(read->id == "0639591772a42df1");
  Key other = read->key;
  other.MutableBytes()[31] ^= 1;
  CHECK(KeyId(other) != read->id);
  // The line end is not part of the key.
  CHECK(ReadKeyFile(WithMode(folder.File("k2"), "earmark-key-1 " + kHexKey, 0600)).value().id == read->id);
}

TEST_CASE("KeyFile: a key of zeros is refused", "[key_file]") {
  const TempFolder folder;
  CheckFails(ReadKeyFile(WithMode(folder.File("k"), "earmark-key-1 " + std::string(64, '0') + "\n", 0600)),
             ErrorCode::kInvalidArgument, "a key of zeros");
  CheckFails(ReadKeyFile(WithMode(folder.File("hole"), std::string(79, '\0'), 0600)), ErrorCode::kInvalidArgument,
             "not a key file");
}

TEST_CASE("KeyFile: an existing file is never overwritten", "[key_file]") {
  const TempFolder folder;
  const std::string path = WithMode(folder.File("k"), "precious", 0600);
  CheckFails(CreateKeyFile(path), ErrorCode::kAlreadyExists, path);
  CHECK(ReadBytes(path) == "precious");
  CHECK(folder.NumEntries() == 1);
  CheckFails(ReadOrCreateKeyFile(path), ErrorCode::kInvalidArgument, "not a key file");
  CHECK(ReadBytes(path) == "precious");
}

TEST_CASE("KeyFile: a key that others can read is refused with the command that mends it", "[key_file]") {
  const TempFolder folder;
  for (const mode_t mode : {0640, 0604, 0620, 0602, 0610, 0644, 0666}) {
    const std::string path = WithMode(folder.File("k"), "earmark-key-1 " + kHexKey + "\n", mode);
    CheckFails(ReadKeyFile(path), ErrorCode::kPermissionDenied, "can be read by others; run: chmod 600 " + path);
    CheckFails(ReadOrCreateKeyFile(path), ErrorCode::kPermissionDenied, "chmod 600");
  }
}

TEST_CASE("KeyFile: what is not a key file is refused without showing it", "[key_file]") {
  const TempFolder folder;
  const std::string good = "earmark-key-1 " + kHexKey + "\n";
  for (const std::string& bytes : {std::string(), std::string("\n"), kHexKey, good.substr(0, 77), good + "\n", good + good,
                                   "earmark-key-2 " + kHexKey + "\n", "earmark-key-1 " + kHexKey.substr(1) + "g\n",
                                   "earmark-key-1 " + kHexKey.substr(1) + " \n", "earmark-key-1 " + kHexKey + "\r", " " + good,
                                   std::string(79, '\0'), std::string(100000, 'a')}) {
    CAPTURE(bytes.size());
    CheckFails(ReadKeyFile(WithMode(folder.File("k"), bytes, 0600)), ErrorCode::kInvalidArgument, "is not a key file");
  }
}

TEST_CASE("KeyFile: missing files, folders, pipes and dangling links have errors of their own", "[key_file]") {
  const TempFolder folder;
  CheckFails(ReadKeyFile(folder.File("none")), ErrorCode::kNotFound, "no such file");
  CheckFails(ReadKeyFile(folder.File("")), ErrorCode::kInvalidArgument, "is a folder");
  CheckFails(CreateKeyFile(folder.File("")), ErrorCode::kInvalidArgument, "is a folder");
  REQUIRE(::mkfifo(folder.File("fifo").c_str(), 0600) == 0);
  CheckFails(ReadKeyFile(folder.File("fifo")), ErrorCode::kInvalidArgument, "is a pipe");
  CheckFails(CreateKeyFile(folder.File("fifo")), ErrorCode::kInvalidArgument, "pipe");
  REQUIRE(::symlink("nowhere", folder.File("link").c_str()) == 0);
  CheckFails(ReadOrCreateKeyFile(folder.File("link")), ErrorCode::kNotFound, "symbolic link to nothing");
  WriteBytes(folder.File("file"), "");
  CheckFails(CreateKeyFile(folder.File("file/k")), ErrorCode::kNotFound, "its folder does not exist");
}

TEST_CASE("KeyFile: processes that start at once agree on one key", "[key_file]") {
  constexpr std::size_t kNumProcesses = 8;
  for (int round = 0; round < 5; ++round) {
    const TempFolder folder;
    const std::string path = folder.File("keys/k");
    int go[2];
    int ids[2];
    REQUIRE((::pipe(go) == 0 && ::pipe(ids) == 0));
    std::array<pid_t, kNumProcesses> children{};
    for (pid_t& child : children) {
      child = ::fork();
      REQUIRE(child >= 0);
      if (child > 0) continue;
      ::close(go[1]);
      char byte = 0;
      static_cast<void>(::read(go[0], &byte, 1));  // until the parent closes its end, for all at once
      const Result<MasterKey> key = ReadOrCreateKeyFile(path);
      const bool sent = key && ::write(ids[1], key->id.data(), 16) == 16;
      ::_exit(sent ? 0 : 1);
    }
    ::close(go[0]);
    ::close(go[1]);
    ::close(ids[1]);
    std::set<std::string> seen;
    std::string id(16, ' ');
    while (::read(ids[0], id.data(), 16) == 16) seen.insert(id);
    ::close(ids[0]);
    for (const pid_t child : children) {
      int status = -1;
      ::waitpid(child, &status, 0);
      CHECK(status == 0);
    }
    CHECK(seen == std::set<std::string>{ReadKeyFile(path).value().id});
    CHECK(std::distance(std::filesystem::directory_iterator(folder.File("keys")), std::filesystem::directory_iterator()) == 1);
  }
}

}  // namespace
}  // namespace earmark
