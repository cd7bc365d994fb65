#include "services/common/scan/catalog.h"

#include <map>
#include <utility>

namespace earmark {
namespace {

Result<std::vector<StreamRecord>> StreamsToSearch(Store& store, const std::optional<std::string>& stream) {
  if (!stream) return store.ListStreams();
  auto record = store.GetStream(*stream);
  if (!record) return Pass(record);
  return std::vector{std::move(*record)};
}

}  // namespace

Result<std::shared_ptr<const Catalog>> LoadCatalog(Store& store, const MasterKey& master,
                                                   const std::optional<std::string>& stream, ScanContext& context) {
  auto records = StreamsToSearch(store, stream);
  if (!records) return Pass(records);
  auto catalog = std::make_shared<Catalog>();
  std::map<std::string, std::pair<StreamRecord, ReadingKeys>, std::less<>> known;
  for (StreamRecord& record : *records) {
    if (record.key_id != master.id) {
      ++catalog->num_under_other_key;
      continue;
    }
    const ReadingKeys keys = DeriveReadingKeys(master.key, record.id, record.salt);
    std::string id = record.id;
    known.emplace(std::move(id), std::pair(std::move(record), keys));
  }
  catalog->num_streams = static_cast<int>(known.size());
  std::vector<std::uint64_t> words;
  std::map<std::pair<std::string, int>, int, std::less<>> number_of;
  bool stopped = false;
  const auto add = [&](std::string_view id, int source, std::int64_t first_packet, std::span<const std::uint8_t> bytes) {
    stopped = stopped || !context.GoOn();
    const auto found = stopped ? known.end() : known.find(id);
    if (found == known.end()) return;
    const auto [number, is_new] = number_of.try_emplace({std::string(id), source}, static_cast<int>(catalog->sources.size()));
    if (is_new) catalog->sources.push_back({.stream = found->second.first, .keys = found->second.second, .source = source});
    words = DecodeFingerprint(bytes);
    catalog->index.Add(number->second, first_packet / kPacketsPerFingerprintWord, words);
  };
  const auto one = stream ? std::optional<std::string_view>(*stream) : std::nullopt;
  if (auto visited = store.VisitFingerprints(one, add); !visited) return Pass(visited);
  if (stopped) return Fail(ErrorCode::kCancelled, "cancelled");
  catalog->index.Finish();
  return std::shared_ptr<const Catalog>(std::move(catalog));
}

}  // namespace earmark
