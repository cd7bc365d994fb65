// Who may include whom (docs/architecture.md), checked by reading the sources.
#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/support/source_tree.h"

namespace earmark {
namespace {

bool StartsWithAny(const std::string& text, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) { return text.starts_with(prefix); });
}

bool IsProject(const std::string& include) {
  return StartsWithAny(include, {"dsp/", "db/", "services/", "tools/", "proto/", "tests/"});
}

// A standard or POSIX header: no folder in its name (or sys/) and, with .h, one of the system's.
bool IsSystem(const std::string& include) {
  if (include.starts_with("sys/") || include.starts_with("linux/")) return true;
  if (include.find('/') != std::string::npos) return false;
  static const std::vector<std::string> kSystem = {"fcntl.h", "unistd.h", "signal.h", "poll.h",   "errno.h", "pthread.h",
                                                   "sched.h", "time.h",   "dirent.h", "limits.h", "math.h",  "getopt.h"};
  return include.find('.') == std::string::npos || std::find(kSystem.begin(), kSystem.end(), include) != kSystem.end();
}

// `except`: a folder below it that has rules of its own.
void CheckFolder(const std::string& folder, const std::vector<std::string>& may_include_ours,
                 const std::vector<std::string>& may_include_others, const std::string& except = "/") {
  const auto files = SourcesUnder(folder);
  CHECK(files.size() > 2);
  for (const SourceFile& file : files) {
    if (file.path.starts_with(except)) continue;
    for (const std::string& include : file.Includes()) {
      if (IsSystem(include)) continue;
      INFO(file.path << " includes " << include);
      CHECK(StartsWithAny(include, IsProject(include) ? may_include_ours : may_include_others));
    }
  }
}

TEST_CASE("Layering: dsp knows audio and cryptography, no stores, services or logs", "[layering]") {
  CheckFolder("dsp", {"dsp/"},
              {"opus/", "opus.h", "ogg/", "sndfile.h", "soxr.h", "fftw3.h", "sodium.h", "tl/expected.hpp", "libav",
               "libswresample/", "hwy/", "Eigen/"});
}

TEST_CASE("Layering: db knows dsp's value types alone", "[layering]") {
  CheckFolder("db", {"db/", "dsp/core/"}, {"SQLiteCpp/", "sqlite3.h", "pqxx/", "utf8proc.h"});
}

TEST_CASE("Layering: services/common stands on dsp and db", "[layering]") {
  CheckFolder("services/common", {"services/common/", "dsp/", "db/"}, {"sodium.h", "nlohmann/", "spdlog/"},
              "services/common/server/");
}

TEST_CASE("Layering: services/common/server is the daemons' frame and knows no store, audio or call of theirs", "[layering]") {
  CheckFolder("services/common/server", {"services/common/server/", "dsp/core/result.h", "dsp/core/core_dumps.h"},
              {"grpc/", "grpcpp/", "google/protobuf/", "httplib.h", "toml++/", "spdlog/", "prometheus/", "CLI/", "nlohmann/",
               "arpa/", "netdb.h", "openssl/"});
}

TEST_CASE("Layering: the API stands apart, and marking and scanning do not know it", "[layering]") {
  for (const char* folder : {"dsp", "db", "services/common"}) {
    for (const SourceFile& file : SourcesUnder(folder)) {
      for (const std::string& include : file.Includes()) {
        INFO(file.path << " includes " << include);
        CHECK_FALSE(StartsWithAny(include, {"earmark/v1/", "proto/"}));
        if (!file.path.starts_with("services/common/server/"))
          CHECK_FALSE(StartsWithAny(include, {"services/common/server/", "grpc", "google/"}));
      }
    }
  }
}

TEST_CASE("Layering: the sidecar's media parts stand on dsp and what services share", "[layering]") {
  for (const SourceFile& file : SourcesUnder("services/sidecar")) {
    for (const std::string& include : file.Includes()) {
      INFO(file.path << " includes " << include);
      if (IsProject(include))
        CHECK(StartsWithAny(include, {"services/sidecar/", "services/access/", "services/common/", "dsp/", "db/", "proto/"}));
    }
  }
}

TEST_CASE("Layering: the detection service stands on the shared calls, the store and the API, and knows no sidecar",
          "[layering]") {
  CheckFolder("services/detectd",
              {"services/detectd/", "services/access/", "services/common/", "services/decode/", "dsp/", "db/"},
              {"earmark/v1/", "grpcpp/", "google/protobuf/", "nlohmann/", "spdlog/", "sodium.h"});
  for (const SourceFile& file : SourcesUnder("services/detectd")) {
    for (const std::string& include : file.Includes()) CHECK_FALSE(StartsWithAny(include, {"db/sql", "db/postgres"}));
  }
}

TEST_CASE("Layering: access stands on the store and the API, and knows neither daemon", "[layering]") {
  CheckFolder("services/access", {"services/access/", "services/common/", "dsp/core/", "db/"},
              {"earmark/v1/admin", "grpcpp/", "google/protobuf/", "sodium.h"});
}

TEST_CASE("Layering: what decodes hostile media knows no store, key or call", "[layering]") {
  CheckFolder("services/decode", {"services/decode/", "dsp/core/", "dsp/media/"}, {"seccomp.h", "poll.h", "spawn.h"});
}

TEST_CASE("Layering: dsp knows no sockets", "[layering]") {
  for (const SourceFile& file : SourcesUnder("dsp")) {
    for (const std::string& include : file.Includes()) {
      INFO(file.path << " includes " << include);
      CHECK_FALSE(StartsWithAny(include, {"sys/socket", "netinet/", "arpa/", "netdb", "poll.h"}));
    }
  }
}

TEST_CASE("Layering: tools go through the same calls as the services, never to SQL", "[layering]") {
  for (const SourceFile& file : SourcesUnder("tools")) {
    for (const std::string& include : file.Includes()) {
      INFO(file.path << " includes " << include);
      CHECK_FALSE(StartsWithAny(include, {"SQLiteCpp", "sqlite3", "pqxx", "db/sqlite", "db/postgres"}));
      // Benchmarks measure the parts themselves.
      if (!file.path.starts_with("tools/bench/")) CHECK_FALSE(StartsWithAny(include, {"services/sidecar", "services/detectd"}));
    }
  }
}

TEST_CASE("Layering: within dsp, marking does not know reading, and neither knows scoring", "[layering]") {
  for (const char* folder : {"dsp/core", "dsp/marking", "dsp/media", "dsp/reference", "dsp/rtp"}) {
    for (const SourceFile& file : SourcesUnder(folder)) {
      for (const std::string& include : file.Includes()) {
        INFO(file.path << " includes " << include);
        CHECK_FALSE(StartsWithAny(include, {"dsp/reading", "dsp/search", "dsp/scoring"}));
      }
    }
  }
}

TEST_CASE("Layering: FFTW, which is GPL, is behind one file", "[layering]") {
  int users = 0;
  for (const char* folder : {"dsp", "db", "services", "tools", "tests"}) {
    for (const SourceFile& file : SourcesUnder(folder)) {
      for (const std::string& include : file.Includes()) {
        if (include != "fftw3.h") continue;
        INFO(file.path);
        CHECK(file.path == "dsp/core/fft.cc");
        ++users;
      }
    }
  }
  CHECK(users == 1);
}

TEST_CASE("Layering: nothing outside the repository is needed", "[layering]") {
  // Put together here so that this file does not find itself.
  const std::string shared = std::string("../") + "shared";
  const std::string work = std::string("/") + "work/";
  for (const SourceFile& file : FilesUnder("", {".h", ".cc", ".in", ".txt", ".cmake", ".json", ".py", ".sh", ".sql", ".md",
                                                ".proto", ".toml", ".yml", ".yaml", "run", "test", "demo", "setup", "lab"})) {
    INFO(file.path);
    CHECK(file.text.find(shared) == std::string::npos);
    CHECK(file.text.find(work) == std::string::npos);
  }
}

}  // namespace
}  // namespace earmark
