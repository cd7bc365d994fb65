#include "services/sidecar/room.h"

#include <netinet/in.h>

#include <algorithm>
#include <utility>

namespace earmark {
namespace {

constexpr int kMaxPayloadType = 127;

}  // namespace

Room::Room(const StreamRecord& record, const StreamKeys& keys, std::int64_t epoch, std::int64_t now_us, MediaLoop& media, Recorder& recorder)
    : record_(record), keys_(keys), epoch_(epoch), clock_(now_us), media_(media), recorder_(recorder), audience_(record.format.num_variants, kMaxListeners) {}

Room::~Room() {
  for (auto& [name, source] : sources_) media_.Remove(source.in_media);
}

Result<void> Room::AddSource(const std::string& name, const SourceSettings& settings, UdpSocket socket) {
  if (HasSource(name)) return Fail(ErrorCode::kAlreadyExists, "source '" + name + "': the stream has one of this name");
  Source source;
  source.port = socket.port();
  source.payload_type = settings.payload_type;
  source.recording = recorder_.Open({.stream_id = record_.id,
                                     .format = record_.format,
                                     .seal_key = keys_.seal,
                                     .source = settings.number,
                                     .epoch = epoch_,
                                     .counts = reference_counts_});
  auto live = LiveSource::Create({.format = record_.format,
                                  .payload_type = settings.payload_type,
                                  .red_payload_type = settings.red_payload_type,
                                  .recording = source.recording},
                                 keys_, std::move(socket), clock_, audience_, recorder_.queue());
  if (!live) {
    recorder_.Close(source.recording, std::chrono::milliseconds(0));
    return Pass(live);
  }
  source.live = std::move(*live);
  for (const auto& [grant_id, listener] : listeners_) source.targets.emplace(listener.id, TargetOf(listener, name));
  PublishTargets(source);
  source.in_media = media_.Add(source.live);
  sources_.emplace(name, std::move(source));
  return {};
}

Result<void> Room::RemoveSource(const std::string& name, std::chrono::milliseconds patience) {
  const auto found = sources_.find(name);
  if (found == sources_.end()) return Fail(ErrorCode::kNotFound, "source '" + name + "': the stream has none of this name");
  media_.Remove(found->second.in_media);
  const std::int64_t recording = found->second.recording;
  sources_.erase(found);
  recorder_.Close(recording, patience);
  return recorder_.WaitUntilStored(record_.id, patience);
}

Result<void> Room::CloseSources(std::chrono::milliseconds patience) {
  while (!sources_.empty()) (void)RemoveSource(sources_.begin()->first, patience);
  return recorder_.WaitUntilStored(record_.id, patience);
}

std::vector<Room::SourceView> Room::Sources() const {
  std::vector<SourceView> views;
  for (const auto& [name, source] : sources_) views.push_back({.name = name, .port = source.port, .counts = source.live->counts()});
  return views;
}

FanoutTarget Room::TargetOf(const Listener& listener, const std::string& source) {
  return {.listener = listener.id,
          .destination = listener.destination,
          .projection = OutputProjection::Derive(listener.delivery.seed, source, static_cast<std::uint8_t>(listener.delivery.payload_type))};
}

void Room::PublishTargets(Source& source) {
  auto targets = std::make_shared<SourceTargets>();
  for (const auto& [id, target] : source.targets) (target.destination.family() == AF_INET ? targets->v4 : targets->v6).push_back(target);
  source.live->SetTargets(std::move(targets));
}

Result<void> Room::CheckDelivery(const Delivery& delivery) const {
  if (auto destination = Destination::Parse(delivery.host, delivery.port); !destination) return Pass(destination);
  if (delivery.payload_type < 0 || delivery.payload_type > kMaxPayloadType) {
    return Fail(ErrorCode::kInvalidArgument, "destination.payload_type: wanted 0 to 127, got " + std::to_string(delivery.payload_type));
  }
  const bool taken = std::any_of(listeners_.begin(), listeners_.end(), [&](const auto& listener) {
    return listener.second.delivery.host == delivery.host && listener.second.delivery.port == delivery.port;
  });
  if (!taken) return {};
  return Fail(ErrorCode::kAlreadyExists, "destination: another grant of the stream has " + delivery.host + " port " + std::to_string(delivery.port));
}

Result<std::vector<Room::SourceSsrc>> Room::AddListener(const std::string& grant_id, const std::string& account, const Delivery& delivery) {
  if (auto checked = CheckDelivery(delivery); !checked) return Pass(checked);
  auto destination = Destination::Parse(delivery.host, delivery.port);
  if (!destination) return Pass(destination);
  auto id = audience_.Add(keys_.code, account);
  if (!id) return Pass(id);
  const auto& listener = listeners_.emplace(grant_id, Listener{.id = *id, .delivery = delivery, .destination = *destination}).first->second;
  std::vector<SourceSsrc> ssrcs;
  for (auto& [name, source] : sources_) {
    const FanoutTarget target = TargetOf(listener, name);
    ssrcs.push_back({.source = name, .ssrc = target.projection.ssrc()});
    source.targets.emplace(*id, target);
    PublishTargets(source);
  }
  return ssrcs;
}

Result<void> Room::RemoveListener(const std::string& grant_id) {
  const auto found = listeners_.find(grant_id);
  if (found == listeners_.end()) return Fail(ErrorCode::kNotFound, "grant '" + grant_id + "': nobody listens under it");
  const ListenerId id = found->second.id;
  listeners_.erase(found);
  for (auto& [name, source] : sources_) {
    source.targets.erase(id);
    PublishTargets(source);
  }
  return audience_.Remove(id);
}

void Room::RemoveListeners() {
  while (!listeners_.empty()) (void)RemoveListener(listeners_.begin()->first);
}

std::map<std::string, std::vector<Room::SourceSsrc>> Room::SsrcsByGrant() const {
  std::map<std::string, std::vector<SourceSsrc>> ssrcs;
  for (const auto& [grant_id, listener] : listeners_) {
    auto& of_grant = ssrcs[grant_id];
    for (const auto& [name, source] : sources_) of_grant.push_back({.source = name, .ssrc = source.targets.at(listener.id).projection.ssrc()});
  }
  return ssrcs;
}

}  // namespace earmark
