// The streams' reference as a detector uses it: read and opened as needed, the last minutes of each source kept.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "db/store.h"
#include "dsp/core/result.h"
#include "dsp/reference/variant_decoder.h"
#include "dsp/search/aligner.h"
#include "services/common/scan/catalog.h"
#include "services/common/scan/scan_context.h"

namespace earmark {

// One scan's, which it stops where the caller wants no more. A chunk that cannot be opened is a gap, and noted.
class ReferenceReader {
 public:
  ReferenceReader(Store& store, std::shared_ptr<const Catalog> catalog, const ScanContext& context)
      : store_(store), catalog_(std::move(catalog)), context_(context) {}

  // Variants of a source of the catalog; silence in gaps. Errors are the store's; kDataLoss: libopus rejects a packet; kCancelled.
  Result<VariantAudio> Decode(int source, std::int64_t first_packet, std::int64_t end_packet, int num_variants);
  // One variant's sound, for the aligner.
  StreamAudioLoader AudioLoader(int source);

  // What could not be read so far, one line for each source.
  std::vector<std::string> notes() const;
  // Something was wanted, and none of it could be read.
  bool is_all_damaged() const { return num_opened_ == 0 && !damaged_.empty(); }

 private:
  using Chunks = std::vector<std::shared_ptr<const LocatedChunk>>;
  Result<Chunks> LoadChunks(int source, std::int64_t first_packet, std::int64_t end_packet);
  Result<Chunks> LoadCell(int source, std::int64_t cell);

  Store& store_;
  std::shared_ptr<const Catalog> catalog_;
  const ScanContext& context_;
  std::map<std::pair<int, std::int64_t>, Chunks> cells_;  // [source, cell]
  std::int64_t num_opened_ = 0;
  std::map<int, std::set<std::int64_t>> damaged_;  // [source], by first packet
};

}  // namespace earmark
