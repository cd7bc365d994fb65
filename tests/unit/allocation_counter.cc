// Every allocation of this test program passes through here (interposed malloc with glibc, the sanitizer's own hook under one).
#include "tests/support/allocation_counter.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EARMARK_SANITIZER_HOOKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define EARMARK_SANITIZER_HOOKS 1
#endif
#endif

namespace {
thread_local std::int64_t num_allocations = 0;
}  // namespace

#ifdef EARMARK_SANITIZER_HOOKS

// sanitizer/allocator_interface.h, which g++'s package lacks.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*, std::size_t),
                                                         void (*free_hook)(const volatile void*));

namespace {
[[maybe_unused]] const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { ++num_allocations; }, [](const volatile void*) {});
}  // namespace

#else

extern "C" {
void* __libc_malloc(std::size_t size) noexcept;
void* __libc_calloc(std::size_t count, std::size_t size) noexcept;
void* __libc_realloc(void* old, std::size_t size) noexcept;

void* malloc(std::size_t size) noexcept {
  ++num_allocations;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) noexcept {
  ++num_allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) noexcept {
  ++num_allocations;
  return __libc_realloc(old, size);
}
}

#endif

namespace earmark {

std::int64_t NumAllocations() { return num_allocations; }

namespace {

TEST_CASE("AllocationCounter: sees new, malloc and what libraries allocate", "[allocation_counter]") {
  const auto before = NumAllocations();
  const auto owned = std::make_unique<std::vector<int>>(1000);
  CHECK(owned->size() == 1000);
  CHECK(NumAllocations() - before >= 2);
  const auto between = NumAllocations();
  void* volatile kept = std::malloc(100);  // volatile: or the compiler leaves both calls out
  std::free(kept);
  CHECK(NumAllocations() > between);
  const auto after = NumAllocations();
  CHECK(NumAllocations() - after == 0);
}

}  // namespace
}  // namespace earmark
