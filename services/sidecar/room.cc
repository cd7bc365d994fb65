#include "services/sidecar/room.h"

#include <netinet/in.h>

#include <algorithm>
#include <utility>

namespace earmark {
namespace {

constexpr int kMaxPayloadType = 127;

}  // namespace

Room::Room(const StreamRecord& record, const StreamKeys& keys, std::int64_t epoch, std::int64_t now_us, MediaLoop& media,
           Recorder& recorder)
    : record_(record),
      keys_(keys),
      epoch_(epoch),
      clock_(now_us),
      media_(media),
      recorder_(recorder),
      audience_(record.format.num_variants, kMaxListeners) {}

Room::~Room() {
  for (auto& [grant_id, listener] : listeners_) *listener.presence = Presence::kElsewhere;
  for (auto& [name, source] : sources_) {
    if (source.called) {
      source.called->Stop(Presence::kElsewhere);
    } else {
      media_.Remove(source.in_media);
    }
  }
}

std::int64_t Room::OpenRecording(int number) {
  return recorder_.Open({.stream_id = record_.id,
                         .format = record_.format,
                         .seal_key = keys_.seal,
                         .source = number,
                         .epoch = epoch_,
                         .counts = reference_counts_});
}

Result<void> Room::AddSource(const std::string& name, const SourceSettings& settings, UdpSocket socket) {
  if (HasSource(name)) return Fail(ErrorCode::kAlreadyExists, "source '" + name + "': the stream has one of this name");
  Source source;
  source.port = socket.port();
  source.payload_type = settings.payload_type;
  source.recording = OpenRecording(settings.number);
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
  for (const auto& [grant_id, listener] : listeners_) {
    if (listener.delivery.is_sent()) source.targets.emplace(listener.id, TargetOf(listener, name));
  }
  PublishTargets(source);
  source.in_media = media_.Add(source.live);
  sources_.emplace(name, std::move(source));
  return {};
}

// Patches are for packets that go on as they came.
Result<void> Room::CheckKind() const {
  if (record_.format.kind == ReferenceKind::kSourcePackets) return {};
  return Fail(ErrorCode::kFailedPrecondition, "stream '" + record_.id + "': wanted one that is marked IN_PACKET, got REENCODE");
}

Result<void> Room::CheckCalledSource(const std::string& name) const {
  if (auto checked = CheckKind(); !checked) return checked;
  if (HasSource(name)) return Fail(ErrorCode::kAlreadyExists, "source '" + name + "': the stream has one of this name");
  return {};
}

Result<std::shared_ptr<CalledSource>> Room::AddCalledSource(const std::string& name, int number) {
  if (auto checked = CheckCalledSource(name); !checked) return Pass(checked);
  const std::int64_t recording = OpenRecording(number);
  const auto earlier = called_ends_.find(name);
  const std::int64_t first_packet = earlier == called_ends_.end() ? 0 : earlier->second;
  auto called = CalledSource::Create({.format = record_.format, .recording = recording, .first_packet = first_packet}, keys_,
                                     clock_, recorder_);
  if (!called) {
    recorder_.Close(recording, std::chrono::milliseconds(0));
    return Pass(called);
  }
  sources_.emplace(name, Source{.live = nullptr, .called = *called, .recording = recording, .targets = {}});
  return called;
}

bool Room::HasCalledSource(const std::string& name, const CalledSource& source) const {
  const auto found = sources_.find(name);
  return found != sources_.end() && found->second.called.get() == &source;
}

Result<void> Room::RemoveSource(const std::string& name, std::chrono::milliseconds patience) {
  const auto found = sources_.find(name);
  if (found == sources_.end()) return Fail(ErrorCode::kNotFound, "source '" + name + "': the stream has none of this name");
  if (found->second.called) {
    found->second.called->Stop(Presence::kEnded);
    called_ends_[name] = found->second.called->end_packet();
  } else {
    media_.Remove(found->second.in_media);
  }
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
  for (const auto& [name, source] : sources_) {
    views.push_back(
        {.name = name, .port = source.port, .counts = source.called ? source.called->counts() : source.live->counts()});
  }
  return views;
}

FanoutTarget Room::TargetOf(const Listener& listener, const std::string& source) {
  return {.listener = listener.id,
          .destination = *listener.destination,
          .projection = OutputProjection::Derive(listener.delivery.seed, source,
                                                 static_cast<std::uint8_t>(listener.delivery.payload_type))};
}

void Room::PublishTargets(Source& source) {
  auto targets = std::make_shared<SourceTargets>();
  for (const auto& [id, target] : source.targets)
    (target.destination.family() == AF_INET ? targets->v4 : targets->v6).push_back(target);
  source.live->SetTargets(std::move(targets));
}

Result<void> Room::CheckDelivery(const Delivery& delivery) const {
  if (!delivery.is_sent()) {
    if (record_.format.kind == ReferenceKind::kSourcePackets) return {};
    return Fail(ErrorCode::kFailedPrecondition,
                "destination: wanted one, got none; what a room marked REENCODE sends can only come from the sidecar");
  }
  if (auto destination = Destination::Parse(delivery.host, delivery.port); !destination) return Pass(destination);
  if (delivery.payload_type < 0 || delivery.payload_type > kMaxPayloadType) {
    return Fail(ErrorCode::kInvalidArgument,
                "destination.payload_type: wanted 0 to 127, got " + std::to_string(delivery.payload_type));
  }
  const bool taken = std::any_of(listeners_.begin(), listeners_.end(), [&](const auto& listener) {
    return listener.second.delivery.host == delivery.host && listener.second.delivery.port == delivery.port;
  });
  if (!taken) return {};
  return Fail(ErrorCode::kAlreadyExists,
              "destination: another grant of the stream has " + delivery.host + " port " + std::to_string(delivery.port));
}

Result<std::vector<Room::SourceSsrc>> Room::AddListener(const std::string& grant_id, const std::string& account,
                                                        const Delivery& delivery) {
  if (auto checked = CheckDelivery(delivery); !checked) return Pass(checked);
  if (num_listeners() >= kMaxListeners) {
    return Fail(ErrorCode::kResourceExhausted, "listeners: at most " + std::to_string(kMaxListeners) + " fit in a room");
  }
  Listener listener{.account = account, .delivery = delivery};
  std::vector<SourceSsrc> ssrcs;
  if (!delivery.is_sent()) {
    listeners_.emplace(grant_id, listener);
    return ssrcs;
  }
  auto destination = Destination::Parse(delivery.host, delivery.port);
  if (!destination) return Pass(destination);
  auto id = audience_.Add(keys_.code, account);
  if (!id) return Pass(id);
  listener.id = *id;
  listener.destination = *destination;
  listeners_.emplace(grant_id, listener);
  for (auto& [name, source] : sources_) {
    if (source.called) continue;
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
  const Listener listener = std::move(found->second);
  listeners_.erase(found);
  *listener.presence = Presence::kEnded;
  if (!listener.delivery.is_sent()) return {};
  for (auto& [name, source] : sources_) {
    if (source.called) continue;
    source.targets.erase(listener.id);
    PublishTargets(source);
  }
  return audience_.Remove(listener.id);
}

void Room::RemoveListeners() {
  while (!listeners_.empty()) (void)RemoveListener(listeners_.begin()->first);
}

std::map<std::string, std::vector<Room::SourceSsrc>> Room::SsrcsByGrant() const {
  std::map<std::string, std::vector<SourceSsrc>> ssrcs;
  for (const auto& [grant_id, listener] : listeners_) {
    auto& of_grant = ssrcs[grant_id];
    if (!listener.delivery.is_sent()) continue;
    for (const auto& [name, source] : sources_) {
      if (!source.called) of_grant.push_back({.source = name, .ssrc = source.targets.at(listener.id).projection.ssrc()});
    }
  }
  return ssrcs;
}

Result<ChoiceReader> Room::Choices(const std::string& grant_id, std::int64_t from_symbol) const {
  if (auto checked = CheckKind(); !checked) return Pass(checked);
  const auto found = listeners_.find(grant_id);
  if (found == listeners_.end())
    return Fail(ErrorCode::kNotFound, "grant '" + grant_id + "': the stream has no open one of this id");
  const Listener& listener = found->second;
  return ChoiceReader(TraceCode(keys_.code, listener.account, record_.format.num_variants), record_.format, clock_,
                      listener.presence, from_symbol);
}

}  // namespace earmark
