// Immutable values handed from control to media threads.
//
// Control makes a whole new value for every change and publishes it; a media thread looks at the newest one. Looking costs one atomic load and a comparison
// while nothing has changed. After a change the reader also says in a place of its own which value it holds (a hazard pointer: Michael, IEEE TPDS 2004), and
// tries again if yet another one was published in that moment; it takes no lock and waits for nobody. Readers never free a value: control does, when it
// publishes the next one, with those that no reader holds.
//
// (std::atomic<std::shared_ptr> would be shorter; libstdc++ 12's has a lock inside, and a data race by the letter of the standard.)
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace earmark {

template <typename T>
class Published {
  struct Place {
    std::atomic<const T*> held = nullptr;
  };

 public:
  explicit Published(std::shared_ptr<const T> first) : current_(first.get()) { kept_.push_back(std::move(first)); }
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  // Control threads, any number; may free and wait for each other. A reader sees `value` at its next look.
  void Publish(std::shared_ptr<const T> value) {
    const std::lock_guard lock(mutex_);
    const T* newest = value.get();
    kept_.push_back(std::move(value));
    current_.store(newest);
    std::erase_if(places_, [](const auto& place) { return place.use_count() == 1; });  // of readers that are gone
    std::erase_if(kept_, [&](const auto& kept) { return kept.get() != newest && !IsHeld(kept.get()); });
  }

  // One media thread's view; can be moved between threads, used by one at a time. Must not outlive what it reads.
  class Reader {
   public:
    // Takes control's lock: to be made by control.
    explicit Reader(const Published& published) : published_(&published), place_(std::make_shared<Place>()) {
      const std::lock_guard lock(published.mutex_);
      published.places_.push_back(place_);
      (void)Look();
    }
    // Real-time safe; valid until the next look.
    const T& Look() noexcept {
      for (const T* newest = published_->current_.load(); newest != seen_; newest = published_->current_.load()) {
        // Announced first, then checked: if it is still the newest one afterwards, control sees the announcement before it could free it.
        place_->held.store(newest);
        seen_ = newest;
        ++version_;
      }
      return *seen_;
    }
    // Changes whenever Look gives another value.
    std::uint64_t version() const { return version_; }

   private:
    const Published* published_;
    std::shared_ptr<Place> place_;
    const T* seen_ = nullptr;  // what `held` says; never dereferenced before the loop has confirmed it
    std::uint64_t version_ = 0;
  };

 private:
  bool IsHeld(const T* value) const {
    for (const auto& place : places_) {
      if (place->held.load() == value) return true;
    }
    return false;
  }

  std::atomic<const T*> current_;
  mutable std::mutex mutex_;  // of control threads among themselves
  mutable std::vector<std::shared_ptr<Place>> places_;
  std::vector<std::shared_ptr<const T>> kept_;
};

}  // namespace earmark
