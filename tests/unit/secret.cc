#include "dsp/core/secret.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include "dsp/core/core_dumps.h"
#include "dsp/core/locked_key.h"
#include "dsp/marking/carrier.h"
#include "tests/support/marked_stream.h"

namespace earmark {
namespace {

// The signal that a child died of that did `what`, or 0.
template <typename What>
int SignalOf(const What& what) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    LeaveNoCoreDumps();
    if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
    std::signal(SIGABRT, SIG_DFL);  // Catch's handler would report the test as failed
    what();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

// What the system says about the page that holds `address`: the flags of its mapping.
std::string FlagsOf(const void* address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long first = 0;
    unsigned long end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &first, &end) == 2) inside = first <= wanted && wanted < end;
    if (inside && line.starts_with("VmFlags:")) return line;
  }
  return "";
}

TEST_CASE("Secret: a key that was never set ends the process when it is used", "[secret]") {
  CHECK_FALSE(Key().is_set());
  CHECK_FALSE(StreamKeys().code.key().is_set());
  CHECK_FALSE(LockedKey().Get().is_set());
  CHECK(TestKey(0).is_set());
  CHECK(SignalOf([] { (void)DeriveKey(TestKey(0), "label"); }) == 0);
  CHECK(SignalOf([] { (void)DeriveKey(Key(), "label"); }) == SIGABRT);
  CHECK(SignalOf([] { (void)DeriveStreamKeys(LockedKey(), "room", {}); }) == SIGABRT);
  CHECK(SignalOf([] { (void)TraceCode(CodeKey(), "alice", 4); }) == SIGABRT);
  CHECK(SignalOf([] { (void)ReferenceChunkBuilder(4).Seal(Key(), {.stream_id = "room", .source = 0, .first_packet = 0}); }) ==
        SIGABRT);
}

TEST_CASE("LockedKey: copies share a page that is not dumped", "[secret]") {
  const LockedKey key = TestKey(3);
  const LockedKey copy = key;
  CHECK(copy.Get().EqualsInConstantTime(TestKey(3)));
  CHECK(&copy.Get() == &key.Get());
  const std::string flags = FlagsOf(&key.Get());
  INFO(flags);
  if (!flags.empty()) CHECK(flags.find(" dd") != std::string::npos);
}

TEST_CASE("CoreDumps: a process that holds keys is not dumped", "[secret]") {
  const int before = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
  LeaveNoCoreDumps();
  CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
  prctl(PR_SET_DUMPABLE, before, 0, 0, 0);
}

}  // namespace
}  // namespace earmark
