#include "services/common/scan/catalog.h"

#include <chrono>
#include <set>
#include <utility>

namespace earmark {
namespace {

Result<std::vector<StreamRecord>> StreamsToSearch(Store& store, const std::optional<std::string>& stream) {
  if (!stream) return store.ListStreams();
  auto record = store.GetStream(*stream);
  if (!record) return Pass(record);
  return std::vector{std::move(*record)};
}

// An id may be used again for another stream once its stream was removed.
bool IsSameStream(const StreamRecord& a, const StreamRecord& b) { return a.id == b.id && a.salt == b.salt; }

// Every chunk that is appended changes these.
bool HasGrown(const StreamRecord& before, const StreamRecord& now) {
  return before.updated_unix_us != now.updated_unix_us || before.num_packets != now.num_packets;
}

// Whether there is nothing new.
bool IsCurrent(const Catalog& catalog, const std::vector<StreamRecord>& records, const MasterKey& master) {
  int num_other = 0;
  for (const StreamRecord& record : records) {
    num_other += record.key_id != master.id;
    const auto known = catalog.streams.find(record.id);
    const bool is_new = known == catalog.streams.end() || !IsSameStream(known->second, record) || HasGrown(known->second, record);
    if (record.key_id == master.id && is_new) return false;
  }
  return num_other == catalog.num_under_other_key &&
         records.size() == catalog.streams.size() + static_cast<std::size_t>(num_other);
}

// A catalog on its way from what was known to what the store holds.
class CatalogUpdate {
 public:
  CatalogUpdate(Catalog known, const MasterKey& master, const ScanContext& context)
      : catalog_(std::move(known)), master_(master), context_(context) {
    for (std::size_t i = 0; i < catalog_.sources.size(); ++i) {
      const CatalogSource& source = catalog_.sources[i];
      if (const auto stream = catalog_.streams.find(source.stream.id);
          stream != catalog_.streams.end() && IsSameStream(source.stream, stream->second))
        sources_[source.stream.id][source.source] = static_cast<int>(i);
    }
  }

  Result<Catalog> Run(Store& store, const std::vector<StreamRecord>& records) {
    const bool is_first = catalog_.streams.empty();
    RemoveAllBut(records);
    std::vector<std::string> grown;
    catalog_.num_under_other_key = 0;
    for (const StreamRecord& record : records) {
      if (record.key_id != master_.id) {
        ++catalog_.num_under_other_key;
      } else if (Put(record)) {
        grown.push_back(record.id);
      }
    }
    auto read = is_first && records.size() > 1 ? ReadAll(store) : ReadStreams(store, grown);
    if (!read) return Pass(read);
    catalog_.index.Finish();
    return std::move(catalog_);
  }

 private:
  void RemoveAllBut(const std::vector<StreamRecord>& records) {
    std::map<std::string_view, const StreamRecord*> now;
    for (const StreamRecord& record : records) now[record.id] = &record;
    std::erase_if(catalog_.streams, [&](const auto& known) {
      const auto found = now.find(known.first);
      if (found != now.end() && IsSameStream(known.second, *found->second)) return false;
      for (const auto& [number, source] : sources_[known.first]) catalog_.index.Remove(source);
      sources_.erase(known.first);
      return true;
    });
  }

  // Whether the store has something of it that is not known.
  bool Put(const StreamRecord& record) {
    const auto [known, is_new] = catalog_.streams.try_emplace(record.id, record);
    const bool has_grown = is_new || HasGrown(known->second, record);
    known->second = record;
    if (const auto sources = sources_.find(record.id); sources != sources_.end()) {
      for (const auto& [number, source] : sources->second) catalog_.sources[static_cast<std::size_t>(source)].stream = record;
    }
    return has_grown;
  }

  Result<void> ReadAll(Store& store) {
    return Check(store.VisitFingerprints(std::nullopt, [&](auto... fingerprint) { Add(fingerprint...); }));
  }

  Result<void> ReadStreams(Store& store, const std::vector<std::string>& ids) {
    for (const std::string& id : ids) {
      std::map<int, std::int64_t> from_packet;
      for (const auto& [number, source] : sources_[id]) from_packet[number] = catalog_.At(source).next_packet;
      auto read = Check(store.VisitFingerprintsFrom(id, from_packet, [&](auto... fingerprint) { Add(fingerprint...); }));
      if (!read) return read;
    }
    return {};
  }

  Result<void> Check(Result<void> visited) const {
    if (visited && stopped_) return Fail(ErrorCode::kCancelled, "cancelled");
    return visited;
  }

  void Add(std::string_view id, int number, std::int64_t first_packet, std::span<const std::uint8_t> bytes) {
    stopped_ = stopped_ || !context_.GoOn();
    const auto stream = stopped_ ? catalog_.streams.end() : catalog_.streams.find(id);
    if (stream == catalog_.streams.end()) return;
    const auto [source, is_new] = sources_[stream->first].try_emplace(number, static_cast<int>(catalog_.sources.size()));
    if (is_new) {
      const StreamRecord& record = stream->second;
      catalog_.sources.push_back(
          {.stream = record, .keys = DeriveReadingKeys(master_.key, record.id, record.salt), .source = number});
    }
    catalog_.sources[static_cast<std::size_t>(source->second)].next_packet = first_packet + 1;
    catalog_.index.Add(source->second, first_packet / kPacketsPerFingerprintWord, DecodeFingerprint(bytes));
  }

  Catalog catalog_;
  const MasterKey& master_;
  const ScanContext& context_;
  std::map<std::string, std::map<int, int>> sources_;  // [stream][its source]: which of the catalog's
  bool stopped_ = false;
};

}  // namespace

Result<std::shared_ptr<const Catalog>> FingerprintCatalog::Refresh(Store& store, const ScanContext& context) {
  std::unique_lock lock(mutex_, std::defer_lock);
  while (!lock.try_lock_for(std::chrono::milliseconds(100))) {
    if (!context.GoOn()) return Fail(ErrorCode::kCancelled, "cancelled");
  }
  const auto records = StreamsToSearch(store, stream_);
  if (!records) return Pass(records);
  if (latest_ != nullptr && IsCurrent(*latest_, *records, master_)) return latest_;
  const bool start_anew = latest_ == nullptr || 2 * latest_->index.num_lost_words() > latest_->index.num_words();
  auto catalog = CatalogUpdate(start_anew ? Catalog() : *latest_, master_, context).Run(store, *records);
  if (!catalog) return Pass(catalog);
  latest_ = std::make_shared<const Catalog>(std::move(*catalog));
  return latest_;
}

}  // namespace earmark
