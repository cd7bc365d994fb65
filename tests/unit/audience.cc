#include "dsp/tracing/audience.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/allocation_counter.h"
#include "tests/support/marked_stream.h"
#include "tests/support/random.h"
#include "tests/support/sanitizers.h"

namespace earmark {
namespace {

std::string Account(std::int64_t i) { return "account-" + std::to_string(i); }

TEST_CASE("Audience: every listener gets the variants of its trace code", "[audience]") {
  for (const int q : {2, 4, 8}) {
    Audience audience(q, 50);
    AudienceReader reader(audience);
    std::vector<TraceCode> codes;
    for (int i = 0; i < 50; ++i) {
      CHECK(Get(audience.Add(TestCodeKey(3), Account(i))) == i + 1);
      codes.emplace_back(TestCodeKey(3), Account(i), q);
    }
    Random random(1);
    bool equal = true;
    const auto check = [&](std::int64_t symbol) {
      const auto view = reader.VariantsAt(symbol);
      equal = equal && view.variants.size() == 50 && view.listeners.size() == 50;
      for (std::size_t i = 0; i < 50; ++i)
        equal = equal && view.listeners[i] == static_cast<ListenerId>(i) + 1 && view.variants[i] == codes[i].VariantAt(symbol);
    };
    for (std::int64_t symbol = 0; symbol < 2000; ++symbol) check(symbol);                  // in sequence
    for (std::int64_t symbol = 5'000'000; symbol < 5'001'000; symbol += 7) check(symbol);  // with gaps
    for (int i = 0; i < 1000; ++i) check(random.Below(i % 2 == 0 ? 3000 : 100'000'000'000));
    CHECK(equal);
  }
}

TEST_CASE("Audience: who comes is there at the next call, who goes is not", "[audience]") {
  Audience audience(4, 3);
  AudienceReader reader(audience);
  CHECK(reader.VariantsAt(0).listeners.empty());
  const auto a = Get(audience.Add(TestCodeKey(1), "a"));
  const auto b = Get(audience.Add(TestCodeKey(1), "b"));
  const auto c = Get(audience.Add(TestCodeKey(1), "a"));  // a second device
  CHECK(audience.num_listeners() == 3);
  const auto full = audience.Add(TestCodeKey(1), "d");
  REQUIRE_FALSE(full);
  CHECK(full.error().code == ErrorCode::kResourceExhausted);
  TraceCode code_a(TestCodeKey(1), "a", 4);
  TraceCode code_e(TestCodeKey(1), "e", 4);
  const auto listeners = [&](std::int64_t symbol) {
    const auto view = reader.VariantsAt(symbol);
    return std::vector<ListenerId>(view.listeners.begin(), view.listeners.end());
  };
  CHECK(listeners(5) == std::vector<ListenerId>{a, b, c});
  CHECK(audience.Remove(b));
  CHECK(listeners(5) == std::vector<ListenerId>{a, c});  // within the same symbol
  const auto gone = audience.Remove(b);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code == ErrorCode::kNotFound);
  CHECK_FALSE(audience.Remove(0));
  CHECK_FALSE(audience.Remove(99));
  // The newcomer sits where b sat, and has nothing of b's.
  const auto e = Get(audience.Add(TestCodeKey(1), "e"));
  CHECK(e > c);
  for (std::int64_t symbol = 5; symbol < 600; ++symbol) {
    const auto view = reader.VariantsAt(symbol);
    REQUIRE(view.listeners.size() == 3);
    REQUIRE(view.variants[0] == code_a.VariantAt(symbol));
    REQUIRE(view.variants[1] == code_a.VariantAt(symbol));
    REQUIRE(view.variants[2] == code_e.VariantAt(symbol));
  }
}

TEST_CASE("Audience: codes are there before a block begins, and nothing allocates", "[audience]") {
  for (const int q : {2, 4, 8}) {
    constexpr int kListeners = 1000;
    Audience audience(q, kListeners);
    for (int i = 0; i < kListeners - 1; ++i) (void)Get(audience.Add(TestCodeKey(2), Account(i)));
    AudienceReader reader(audience);
    (void)reader.VariantsAt(0);
    CHECK(reader.num_derived_late() == kListeners - 1);
    const auto before = NumAllocations();
    for (std::int64_t symbol = 1; symbol < 5 * SymbolsPerBlock(q); ++symbol) (void)reader.VariantsAt(symbol);
    CHECK(NumAllocations() == before);
    CHECK(reader.num_derived_late() == kListeners - 1);
    // One who joins costs one code, and taking note of it allocates nothing either.
    (void)Get(audience.Add(TestCodeKey(2), "late"));
    const auto joined = NumAllocations();
    for (std::int64_t symbol = 5 * SymbolsPerBlock(q); symbol < 7 * SymbolsPerBlock(q); ++symbol) (void)reader.VariantsAt(symbol);
    CHECK(NumAllocations() == joined);
    CHECK(reader.num_derived_late() == kListeners);
  }
}

TEST_CASE("Audience: listeners come and go while media threads read", "[audience]") {
  constexpr int kEdits = kSanitized ? 1'000 : 5'000;
  Audience audience(4, 64);
  std::atomic<bool> done = false;
  std::atomic<int> num_wrong = 0;
  std::atomic<std::int64_t> num_read = 0;
  // The account of listener id is known from the id, so the reader can check whose variant it is.
  const auto read = [&] {
    AudienceReader reader(audience);
    std::map<ListenerId, TraceCode> codes;
    std::int64_t symbol = 0;
    do {
      const auto view = reader.VariantsAt(symbol);
      if (!std::is_sorted(view.listeners.begin(), view.listeners.end())) ++num_wrong;
      for (std::size_t i = 0; i < view.listeners.size(); ++i) {
        const ListenerId id = view.listeners[i];
        auto& code = codes.try_emplace(id, TestCodeKey(5), Account(id), 4).first->second;
        if (view.variants[i] != code.VariantAt(symbol)) ++num_wrong;
      }
      ++symbol;
      ++num_read;
    } while (!done.load());
  };
  std::thread first(read);
  std::thread second(read);
  Random random(4);
  std::vector<ListenerId> in;
  ListenerId next = 1;
  for (int i = 0; i < kEdits; ++i) {
    if (in.size() < 64 && (in.empty() || random.Below(2) == 0)) {
      in.push_back(Get(audience.Add(TestCodeKey(5), Account(next))));
      if (in.back() != next++) ++num_wrong;
    } else {
      const auto at = random.Below(static_cast<std::int64_t>(in.size()));
      if (!audience.Remove(in[static_cast<std::size_t>(at)])) ++num_wrong;
      in.erase(in.begin() + at);
    }
  }
  done = true;
  first.join();
  second.join();
  CHECK(num_wrong == 0);
  CHECK(num_read > 0);
  CHECK(audience.num_listeners() == static_cast<int>(in.size()));
}

TEST_CASE("Published: control frees what nobody reads, the reader nothing", "[audience]") {
  struct Watched {
    explicit Watched(int* count) : alive(count) { ++*alive; }
    ~Watched() { --*alive; }
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;
    int* alive;
  };
  int alive = 0;
  {
    Published<Watched> published(std::make_shared<const Watched>(&alive));
    Published<Watched>::Reader reader(published);
    published.Publish(std::make_shared<const Watched>(&alive));
    CHECK(alive == 2);  // the reader may still hold the first
    (void)reader.Look();
    CHECK(alive == 2);  // and does not free it
    for (int i = 0; i < 100; ++i) published.Publish(std::make_shared<const Watched>(&alive));
    CHECK(alive <= 3);
  }
  CHECK(alive == 0);
}

}  // namespace
}  // namespace earmark
