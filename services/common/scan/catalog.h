// What there is to search: the fingerprints of all sources of all streams, and the keys to read them with, but nobody's codes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/core/result.h"
#include "dsp/core/stream_keys.h"
#include "dsp/media/key_file.h"
#include "dsp/search/fingerprint_index.h"
#include "services/common/scan/scan_context.h"

namespace earmark {

// One source of one stream.
struct CatalogSource {
  StreamRecord stream;
  ReadingKeys keys;
  int source = 0;
  std::int64_t next_packet = 0;  // behind the beginning of the last fingerprint that the index has of it
};

// Immutable once it is loaded: any number of scans may share it.
struct Catalog {
  std::vector<CatalogSource> sources;  // the index's; those of streams that were removed stay, and are found no more
  FingerprintIndex index;
  std::map<std::string, StreamRecord, std::less<>> streams;  // that can be searched, some of which may hold no sound yet
  int num_under_other_key = 0;  // streams that were sealed under another master key, and cannot be searched

  const CatalogSource& At(int source) const { return sources[static_cast<std::size_t>(source)]; }
  int num_streams() const { return static_cast<int>(streams.size()); }
};

// A catalog that stays in memory while rooms grow, come and go. Thread-safe.
class FingerprintCatalog {
 public:
  // Of all streams of a store, or of `stream` alone.
  explicit FingerprintCatalog(MasterKey master, std::optional<std::string> stream = {})
      : master_(std::move(master)), stream_(std::move(stream)) {}

  // What the store holds by now. Reads what it did not know yet: everything the first time, and again when more than half of what it has is of
  // streams that were removed. One caller reads at a time; others wait for it. kNotFound: there is no such stream; kCancelled; errors of the store.
  Result<std::shared_ptr<const Catalog>> Refresh(Store& store, const ScanContext& context);

 private:
  const MasterKey master_;
  const std::optional<std::string> stream_;
  std::timed_mutex mutex_;
  std::shared_ptr<const Catalog> latest_;  // null: none yet
};

}  // namespace earmark
