#include "services/sidecar/sidecar.h"

#include <sodium.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "dsp/core/hex.h"
#include "dsp/marking/in_packet_marker.h"
#include "services/common/digest.h"
#include "services/common/marking.h"

namespace earmark {
namespace {

using std::chrono::milliseconds;

// Short, so that a restarted sidecar soon has its rooms back; extended three times as often.
constexpr std::int64_t kLeaseUs = 3'000'000;
constexpr milliseconds kRenewEvery{1000};
constexpr milliseconds kResumePatience{6000};
constexpr milliseconds kClosePatience{5000};
// A grant is kept from a little before its first packet can leave to a little after its last one: slots are not sent at the very time of their number.
constexpr std::int64_t kGrantMarginUs = 1'000'000;

std::string RandomHex() {
  std::array<unsigned char, 16> random{};
  randombytes_buf(random.data(), random.size());
  return ToHex(random);
}

// "NAME/INSTANCE": the name tells whose rooms they are after a restart, the instance keeps two processes of one name apart.
std::string OwnerName(const std::string& owner) { return owner.substr(0, owner.rfind('/')); }

std::string ToJson(const Delivery& delivery) {
  const auto seed = delivery.seed.RevealBytes();
  return nlohmann::json{{"host", delivery.host},
                        {"port", delivery.port},
                        {"payload_type", delivery.payload_type},
                        {"seed", std::vector<std::uint8_t>(seed.begin(), seed.end())}}
      .dump();
}

Delivery DeliveryFromJson(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  Delivery delivery{.host = json.at("host"), .port = json.at("port"), .payload_type = json.at("payload_type")};
  const auto seed = json.at("seed").get<std::vector<std::uint8_t>>();
  std::copy_n(seed.begin(), std::min(seed.size(), delivery.seed.MutableBytes().size()), delivery.seed.MutableBytes().begin());
  return delivery;
}

// The port of a source that was removed is 0.
struct SourceSettingsRecord {
  int port = 0;
  int payload_type = 111;
  int red_payload_type = 63;
};

std::string ToJson(const SourceSettingsRecord& settings) {
  return nlohmann::json{
      {"port", settings.port}, {"payload_type", settings.payload_type}, {"red_payload_type", settings.red_payload_type}}
      .dump();
}

SourceSettingsRecord SettingsFromJson(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  return {.port = json.at("port"), .payload_type = json.at("payload_type"), .red_payload_type = json.at("red_payload_type")};
}

Result<void> CheckPayloadType(const char* field, int payload_type) {
  if (payload_type >= 0 && payload_type <= 127) return {};
  return Fail(ErrorCode::kInvalidArgument, std::string(field) + ": wanted 0 to 127, got " + std::to_string(payload_type));
}

}  // namespace

Result<std::unique_ptr<Sidecar>> Sidecar::Start(const Options& options, const MasterKey& master) {
  if (auto store = OpenStore(options.store_url, OpenMode::kReadWriteCreate); !store) return Pass(store);
  auto media = MediaLoop::Start();
  if (!media) return Pass(media);
  return std::unique_ptr<Sidecar>(new Sidecar(options, master, std::move(*media)));
}

Sidecar::Sidecar(const Options& options, const MasterKey& master, std::unique_ptr<MediaLoop> media)
    : options_(options),
      master_(master),
      instance_(RandomHex()),
      pool_(options.store_url),
      media_(std::move(media)),
      recorder_(pool_, options.recorder),
      lease_keeper_([this] { KeepLeases(); }) {}

Sidecar::~Sidecar() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    stop_.notify_all();
  }
  lease_keeper_.join();
  for (auto& [id, room] : rooms_) {
    if (auto closed = room->CloseSources(kClosePatience); !closed) spdlog::error("{}", closed.error().message);
  }
  rooms_.clear();
}

Lease Sidecar::OwnLease() const { return {.owner = options_.name + "/" + instance_, .duration_us = kLeaseUs}; }

// ---- streams

Result<Sidecar::StreamView> Sidecar::OpenStream(const std::string& stream_id, int retention_days,
                                                std::optional<StreamFormat> format) {
  StreamRecord record;
  record.id = stream_id;
  record.format = format.value_or(SourcePacketsFormat());
  record.key_id = master_.id;
  record.live = true;
  record.retention_days = retention_days == 0 ? options_.retention_days : retention_days;
  randombytes_buf(record.salt.data(), record.salt.size());
  const std::lock_guard lock(mutex_);
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  if (auto created = (*store)->CreateStream(record, {}, OwnLease()); !created) return Pass(created);
  auto kept = (*store)->GetStream(stream_id);
  if (!kept) return Pass(kept);
  if (auto added = AddRoom(*kept, kFirstEpoch, 0); !added) return Pass(added);
  spdlog::info("a stream was opened, {} are open", rooms_.size());
  return ViewOf(*kept);
}

Result<void> Sidecar::AddRoom(const StreamRecord& record, std::int64_t epoch, std::int64_t now_us) {
  auto keys = KeysOf(record, master_);
  if (!keys) return Pass(keys);
  rooms_[record.id] = std::make_unique<Room>(record, *keys, epoch, now_us, *media_, recorder_);
  return {};
}

Result<Room*> Sidecar::FindRoom(const std::string& stream_id) {
  if (const auto found = rooms_.find(stream_id); found != rooms_.end()) return found->second.get();
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  auto record = (*store)->GetStream(stream_id);
  if (!record) return Pass(record);
  const std::string why = record->state == StreamState::kComplete ? "it is closed"
                          : record->live                          ? "another sidecar has it"
                                                                  : "it was marked from a file";
  return Fail(ErrorCode::kFailedPrecondition, "stream '" + stream_id + "': " + why);
}

Result<Sidecar::StreamView> Sidecar::CloseStream(const std::string& stream_id) {
  const std::lock_guard lock(mutex_);
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  auto room = FindRoom(stream_id);
  if (!room) {
    auto record = (*store)->GetStream(stream_id);
    if (record && record->state == StreamState::kComplete) return ViewOf(*record);
    return Pass(room);
  }
  const std::int64_t now_us = (*room)->clock().NowUs();
  std::vector<std::string> grants;
  for (const auto& [grant_id, ssrcs] : (*room)->SsrcsByGrant()) grants.push_back(grant_id);
  (*room)->RemoveListeners();
  for (const std::string& grant_id : grants) {
    if (auto closed = (*store)->CloseGrant(grant_id, now_us + kGrantMarginUs); !closed) return Pass(closed);
  }
  if (auto stored = (*room)->CloseSources(kClosePatience); !stored) return Pass(stored);
  auto record = (*store)->GetStream(stream_id);
  if (!record) return Pass(record);
  if (auto completed = (*store)->CompleteStream(stream_id, record->num_packets * kPacketSamples, (*room)->epoch()); !completed)
    return Pass(completed);
  Forget(stream_id);
  record = (*store)->GetStream(stream_id);
  if (!record) return Pass(record);
  return ViewOf(*record);
}

void Sidecar::Forget(const std::string& stream_id) {
  const Room& room = *rooms_.at(stream_id);
  for (const auto& source : room.Sources()) {
    gone_.packets_sent += source.counts.sent;
    gone_.send_drops += source.counts.send_drops;
    gone_.reference_dropped += source.counts.not_recorded;
  }
  gone_.reference_stored += room.reference_counts().stored;
  gone_.reference_dropped += room.reference_counts().dropped;
  rooms_.erase(stream_id);
}

Sidecar::StreamView Sidecar::ViewOf(const StreamRecord& record) const {
  StreamView view{.record = record, .sources = {}};
  if (const auto found = rooms_.find(record.id); found != rooms_.end()) {
    view.sources = found->second->Sources();
    view.num_listeners = found->second->num_listeners();
  }
  return view;
}

Result<Sidecar::StreamView> Sidecar::GetStream(const std::string& stream_id) {
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  auto record = (*store)->GetStream(stream_id);
  if (!record) return Pass(record);
  const std::lock_guard lock(mutex_);
  return ViewOf(*record);
}

Result<std::vector<Sidecar::StreamView>> Sidecar::ListStreams() {
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  auto records = (*store)->ListStreams();
  if (!records) return Pass(records);
  const std::lock_guard lock(mutex_);
  std::vector<StreamView> views;
  for (const StreamRecord& record : *records) views.push_back(ViewOf(record));
  return views;
}

// ---- speakers

Result<UdpSocket> Sidecar::BindPort(int wanted) const {
  if (wanted != 0 || options_.port_min == 0) return UdpSocket::Bind(options_.media_host, wanted);
  for (int port = options_.port_min; port <= options_.port_max; ++port) {
    auto socket = UdpSocket::Bind(options_.media_host, port);
    if (socket || socket.error().code != ErrorCode::kAlreadyExists) return socket;
  }
  return Fail(ErrorCode::kResourceExhausted, "media.port_min to media.port_max: every UDP port from " +
                                                 std::to_string(options_.port_min) + " to " + std::to_string(options_.port_max) +
                                                 " of " + options_.media_host + " is in use");
}

Result<int> Sidecar::AddSource(const std::string& stream_id, const std::string& source, int payload_type, int red_payload_type) {
  if (auto checked = CheckPayloadType("payload_type", payload_type); !checked) return Pass(checked);
  if (auto checked = CheckPayloadType("red_payload_type", red_payload_type); !checked) return Pass(checked);
  if (payload_type == red_payload_type) {
    return Fail(ErrorCode::kInvalidArgument,
                "payload_type: wanted another one than red_payload_type, got " + std::to_string(payload_type) + " for both");
  }
  const std::lock_guard lock(mutex_);
  auto room = FindRoom(stream_id);
  if (!room) return Pass(room);
  if ((*room)->HasSource(source))
    return Fail(ErrorCode::kAlreadyExists, "source '" + source + "': the stream has one of this name");
  auto socket = BindPort(0);
  if (!socket) return Pass(socket);
  const int port = socket->port();
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  const std::string settings =
      ToJson(SourceSettingsRecord{.port = port, .payload_type = payload_type, .red_payload_type = red_payload_type});
  auto number = (*store)->PutSource(stream_id, (*room)->epoch(), source, settings);
  if (!number) return Pass(number);
  auto added = (*room)->AddSource(source, {.number = *number, .payload_type = payload_type, .red_payload_type = red_payload_type},
                                  std::move(*socket));
  if (!added) return Pass(added);
  return port;
}

Result<void> Sidecar::RemoveSource(const std::string& stream_id, const std::string& source) {
  const std::lock_guard lock(mutex_);
  auto room = FindRoom(stream_id);
  if (!room) return Pass(room);
  if (!(*room)->HasSource(source)) return Fail(ErrorCode::kNotFound, "source '" + source + "': the stream has none of this name");
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  auto put = (*store)->PutSource(stream_id, (*room)->epoch(), source, ToJson(SourceSettingsRecord{}));
  if (!put) return Pass(put);
  return (*room)->RemoveSource(source, kClosePatience);
}

Result<std::shared_ptr<CalledSource>> Sidecar::AddCalledSource(const std::string& stream_id, const std::string& source) {
  const std::lock_guard lock(mutex_);
  auto room = FindRoom(stream_id);
  if (!room) return Pass(room);
  if (auto checked = (*room)->CheckCalledSource(source); !checked) return Pass(checked);
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  auto number = (*store)->PutSource(stream_id, (*room)->epoch(), source, ToJson(SourceSettingsRecord{}));
  if (!number) return Pass(number);
  return (*room)->AddCalledSource(source, *number);
}

// Its settings say already that there is no port to open again.
Result<void> Sidecar::RemoveCalledSource(const std::string& stream_id, const std::string& source, const CalledSource& called) {
  const std::lock_guard lock(mutex_);
  const auto room = rooms_.find(stream_id);
  if (room == rooms_.end() || !room->second->HasCalledSource(source, called)) return {};
  return room->second->RemoveSource(source, kClosePatience);
}

// ---- listeners

Result<ChoiceReader> Sidecar::Choices(const std::string& stream_id, const std::string& grant_id, std::int64_t from_symbol) {
  if (from_symbol < 0)
    return Fail(ErrorCode::kInvalidArgument, "from_symbol: wanted 0 or more, got " + std::to_string(from_symbol));
  const std::lock_guard lock(mutex_);
  auto room = FindRoom(stream_id);
  if (!room) return Pass(room);
  return (*room)->Choices(grant_id, from_symbol);
}

Result<Sidecar::GrantView> Sidecar::AddGrant(const std::string& stream_id, const std::string& account, const Delivery& wanted) {
  Delivery delivery = wanted;
  delivery.seed = NewRandomKey();
  const std::lock_guard lock(mutex_);
  auto room = FindRoom(stream_id);
  if (!room) return Pass(room);
  if (auto checked = (*room)->CheckDelivery(delivery); !checked) return Pass(checked);
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  for (const auto& [id, other] : rooms_) {
    for (const auto& source : other->Sources()) {
      if (!delivery.is_sent() || source.port != delivery.port || options_.media_host != delivery.host) continue;
      return Fail(ErrorCode::kInvalidArgument, "destination: wanted a listener's, got a source's port of this sidecar");
    }
  }
  const std::string grant_id = RandomHex();
  const std::int64_t now_us = (*room)->clock().NowUs();
  const Grant grant{.account = account,
                    .from_stream_us = std::max<std::int64_t>(0, now_us - kGrantMarginUs),
                    .id = grant_id,
                    .delivery = ToJson(delivery)};
  if (auto kept = (*store)->AddGrants(stream_id, std::span(&grant, 1)); !kept) return Pass(kept);
  auto sources = (*room)->AddListener(grant_id, account, delivery);
  if (!sources) {
    (void)(*store)->CloseGrant(grant_id, now_us);  // nothing was sent
    return Pass(sources);
  }
  return GrantView{.grant_id = grant_id, .sources = std::move(*sources)};
}

Result<void> Sidecar::Revoke(const std::string& grant_id) {
  const std::lock_guard lock(mutex_);
  std::optional<std::int64_t> now_us;
  for (auto& [id, room] : rooms_) {
    if (!room->HasListener(grant_id)) continue;
    (void)room->RemoveListener(grant_id);
    now_us = room->clock().NowUs();
  }
  auto store = pool_.Borrow();
  if (!store) return Pass(store);
  if (now_us) return (*store)->CloseGrant(grant_id, *now_us + kGrantMarginUs);
  auto found = (*store)->FindGrant(grant_id);
  if (!found) return Pass(found);
  if (found->grant.to_stream_us != Grant::kOpenEnd) return {};
  auto room = FindRoom(found->stream_id);
  if (!room) return Pass(room);
  // the store was away when it was revoked first
  return (*store)->CloseGrant(grant_id, (*room)->clock().NowUs() + kGrantMarginUs);
}

Result<Sidecar::StatsView> Sidecar::Stats(const std::string& stream_id) {
  const std::lock_guard lock(mutex_);
  auto room = FindRoom(stream_id);
  if (!room) return Pass(room);
  StatsView stats{.stream = ViewOf((*room)->record()), .grants = (*room)->SsrcsByGrant()};
  stats.reference_stored = (*room)->reference_counts().stored;
  stats.reference_dropped = (*room)->reference_counts().dropped;
  for (const auto& source : stats.stream.sources) stats.reference_dropped += source.counts.not_recorded;
  return stats;
}

Sidecar::Totals Sidecar::Count() {
  const std::lock_guard lock(mutex_);
  Totals totals = gone_;
  totals.rooms = static_cast<std::int64_t>(rooms_.size());
  totals.reference_bytes_waiting = static_cast<std::int64_t>(recorder_.bytes_waiting());
  for (const auto& [id, room] : rooms_) {
    totals.listeners += room->num_listeners();
    totals.reference_stored += room->reference_counts().stored;
    totals.reference_dropped += room->reference_counts().dropped;
    for (const auto& source : room->Sources()) {
      ++totals.sources;
      totals.packets_sent += source.counts.sent;
      totals.send_drops += source.counts.send_drops;
      totals.reference_dropped += source.counts.not_recorded;
    }
  }
  return totals;
}

// ---- leases and restarts

void Sidecar::KeepLeases() {
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, kRenewEvery, [&] { return stopping_; })) {
    std::vector<std::string> lost;
    for (const auto& [id, room] : rooms_) {
      auto store = pool_.Borrow();
      const auto renewed = store ? (*store)->RenewStream(id, room->epoch()) : Result<void>(Pass(store));
      if (renewed) continue;
      if (renewed.error().code == ErrorCode::kFailedPrecondition || renewed.error().code == ErrorCode::kNotFound) {
        spdlog::error("a stream stops here: {}", renewed.error().message);
        lost.push_back(id);
      } else {
        spdlog::warn("a lease was not extended: {}", renewed.error().message);
      }
    }
    for (const std::string& id : lost) Forget(id);
  }
}

void Sidecar::ResumeRooms() {
  const auto deadline = std::chrono::steady_clock::now() + kResumePatience;
  for (bool waiting = true; waiting && std::chrono::steady_clock::now() < deadline;) {
    waiting = false;
    auto store = pool_.Borrow();
    auto records = store ? (*store)->ListStreams() : Result<std::vector<StreamRecord>>(Pass(store));
    if (!records) {
      spdlog::error("rooms cannot be resumed: {}", records.error().message);
      return;
    }
    for (const StreamRecord& record : *records) {
      const bool ours = record.live && record.state == StreamState::kRecording && OwnerName(record.owner) == options_.name;
      const std::lock_guard lock(mutex_);
      if (ours && !rooms_.contains(record.id) && !Resume(**store, record)) waiting = true;
    }
    if (waiting) std::this_thread::sleep_for(milliseconds(100));
  }
}

// False: its lease has not run out.
bool Sidecar::Resume(Store& store, const StreamRecord& record) {
  auto epoch = store.TakeStream(record.id, OwnLease());
  if (!epoch) return false;
  auto taken = store.GetStream(record.id);
  if (!taken) return true;
  // The store's clock, as it was when the lease began.
  const std::int64_t now_us = taken->leased_until_unix_us - kLeaseUs - taken->created_unix_us;
  if (auto added = AddRoom(*taken, *epoch, now_us); !added) {
    spdlog::error("a stream cannot be resumed: {}", added.error().message);
    return true;
  }
  Room& room = *rooms_.at(record.id);
  ResumeListeners(store, room);
  ResumeSources(store, room);
  spdlog::info("a stream was resumed, with {} sources and {} listeners", room.Sources().size(), room.num_listeners());
  return true;
}

void Sidecar::ResumeSources(Store& store, Room& room) {
  auto sources = store.ListSources(room.record().id);
  if (!sources) return;
  for (const SourceRecord& source : *sources) {
    const SourceSettingsRecord settings = SettingsFromJson(source.settings);
    if (settings.port == 0) continue;
    auto socket = BindPort(settings.port);
    const auto added =
        socket
            ? room.AddSource(
                  source.name,
                  {.number = source.source, .payload_type = settings.payload_type, .red_payload_type = settings.red_payload_type},
                  std::move(*socket))
            : Result<void>(Pass(socket));
    if (!added)
      spdlog::error("stream '{}': source '{}' cannot be resumed; add it again: {}", room.record().id, source.name,
                    added.error().message);
  }
}

void Sidecar::ResumeListeners(Store& store, Room& room) {
  const std::int64_t now_us = room.clock().NowUs();
  auto grants = store.ListGrants(room.record().id, now_us, Grant::kOpenEnd);
  if (!grants) return;
  for (const Grant& grant : *grants) {
    if (grant.id.empty() || grant.delivery.empty() || grant.to_stream_us != Grant::kOpenEnd) continue;
    const Delivery delivery = DeliveryFromJson(grant.delivery);
    if (!delivery.seed.is_set()) {
      spdlog::error("grant {} cannot be resumed: its delivery has no seed", grant.id);
      continue;
    }
    const auto added = room.AddListener(grant.id, grant.account, delivery);
    if (!added) spdlog::error("a grant cannot be resumed: {}", added.error().message);
  }
}

}  // namespace earmark
