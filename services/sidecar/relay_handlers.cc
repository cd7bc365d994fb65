#include "services/sidecar/relay_handlers.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "dsp/marking/in_packet_marker.h"
#include "services/access/serve.h"
#include "services/common/idempotency.h"
#include "services/common/server/status.h"
#include "services/common/server/timestamp.h"

namespace earmark {
namespace {

using server::TimestampOf;
using server::ToStatus;
using std::chrono::milliseconds;

constexpr milliseconds kStatsEvery{1000};
constexpr milliseconds kStatsLook{50};  // for sources that come and go
constexpr std::uint32_t kDefaultPageSize = 100;
constexpr std::uint32_t kMaxPageSize = 1000;
constexpr std::uint32_t kMaxRetentionDays = 3650;
constexpr std::uint32_t kDefaultPayloadType = 111;
constexpr std::uint32_t kDefaultRedPayloadType = 63;

Result<void> Want(bool right, const std::string& message) {
  return right ? Result<void>() : Result<void>(Fail(ErrorCode::kInvalidArgument, message));
}

void Fill(const StreamFormat& format, v1::StreamFormat& filled) {
  filled.set_num_channels(static_cast<std::uint32_t>(format.num_channels));
  if (format.kind == ReferenceKind::kSourcePackets) {
    filled.set_marking(v1::IN_PACKET);
    filled.set_strength(static_cast<std::uint32_t>(format.strength));
  } else {
    filled.set_marking(v1::REENCODE);
    filled.set_bitrate_bps(static_cast<std::uint32_t>(format.bitrate_bps));
  }
}

void Fill(const Sidecar& sidecar, const Sidecar::StreamView& view, v1::Stream& stream) {
  const StreamRecord& record = view.record;
  stream.set_stream_id(record.id);
  stream.set_state(record.state == StreamState::kComplete ? v1::CLOSED : v1::OPEN);
  *stream.mutable_created_at() = TimestampOf(record.created_unix_us);
  if (record.state == StreamState::kComplete) *stream.mutable_closed_at() = TimestampOf(record.updated_unix_us);
  stream.set_retention_days(static_cast<std::uint32_t>(record.retention_days));
  Fill(record.format, *stream.mutable_format());
  for (const Room::SourceView& source : view.sources) {
    v1::Source& filled = *stream.add_sources();
    filled.set_source(source.name);
    filled.set_rtp_host(sidecar.media_host());
    filled.set_rtp_port(static_cast<std::uint32_t>(source.port));
  }
  stream.set_num_grants(static_cast<std::uint32_t>(view.num_listeners));
}

void Fill(const Room::SourceView& source, v1::SourceStats& stats) {
  stats.set_source(source.name);
  stats.set_packets_received(source.counts.received);
  stats.set_packets_lost(source.counts.lost);
  stats.set_packets_late(source.counts.late);
  stats.set_packets_duplicate(source.counts.duplicate);
  stats.set_packets_rejected(source.counts.rejected);
  stats.set_slots_marked(source.counts.marked);
  stats.set_slots_erased(source.counts.erased);
  stats.set_packets_malformed(source.counts.malformed);
}

template <typename Message>
void FillSsrcs(const std::vector<Room::SourceSsrc>& ssrcs, Message& message) {
  for (const Room::SourceSsrc& ssrc : ssrcs) {
    v1::SourceSsrc& filled = *message.add_sources();
    filled.set_source(ssrc.source);
    filled.set_ssrc(ssrc.ssrc);
  }
}

void Fill(const Sidecar::StatsView& view, v1::StreamStats& stats) {
  stats.set_stream_id(view.stream.record.id);
  stats.set_listeners(static_cast<std::uint32_t>(view.stream.num_listeners));
  std::int64_t sent = 0;
  std::int64_t dropped = 0;
  for (const Room::SourceView& source : view.stream.sources) {
    Fill(source, *stats.add_sources());
    sent += source.counts.sent;
    dropped += source.counts.send_drops;
  }
  stats.set_packets_sent(sent);
  stats.set_send_drops(dropped);
  stats.set_reference_packets_stored(view.reference_stored);
  stats.set_reference_packets_dropped(view.reference_dropped);
  for (const auto& [grant_id, ssrcs] : view.grants) {
    v1::GrantSources& grant = *stats.add_grants();
    grant.set_grant_id(grant_id);
    FillSsrcs(ssrcs, grant);
  }
}

Result<std::optional<StreamFormat>> FormatOf(const v1::OpenStreamRequest& request) {
  if (!request.has_format()) return std::optional<StreamFormat>();
  const v1::StreamFormat& wanted = request.format();
  const bool known =
      wanted.marking() == v1::REENCODE || wanted.marking() == v1::IN_PACKET || wanted.marking() == v1::MARKING_UNSPECIFIED;
  if (auto right = Want(known, "format.marking: wanted REENCODE or IN_PACKET, got " + std::to_string(wanted.marking())); !right)
    return Pass(right);
  const bool reencode =
      wanted.marking() == v1::REENCODE || (wanted.marking() == v1::MARKING_UNSPECIFIED && wanted.bitrate_bps() != 0);
  StreamFormat format = reencode ? StreamFormat() : SourcePacketsFormat();
  if (wanted.num_channels() != 0) format.num_channels = static_cast<int>(wanted.num_channels());
  format.bitrate_bps = static_cast<int>(std::min(wanted.bitrate_bps(), 1'000'000U));
  if (wanted.has_strength()) format.strength = static_cast<int>(std::min(wanted.strength(), 1000U));
  if (auto right = Want(reencode || wanted.bitrate_bps() == 0,
                        "format.bitrate_bps: wanted none with marking IN_PACKET, got " + std::to_string(wanted.bitrate_bps()));
      !right)
    return Pass(right);
  if (auto right = Want(!reencode || !wanted.has_strength(),
                        "format.strength: wanted with marking IN_PACKET alone, got " + std::to_string(wanted.strength()));
      !right)
    return Pass(right);
  if (auto valid = Validate(format); !valid) return Pass(valid);
  return std::optional<StreamFormat>(format);
}

// Runs a call once under its idempotency key.
template <typename Request, typename Response, typename Call>
grpc::Status Change(Sidecar& sidecar, KeyLocks& locks, const char* scope, const Request& request, Response& response,
                    const Call& call) {
  const auto lock = locks.Lock(request.idempotency_key());
  auto store = sidecar.pool().Borrow();
  if (!store) return ToStatus(store.error());
  return ToStatus(Once(**store, scope, request, response, call));
}

// A call that ends before it begins.
template <typename Reactor>
class Refused final : public Reactor {
 public:
  explicit Refused(const grpc::Status& status) { this->Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::Status RelayHandlers::Admit(const grpc::ServerContextBase& context, const char* call) {
  return ToStatus(access::Admit(access_, context, call));
}

grpc::ServerBidiReactor<v1::SourcePacket, v1::VariantSlot>* RelayHandlers::Variants(grpc::CallbackServerContext* context) {
  auto admitted = Admit(*context, "Relay.Variants");
  return admitted.ok() ? calls_.Variants(context)
                       : new Refused<grpc::ServerBidiReactor<v1::SourcePacket, v1::VariantSlot>>(admitted);
}

grpc::ServerWriteReactor<v1::ChoiceBlock>* RelayHandlers::Choices(grpc::CallbackServerContext* context,
                                                                  const v1::ChoicesRequest* request) {
  auto admitted = Admit(*context, "Relay.Choices");
  return admitted.ok() ? calls_.Choices(context, *request) : new Refused<grpc::ServerWriteReactor<v1::ChoiceBlock>>(admitted);
}

grpc::Status RelayHandlers::OpenStream(grpc::ServerContext* context, const v1::OpenStreamRequest* request, v1::Stream* stream) {
  if (auto admitted = Admit(*context, "Relay.OpenStream"); !admitted.ok()) return admitted;
  return Change(sidecar_, key_locks_, "OpenStream", *request, *stream, [&]() -> Result<void> {
    const std::uint32_t days = request->retention_days();
    if (auto right = Want(days <= kMaxRetentionDays, "retention_days: wanted 0 to 3650, got " + std::to_string(days)); !right)
      return right;
    auto format = FormatOf(*request);
    if (!format) return Pass(format);
    auto view = sidecar_.OpenStream(request->stream_id(), static_cast<int>(days), *format);
    if (!view) return Pass(view);
    Fill(sidecar_, *view, *stream);
    return {};
  });
}

grpc::Status RelayHandlers::CloseStream(grpc::ServerContext* context, const v1::CloseStreamRequest* request, v1::Stream* stream) {
  if (auto admitted = Admit(*context, "Relay.CloseStream"); !admitted.ok()) return admitted;
  return Change(sidecar_, key_locks_, "CloseStream", *request, *stream, [&]() -> Result<void> {
    auto view = sidecar_.CloseStream(request->stream_id());
    if (!view) return Pass(view);
    Fill(sidecar_, *view, *stream);
    return {};
  });
}

grpc::Status RelayHandlers::GetStream(grpc::ServerContext* context, const v1::GetStreamRequest* request, v1::Stream* stream) {
  if (auto admitted = Admit(*context, "Relay.GetStream"); !admitted.ok()) return admitted;
  auto view = sidecar_.GetStream(request->stream_id());
  if (view) Fill(sidecar_, *view, *stream);
  return ToStatus(view);
}

// A page token is the number of streams that the pages before it told of, counted from the oldest: those that were opened in between move nothing.
grpc::Status RelayHandlers::ListStreams(grpc::ServerContext* context, const v1::ListStreamsRequest* request,
                                        v1::ListStreamsResponse* response) {
  if (auto admitted = Admit(*context, "Relay.ListStreams"); !admitted.ok()) return admitted;
  if (auto right =
          Want(request->page_size() <= kMaxPageSize, "page_size: wanted 0 to 1000, got " + std::to_string(request->page_size()));
      !right)
    return ToStatus(right);
  auto views = sidecar_.ListStreams();
  if (!views) return ToStatus(views);
  std::size_t end = views->size();
  const std::string& token = request->page_token();
  if (!token.empty()) {
    const auto parsed = std::from_chars(token.data(), token.data() + token.size(), end);
    const bool whole = parsed.ec == std::errc() && parsed.ptr == token.data() + token.size() && end <= views->size();
    if (auto right = Want(whole, "page_token: wanted next_page_token of the answer before, got another text"); !right)
      return ToStatus(right);
  }
  const std::size_t size = request->page_size() == 0 ? kDefaultPageSize : request->page_size();
  const std::size_t begin = end - std::min(end, size);
  for (std::size_t i = end; i > begin; --i) Fill(sidecar_, (*views)[i - 1], *response->add_streams());
  if (begin > 0) response->set_next_page_token(std::to_string(begin));
  return grpc::Status::OK;
}

grpc::Status RelayHandlers::AddSource(grpc::ServerContext* context, const v1::AddSourceRequest* request,
                                      v1::AddSourceResponse* response) {
  if (auto admitted = Admit(*context, "Relay.AddSource"); !admitted.ok()) return admitted;
  return Change(sidecar_, key_locks_, "AddSource", *request, *response, [&]() -> Result<void> {
    const std::uint32_t payload_type = request->has_payload_type() ? request->payload_type() : kDefaultPayloadType;
    const std::uint32_t red = request->has_red_payload_type() ? request->red_payload_type() : kDefaultRedPayloadType;
    auto port = sidecar_.AddSource(request->stream_id(), request->source(), static_cast<int>(std::min(payload_type, 1000U)),
                                   static_cast<int>(std::min(red, 1000U)));
    if (!port) return Pass(port);
    response->set_rtp_host(sidecar_.media_host());
    response->set_rtp_port(static_cast<std::uint32_t>(*port));
    return {};
  });
}

grpc::Status RelayHandlers::RemoveSource(grpc::ServerContext* context, const v1::RemoveSourceRequest* request,
                                         v1::RemoveSourceResponse* response) {
  if (auto admitted = Admit(*context, "Relay.RemoveSource"); !admitted.ok()) return admitted;
  return Change(sidecar_, key_locks_, "RemoveSource", *request, *response,
                [&] { return sidecar_.RemoveSource(request->stream_id(), request->source()); });
}

grpc::Status RelayHandlers::Grant(grpc::ServerContext* context, const v1::GrantRequest* request, v1::GrantResponse* response) {
  if (auto admitted = Admit(*context, "Relay.Grant"); !admitted.ok()) return admitted;
  return Change(sidecar_, key_locks_, "Grant", *request, *response, [&]() -> Result<void> {
    const v1::Destination& destination = request->destination();
    if (auto right =
            Want(!request->has_destination() || !destination.host().empty(), "destination.host: wanted an address, got none");
        !right)
      return right;
    const std::uint32_t payload_type = destination.has_payload_type() ? destination.payload_type() : kDefaultPayloadType;
    auto grant = sidecar_.AddGrant(request->stream_id(), request->account(),
                                   {.host = destination.host(),
                                    .port = static_cast<int>(std::min(destination.port(), 100'000U)),
                                    .payload_type = static_cast<int>(std::min(payload_type, 1000U))});
    if (!grant) return Pass(grant);
    response->set_grant_id(grant->grant_id);
    FillSsrcs(grant->sources, *response);
    return {};
  });
}

grpc::Status RelayHandlers::Revoke(grpc::ServerContext* context, const v1::RevokeRequest* request, v1::RevokeResponse* response) {
  if (auto admitted = Admit(*context, "Relay.Revoke"); !admitted.ok()) return admitted;
  return Change(sidecar_, key_locks_, "Revoke", *request, *response, [&] { return sidecar_.Revoke(request->grant_id()); });
}

grpc::Status RelayHandlers::WatchStats(grpc::ServerContext* context, const v1::WatchStatsRequest* request,
                                       grpc::ServerWriter<v1::StreamStats>* writer) {
  if (auto admitted = Admit(*context, "Relay.WatchStats"); !admitted.ok()) return admitted;
  auto last_told = std::chrono::steady_clock::time_point();
  std::size_t num_sources = 0;
  for (bool first = true; !context->IsCancelled() && !draining_; first = false) {
    auto view = sidecar_.Stats(request->stream_id());
    if (!view) return !first && view.error().code == ErrorCode::kFailedPrecondition ? grpc::Status::OK : ToStatus(view);
    const auto now = std::chrono::steady_clock::now();
    if (view->stream.sources.size() != num_sources || now - last_told >= kStatsEvery) {
      v1::StreamStats stats;
      Fill(*view, stats);
      if (!writer->Write(stats)) break;
      num_sources = view->stream.sources.size();
      last_told = now;
    }
    std::this_thread::sleep_for(kStatsLook);
  }
  return grpc::Status::OK;
}

}  // namespace earmark
