// What there is to search: the fingerprints of all sources of all streams, and the keys to read them with, but nobody's codes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
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
};

// Immutable once it is loaded: any number of scans may share it.
struct Catalog {
  std::vector<CatalogSource> sources;  // the index's tracks
  FingerprintIndex index;
  int num_streams = 0;          // that can be searched, some of which may hold no sound yet
  int num_under_other_key = 0;  // streams that were sealed under another master key, and cannot be searched

  const CatalogSource& At(int source) const { return sources[static_cast<std::size_t>(source)]; }
};

// All streams of the store, or `stream` alone. kNotFound: there is no such stream; kCancelled; errors of the store.
Result<std::shared_ptr<const Catalog>> LoadCatalog(Store& store, const MasterKey& master,
                                                   const std::optional<std::string>& stream, ScanContext& context);

}  // namespace earmark
