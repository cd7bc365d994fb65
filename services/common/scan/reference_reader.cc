#include "services/common/scan/reference_reader.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace earmark {
namespace {

constexpr std::int64_t kCellPackets = kPacketsPerChunk;  // read from the store at a time
constexpr std::size_t kMaxCells = 64;                    // kept: ten minutes, less than 10 MB

}  // namespace

Result<VariantAudio> ReferenceReader::Decode(int source, std::int64_t first_packet, std::int64_t end_packet, int num_variants) {
  if (!context_.GoOn()) return Fail(ErrorCode::kCancelled, "cancelled");
  const CatalogSource& of = catalog_->At(source);
  const auto load = [&](std::int64_t first, std::int64_t end) { return LoadChunks(source, first, end); };
  return DecodeVariants(of.stream.format, of.keys.carrier, load, first_packet, end_packet, num_variants);
}

StreamAudioLoader ReferenceReader::AudioLoader(int source) {
  return [this, source](double start_s, double end_s) -> Result<StreamAudio> {
    const auto first = static_cast<std::int64_t>(std::floor(std::max(0.0, start_s) * kPacketsPerSecond));
    const auto end =
        std::min(catalog_->At(source).stream.num_packets, static_cast<std::int64_t>(std::ceil(end_s * kPacketsPerSecond)));
    if (end <= first) return StreamAudio{};
    auto audio = Decode(source, first, end, 1);
    if (!audio) return Pass(audio);
    return StreamAudio{.first_sample = audio->first_sample(), .samples = std::move(audio->variants[0])};
  };
}

Result<ReferenceReader::Chunks> ReferenceReader::LoadChunks(int source, std::int64_t first_packet, std::int64_t end_packet) {
  Chunks chunks;
  for (std::int64_t cell = first_packet / kCellPackets; cell * kCellPackets < end_packet; ++cell) {
    auto of_cell = LoadCell(source, cell);
    if (!of_cell) return of_cell;
    for (auto& chunk : *of_cell) {
      if (chunk->end_packet() <= first_packet || chunk->first_packet >= end_packet) continue;
      // one may reach into two cells
      if (chunks.empty() || chunks.back()->first_packet < chunk->first_packet) chunks.push_back(std::move(chunk));
    }
  }
  return chunks;
}

Result<ReferenceReader::Chunks> ReferenceReader::LoadCell(int source, std::int64_t cell) {
  if (const auto known = cells_.find({source, cell}); known != cells_.end()) return known->second;
  const CatalogSource& of = catalog_->At(source);
  auto sealed = store_.ReadReference(of.stream.id, of.source, cell * kCellPackets, (cell + 1) * kCellPackets);
  if (!sealed) return Pass(sealed);
  Chunks chunks;
  for (const ReferenceChunk& chunk : *sealed) {
    auto data = ReferenceChunkData::Open(chunk.sealed, of.keys.seal,
                                         {.stream_id = of.stream.id, .source = of.source, .first_packet = chunk.first_packet});
    if (data) {
      ++num_opened_;
      chunks.push_back(
          std::make_shared<LocatedChunk>(LocatedChunk{.first_packet = chunk.first_packet, .data = std::move(*data)}));
    } else {
      damaged_[source].insert(chunk.first_packet);
    }
  }
  if (cells_.size() >= kMaxCells) cells_.erase(cells_.begin());
  cells_[{source, cell}] = chunks;
  return chunks;
}

std::vector<std::string> ReferenceReader::notes() const {
  std::vector<std::string> notes;
  for (const auto& [source, chunks] : damaged_) {
    const CatalogSource& of = catalog_->At(source);
    char text[200];
    std::snprintf(text, sizeof text, "%zu damaged %s of its reference, the first at %.0f s, could not be read", chunks.size(),
                  chunks.size() == 1 ? "piece" : "pieces", static_cast<double>(*chunks.begin()) / kPacketsPerSecond);
    notes.push_back("stream '" + of.stream.id + "'" + (of.source == 0 ? "" : ", source " + std::to_string(of.source)) + ": " +
                    text);
  }
  return notes;
}

}  // namespace earmark
