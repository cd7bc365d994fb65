#include "dsp/core/locked_key.h"

#include <new>

namespace earmark {
namespace {

// sodium_malloc locks, says MADV_DONTDUMP and surrounds with guard pages; sodium_free wipes, as ~Key would.
std::shared_ptr<const Key> Locked(const Key& key) {
  void* const place = sodium_init() < 0 ? nullptr : sodium_malloc(sizeof(Key));
  if (place == nullptr) throw std::bad_alloc();
  return {new (place) Key(key), [](const Key* held) { sodium_free(const_cast<Key*>(held)); }};
}

}  // namespace

LockedKey::LockedKey(const Key& key) : key_(Locked(key)) {}

const Key& LockedKey::Get() const noexcept {
  static const Key unset;
  return key_ ? *key_ : unset;
}

}  // namespace earmark
