// Connections to one store, for services with many threads.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "db/store.h"

namespace earmark {

// Lends each caller a connection of its own, and keeps those that came back for the next. As many may be out as there are callers, so their number
// is the callers' to bound. Thread-safe; outlives all that it lent.
class StorePool {
 public:
  explicit StorePool(std::string url) : url_(std::move(url)) {}

  class Loan {
   public:
    Loan(StorePool& pool, std::unique_ptr<Store> store) : pool_(&pool), store_(std::move(store)) {}
    Loan(Loan&&) = default;
    Loan& operator=(Loan&&) = delete;
    ~Loan() {
      if (store_) pool_->TakeBack(std::move(store_));
    }
    Store& operator*() const { return *store_; }
    Store* operator->() const { return store_.get(); }

   private:
    StorePool* pool_;
    std::unique_ptr<Store> store_;
  };

  // Errors as OpenStore with kReadWrite.
  Result<Loan> Borrow() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        Loan loan(*this, std::move(idle_.back()));
        idle_.pop_back();
        return loan;
      }
    }
    auto opened = OpenStore(url_, OpenMode::kReadWrite);
    if (!opened) return Pass(opened);
    return Loan(*this, std::move(*opened));
  }

 private:
  void TakeBack(std::unique_ptr<Store> store) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(store));
  }

  std::string url_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Store>> idle_;
};

}  // namespace earmark
