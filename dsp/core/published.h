// Immutable values handed from control to media threads.
//
// Control makes a whole new value for every change and publishes it; a media thread looks at the newest one. Looking costs one atomic load
// while nothing has changed. After a change it also swaps one shared pointer, for which libstdc++ spins for the few instructions in which another thread
// copies that pointer. The media thread never frees a value: control keeps what it replaced until no reader holds it any more.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace earmark {

template <typename T>
class Published {
 public:
  explicit Published(std::shared_ptr<const T> first) : current_(first), kept_{std::move(first)} {}
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  // Control threads, any number; may free and wait for each other. A reader sees `value` at its next look.
  void Publish(std::shared_ptr<const T> value) {
    const std::lock_guard lock(mutex_);
    current_.store(value);
    version_.fetch_add(1, std::memory_order_release);
    std::erase_if(kept_, [](const auto& kept) { return kept.use_count() == 1; });
    kept_.push_back(std::move(value));
  }

  // One media thread's view. Must not outlive what it reads.
  class Reader {
   public:
    explicit Reader(const Published& published) : published_(&published) { (void)Look(); }
    // Real-time safe; valid until the next look.
    const T& Look() noexcept {
      const auto version = published_->version_.load(std::memory_order_acquire);
      if (version != version_) {
        seen_ = published_->current_.load();
        version_ = version;
      }
      return *seen_;
    }
    // Changes whenever Look gives another value.
    std::uint64_t version() const { return version_; }

   private:
    const Published* published_;
    std::shared_ptr<const T> seen_;
    std::uint64_t version_ = 0;
  };

 private:
  std::atomic<std::shared_ptr<const T>> current_;
  std::atomic<std::uint64_t> version_{1};
  std::mutex mutex_;
  std::vector<std::shared_ptr<const T>> kept_;
};

}  // namespace earmark
