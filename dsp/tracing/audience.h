// The listeners of one room: who is in it, and which variant each of them gets.
//
// Control threads edit an Audience. Every media thread has an AudienceReader, which sees edits at its next call and keeps the listeners' codes in
// memory of its own, so that threads share nothing that is written. Codes come in blocks of 64 bytes (trace_code.h), and all listeners cross a
// block's border at the same symbol. So during the first half of a block the reader derives the next one, for a few listeners at each symbol.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "dsp/core/published.h"
#include "dsp/core/result.h"
#include "dsp/core/secret.h"
#include "dsp/core/stream_format.h"
#include "dsp/tracing/trace_code.h"

namespace earmark {

using ListenerId = std::int64_t;  // 1, 2, …; of one audience, and never used again

class Audience {
 public:
  // `num_variants`: 2, 4 or 8. Readers take about 150 bytes for each of `max_listeners`.
  Audience(int num_variants, int max_listeners);

  // Any control thread. Adding costs a copy of the list. kResourceExhausted: max_listeners are in the room already. An account may be in it several times.
  Result<ListenerId> Add(const CodeKey& code_key, std::string_view account);
  // kNotFound: no such listener. Readers leave the listener out from their next call on.
  Result<void> Remove(ListenerId listener);

  int num_listeners() const;
  int num_variants() const { return num_variants_; }
  int max_listeners() const { return max_listeners_; }

 private:
  friend class AudienceReader;
  // All in the order of joining, which is that of ids.
  struct Members {
    std::vector<ListenerId> ids;
    // where readers keep the listener's code; a cell is used again when its listener has left
    std::vector<std::uint32_t> cells;
    std::vector<Key> grant_keys;
  };

  const int num_variants_;
  const int max_listeners_;
  mutable std::mutex mutex_;  // of control threads among themselves
  std::shared_ptr<const Members> members_;
  std::vector<std::uint32_t> free_cells_;
  ListenerId last_id_ = 0;
  Published<Members> published_;
};

class AudienceReader {
 public:
  struct View {
    std::span<const ListenerId> listeners;   // ascending
    std::span<const std::uint8_t> variants;  // one a listener: 0 … num_variants-1
  };

  // Allocates all it will ever need. Must not outlive the audience.
  explicit AudienceReader(const Audience& audience);

  // Real-time safe; one thread. Valid until the next call. Asking for the same symbol again costs nothing while nobody comes or goes. Ask at every symbol, also
  // where nothing is sent: after a jump into another block all codes have to be derived at once (about 0.2 µs each).
  View VariantsAt(std::int64_t symbol) noexcept;

  // Codes that were not there when they were needed; the first one of each listener among them.
  std::int64_t num_derived_late() const { return num_derived_late_; }

 private:
  struct Cell {
    ListenerId listener = 0;
    std::array<std::int64_t, 2> blocks = {-1, -1};  // which ones are in `bytes`; even ones first
    std::array<std::array<std::uint8_t, kKeystreamBlockBytes>, 2> bytes{};
  };

  Cell& CellOf(const Audience::Members& members, std::size_t i) noexcept;
  void Derive(Cell& cell, const Key& grant_key, std::int64_t block) noexcept;
  void DeriveAhead(const Audience::Members& members, std::int64_t symbol) noexcept;

  int num_variants_;
  Published<Audience::Members>::Reader reader_;
  std::vector<Cell> cells_;
  std::vector<std::uint8_t> variants_;
  std::int64_t symbol_ = -1;
  std::uint64_t version_ = 0;
  std::int64_t num_derived_late_ = 0;
};

}  // namespace earmark
