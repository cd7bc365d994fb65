// The SQLite store among processes that die, race and run out of disk.
//
// Every child opens the store itself: a connection must not cross a fork, so the parent has none open when it forks.
#include <SQLiteCpp/SQLiteCpp.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "db/store.h"
#include "tests/integration/store_contract.h"
#include "tests/integration/store_temp_folder.h"

namespace earmark {
namespace {

using store_contract::AllChunks;
using store_contract::Fingerprints;
using store_contract::MakeChunk;
using store_contract::MakeStream;
using store_contract::RequireOk;
using store_contract::RequireValue;

class Pipe {
 public:
  Pipe() { REQUIRE(pipe(ends_.data()) == 0); }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    CloseRead();
    CloseWrite();
  }

  void CloseRead() { Close(0); }
  void CloseWrite() { Close(1); }
  void Write(const std::string& bytes) const {
    if (write(ends_[1], bytes.data(), bytes.size()) < 0) _exit(3);
  }
  // Waits for a byte; false when all writers are gone.
  bool ReadByte() const {
    char byte = 0;
    return read(ends_[0], &byte, 1) == 1;
  }
  std::string ReadAll() const {
    std::string all;
    std::array<char, 512> block{};
    for (ssize_t n = 0; (n = read(ends_[0], block.data(), block.size())) > 0;)
      all.append(block.data(), static_cast<std::size_t>(n));
    return all;
  }

 private:
  void Close(int end) {
    if (ends_[end] >= 0) close(ends_[end]);
    ends_[end] = -1;
  }
  std::array<int, 2> ends_{-1, -1};
};

// Runs `body` in a child that never returns into the test framework. What it returns or throws goes down the pipe; "" is success.
pid_t Fork(Pipe& report, const std::function<std::string()>& body) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child != 0) return child;
  std::string said;
  try {
    said = body();
  } catch (const std::exception& exception) {
    said = exception.what();
  }
  report.Write(said);
  _exit(said.empty() ? 0 : 1);
}

// In a child there is no test framework: an error is thrown, and reported by Fork.
template <typename T>
T Must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

// Runs `body` in a child and wants it to succeed.
void RunInChild(const std::function<std::string()>& body) {
  Pipe report;
  const pid_t child = Fork(report, body);
  report.CloseWrite();
  const std::string said = report.ReadAll();
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  INFO(said);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 0);
}

// A chunk big enough that a few of them make SQLite copy its log back into the database, so that kills also hit that.
ReferenceChunk MakeBigChunk(int number) {
  ReferenceChunk chunk = MakeChunk(number);
  chunk.sealed.resize(std::size_t{256} << 10, static_cast<std::uint8_t>(number));
  return chunk;
}

std::string AppendForever(const std::string& url, const Pipe& done) {
  auto store = Must(OpenStore(url, OpenMode::kReadWrite));
  const auto start = static_cast<int>(Must(store->GetStream("s")).num_packets / store_contract::kChunkPackets);
  for (int number = start;; ++number) {
    Must(store->AppendReference("s", MakeBigChunk(number)));
    done.Write("+");
  }
}

void RequireSoundFile(const std::string& path) {
  SQLite::Database db(path, SQLite::OPEN_READWRITE);
  CHECK(db.execAndGet("PRAGMA integrity_check").getString() == "ok");
  SQLite::Statement foreign_keys(db, "PRAGMA foreign_key_check");
  CHECK_FALSE(foreign_keys.executeStep());
}

// The stream holds whole chunks only, as many as its record says. Returns how many; checks the bytes of those from `first_new`
// on.
int RequireWholeChunks(Store& store, int first_new) {
  const StreamRecord stream = RequireValue(store.GetStream("s"));
  const auto num_chunks = static_cast<int>(stream.num_packets / store_contract::kChunkPackets);
  CHECK(stream.num_packets % store_contract::kChunkPackets == 0);
  const std::int64_t first_packet = std::int64_t{first_new} * store_contract::kChunkPackets;
  const auto chunks = RequireValue(store.ReadReference("s", 0, first_packet, stream.num_packets + 1000));
  REQUIRE(static_cast<int>(chunks.size()) == num_chunks - first_new);
  for (int i = 0; i < num_chunks - first_new; ++i) {
    const ReferenceChunk wanted = MakeBigChunk(first_new + i);
    REQUIRE(chunks[i].first_packet == wanted.first_packet);
    REQUIRE(chunks[i].sealed == wanted.sealed);
  }
  REQUIRE(static_cast<int>(Fingerprints(store, "s").size()) == num_chunks);
  std::int64_t num_erased_slots = 0;
  for (int i = 0; i < num_chunks; ++i) num_erased_slots += MakeChunk(i).num_erased_slots;
  CHECK(stream.num_erased_slots == num_erased_slots);
  return num_chunks;
}

// Busy, because sleeping would wake up at the scheduler's moments rather than at any.
void SpinFor(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Starts a child that appends, kills it some appends and some microseconds later. Returns how many appends it had been told are
// done.
int KillWhileAppending(const std::string& url, std::mt19937& random) {
  Pipe done;
  const pid_t child = Fork(done, [&] { return AppendForever(url, done); });
  done.CloseWrite();
  const int wanted = std::uniform_int_distribution(0, 20)(random);
  int num_done = 0;
  while (num_done < wanted && done.ReadByte()) ++num_done;
  SpinFor(std::chrono::microseconds(std::uniform_int_distribution(0, 5000)(random)));
  kill(child, SIGKILL);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));  // it was appending to the end, not stopped by an error
  for (const char said : done.ReadAll()) {
    REQUIRE(said == '+');
    ++num_done;
  }
  return num_done;
}

}  // namespace

TEST_CASE("Store: killed in mid-write again and again, it keeps what it had answered and nothing half",
          "[store_sqlite_processes]") {
  const TempFolder folder;
  std::mt19937 random(20240607);
  RequireOk(RequireValue(OpenStore(folder.Url(), OpenMode::kReadWriteCreate))->CreateStream(MakeStream("s"), {}));
  int num_chunks = 0;
  for (int round = 0; round < 40; ++round) {
    INFO("round " << round);
    const int num_answered = num_chunks + KillWhileAppending(folder.Url(), random);
    {
      auto store = RequireValue(OpenStore(folder.Url(), OpenMode::kReadWrite));
      num_chunks = RequireWholeChunks(*store, num_chunks);
    }
    // The kill may fall between the write and the answer, so one more than answered may be there.
    REQUIRE(num_chunks >= num_answered);
    REQUIRE(num_chunks <= num_answered + 1);
    RequireSoundFile(folder.File("store.db"));
  }
  CHECK(num_chunks > 40);
}

TEST_CASE("Store: killed while it is being made, it is there whole or not at all", "[store_sqlite_processes]") {
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    const TempFolder folder;
    Pipe started;
    const pid_t child = Fork(started, [&] {
      started.Write("+");
      Must(OpenStore(folder.Url("sub/store.db"), OpenMode::kReadWriteCreate));
      return std::string();
    });
    started.CloseWrite();
    REQUIRE(started.ReadByte());
    SpinFor(std::chrono::microseconds(std::uniform_int_distribution(0, 20000)(random)));
    kill(child, SIGKILL);
    REQUIRE(waitpid(child, nullptr, 0) == child);
    const auto found = OpenStore(folder.Url("sub/store.db"), OpenMode::kReadWrite);
    if (!found) REQUIRE(found.error().code == ErrorCode::kNotFound);
    auto store = RequireValue(OpenStore(folder.Url("sub/store.db"), OpenMode::kReadWriteCreate));
    RequireOk(store->CreateStream(MakeStream("s"), {}));
  }
}

TEST_CASE("Store: processes that open a fresh store at once all succeed and share it", "[store_sqlite_processes]") {
  constexpr int kNumProcesses = 4;
  for (int round = 0; round < 10; ++round) {
    const TempFolder folder;
    Pipe gate;  // opens for all when the parent closes its end
    Pipe report;
    std::vector<pid_t> children;
    for (int i = 0; i < kNumProcesses; ++i) {
      children.push_back(Fork(report, [&, i] {
        gate.CloseWrite();
        gate.ReadByte();
        auto store = Must(OpenStore(folder.Url("a/b/store.db"), OpenMode::kReadWriteCreate));
        Must(store->CreateStream(MakeStream("stream-" + std::to_string(i)), {}));
        return std::string();
      }));
    }
    gate.CloseWrite();
    report.CloseWrite();
    CHECK(report.ReadAll() == "");
    for (const pid_t child : children) REQUIRE(waitpid(child, nullptr, 0) == child);
    CHECK(RequireValue(RequireValue(OpenStore(folder.Url("a/b/store.db"), OpenMode::kReadWrite))->ListStreams()).size() ==
          kNumProcesses);
    std::size_t num_files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.File("a/b"))) ++num_files;
    CHECK(num_files == 1);  // the drafts of those who came second are gone
  }
}

TEST_CASE("Store: processes that append to streams of their own do not lose a chunk", "[store_sqlite_processes]") {
  constexpr int kNumChunks = 25;
  const TempFolder folder;
  RequireOk(OpenStore(folder.Url(), OpenMode::kReadWriteCreate));
  Pipe report;
  std::vector<pid_t> children;
  for (const char* id : {"one", "two", "three"}) {
    children.push_back(Fork(report, [&, id] {
      auto store = Must(OpenStore(folder.Url(), OpenMode::kReadWrite));
      Must(store->CreateStream(MakeStream(id), {}));
      for (int i = 0; i < kNumChunks; ++i) Must(store->AppendReference(id, MakeChunk(i)));
      return std::string();
    }));
  }
  report.CloseWrite();
  CHECK(report.ReadAll() == "");
  for (const pid_t child : children) REQUIRE(waitpid(child, nullptr, 0) == child);
  auto store = RequireValue(OpenStore(folder.Url(), OpenMode::kReadWrite));
  for (const char* id : {"one", "two", "three"}) CHECK(AllChunks(*store, id).size() == kNumChunks);
}

namespace {

// From now on, this process cannot write a file beyond `num_bytes`; it is told by an error, as on a full disk.
void LimitFileSize(rlim_t num_bytes) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = num_bytes == RLIM_INFINITY ? limit.rlim_max : num_bytes;
  if (setrlimit(RLIMIT_FSIZE, &limit) != 0) throw std::runtime_error("setrlimit");
}

// Fills the store up to an error, and wants it to go on from there once there is room.
std::string FillUpAndGoOn(const std::string& url) {
  auto store = Must(OpenStore(url, OpenMode::kReadWriteCreate));
  Must(store->CreateStream(MakeStream("s"), {}));
  LimitFileSize(3 << 20);
  int num_appended = 0;
  auto appended = store->AppendReference("s", MakeBigChunk(num_appended));
  while (appended && num_appended < 100) appended = store->AppendReference("s", MakeBigChunk(++num_appended));
  if (appended) return "100 chunks went into 3 MB";
  if (appended.error().code != ErrorCode::kResourceExhausted) return "wrong error: " + appended.error().message;
  if (appended.error().message.find('\n') != std::string::npos) return "message of several lines";
  const StreamRecord full = Must(store->GetStream("s"));
  if (full.num_packets != num_appended * store_contract::kChunkPackets) return "length is wrong while full";
  if (store->AppendReference("s", MakeBigChunk(num_appended))) return "a full disk took a chunk";
  LimitFileSize(RLIM_INFINITY);
  for (int i = 0; i < 5; ++i) Must(store->AppendReference("s", MakeBigChunk(num_appended++)));
  return "";
}

}  // namespace

TEST_CASE("Store: a full disk loses nothing, and the same connection goes on when there is room", "[store_sqlite_processes]") {
  const TempFolder folder;
  RunInChild([&] { return FillUpAndGoOn(folder.Url()); });
  {
    auto store = RequireValue(OpenStore(folder.Url(), OpenMode::kReadWrite));
    CHECK(RequireWholeChunks(*store, 0) >= 5);
  }
  RequireSoundFile(folder.File("store.db"));
}

TEST_CASE("Store: on a full disk a new store is not made, and nothing stays of it", "[store_sqlite_processes]") {
  for (const rlim_t num_bytes : {rlim_t{0}, rlim_t{5000}, rlim_t{20000}, rlim_t{40000}}) {
    INFO("limit " << num_bytes);
    const TempFolder folder;
    RunInChild([&]() -> std::string {
      LimitFileSize(num_bytes);
      const auto refused = OpenStore(folder.Url("sub/store.db"), OpenMode::kReadWriteCreate);
      if (refused) return "was made";
      return refused.error().code == ErrorCode::kResourceExhausted ? "" : "wrong error: " + refused.error().message;
    });
    CHECK(folder.Names().empty());
    RequireOk(OpenStore(folder.Url("sub/store.db"), OpenMode::kReadWriteCreate));
  }
}

}  // namespace earmark
