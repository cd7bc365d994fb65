#include "services/common/registration.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "dsp/marking/in_packet_marker.h"
#include "dsp/media/audio_file.h"
#include "dsp/media/ogg_opus.h"
#include "services/common/digest.h"
#include "services/common/marking.h"
#include "services/common/packet_marking.h"

namespace earmark {

bool Listeners::Holds(const std::string& account) const {
  return std::find(accounts.begin(), accounts.end(), account) != accounts.end();
}

namespace {

// "it has this value, and that was asked for".
tl::unexpected<Error> Other(const std::string& stream_id, const std::string& option, const std::string& is,
                            const std::string& wanted) {
  return Fail(ErrorCode::kAlreadyExists, "stream '" + stream_id + "' was registered with " + option + " " + is + ", not " +
                                             wanted + "; leave " + option +
                                             " away for another copy of it, or choose another --stream");
}

Result<void> CheckNumber(const std::string& stream_id, const std::string& option, int is, const std::optional<int>& wanted) {
  if (wanted.value_or(is) != is) return Other(stream_id, option, std::to_string(is), std::to_string(*wanted));
  return {};
}

// Whether what was asked for is what the stream already is. Settings that nobody gave are the stream's.
Result<void> CheckAgainst(const StreamRecord& stream, const CopyRequest& request, const std::string& digest) {
  const std::string which = "stream '" + stream.id + "' ";
  if (stream.input_digest != digest) {
    return Fail(ErrorCode::kAlreadyExists,
                which + "was registered from another recording than " + request.input + "; choose another --stream");
  }
  const StreamFormat& format = stream.format;
  if (format.kind == ReferenceKind::kSourcePackets) {
    if (format.bitrate_bps == 0 && (request.bitrate_bps || request.opus)) {
      return Fail(
          ErrorCode::kAlreadyExists,
          which +
              "was registered with the recording's own packets; leave --bitrate and --codec away for another copy of it, or choose another --stream");
    }
    if (auto same = CheckNumber(stream.id, "--strength", format.strength, request.strength); !same) return same;
  } else if (request.strength) {
    return Fail(ErrorCode::kInvalidArgument,
                which + "was marked before it was encoded, and --strength is for marks in Opus packets");
  }
  const bool opus = format.kind != ReferenceKind::kHostPackets;
  if (request.opus.value_or(opus) != opus) return Other(stream.id, "--codec", opus ? "opus" : "none", opus ? "none" : "opus");
  if (!opus && !IsWav(request)) {
    return Fail(ErrorCode::kInvalidArgument,
                which + "was registered with --codec none, which is PCM, so copies are .wav: --out OUT.wav, or --format wav");
  }
  if (auto same = CheckNumber(stream.id, "--bitrate", format.bitrate_bps, request.bitrate_bps); !same) return same;
  if (auto same = CheckNumber(stream.id, "--variants", format.num_variants, request.num_variants); !same) return same;
  return CheckNumber(stream.id, "--packets-per-symbol", format.packets_per_symbol, request.packets_per_symbol);
}

Result<RegisterSummary> RegisterOwnPackets(Store& store, const MasterKey& master, const CopyRequest& request,
                                           const RegisterOptions& options, const Progress& progress) {
  auto source = OggOpusReader::Open(request.input);
  if (!source) return Pass(source);
  return RegisterPackets(store, master, **source, options, progress);
}

Result<RegisterSummary> RegisterSound(Store& store, const MasterKey& master, const CopyRequest& request,
                                      const RegisterOptions& options, const Progress& progress) {
  auto host = AudioReader::Open(request.input);
  if (!host) return Pass(host);
  return RegisterStream(store, master, **host, options, progress);
}

StreamFormat FormatFor(const CopyRequest& request, bool own_packets) {
  StreamFormat format;
  if (request.opus.value_or(true))
    format = SourcePacketsFormat(own_packets ? 0 : request.bitrate_bps.value_or(kUsualBitrateBps));
  else
    format.kind = ReferenceKind::kHostPackets;
  format.num_variants = request.num_variants.value_or(format.num_variants);
  format.packets_per_symbol = request.packets_per_symbol.value_or(format.packets_per_symbol);
  format.strength = request.strength.value_or(format.strength);
  return format;
}

Result<Registration> Register(Store& store, const MasterKey& master, const CopyRequest& request, const std::string& digest,
                              const Listeners& listeners, const Progress& progress) {
  if (!request.account.empty() && !listeners.Holds(request.account))
    return tl::unexpected<Error>(NotAListener(request, listeners));
  RegisterOptions options;
  options.stream_id = request.stream_id;
  options.accounts = listeners.accounts;
  options.input_digest = digest;
  if (request.strength && !request.opus.value_or(true))
    return Fail(ErrorCode::kInvalidArgument, "--strength is for marks in Opus packets, and --codec none makes none");
  const bool own_packets = HasPacketsToMark(request);
  options.format = FormatFor(request, own_packets);
  auto summary = own_packets ? RegisterOwnPackets(store, master, request, options, progress)
                             : RegisterSound(store, master, request, options, progress);
  if (!summary) return Pass(summary);
  auto stream = store.GetStream(request.stream_id);
  if (!stream) return Pass(stream);
  return Registration{.stream = std::move(*stream), .is_new = true, .lost_share = summary->lost_share};
}

// Grants like `wanted` for those of `accounts` that have none which is `enough`.
Result<std::vector<Grant>> NewGrants(Store& store, const std::string& stream_id, const std::vector<std::string>& accounts,
                                     const Grant& wanted, const std::function<bool(const Grant&)>& enough) {
  auto grants = store.ListGrants(stream_id, 0, Grant::kOpenEnd);
  if (!grants) return Pass(grants);
  std::set<std::string_view> known;
  for (const Grant& grant : *grants) {
    if (enough(grant)) known.insert(grant.account);
  }
  std::vector<Grant> added;
  for (const std::string& account : accounts) {
    if (!known.insert(account).second) continue;
    added.push_back(wanted);
    added.back().account = account;
  }
  return added;
}

// Whether request.account gets a copy once `listeners` are added.
Result<void> CheckGetsCopy(Store& store, const StreamRecord& stream, const CopyRequest& request, const Listeners& listeners) {
  if (request.account.empty()) return {};  // everybody's are wanted
  auto granted = GrantedPackets(store, stream, request.account);
  const bool is_new = !granted && granted.error().code == ErrorCode::kNotFound && listeners.Holds(request.account);
  if (!granted && !is_new) return Pass(granted);
  return {};
}

// The listeners that a known stream does not have yet. Nothing is added unless request.account gets its copy.
Result<std::int64_t> AddListeners(Store& store, const MasterKey& master, const StreamRecord& stream, const CopyRequest& request,
                                  const Listeners& listeners) {
  if (auto keys = KeysOf(stream, master); !keys) return Pass(keys);
  if (auto gets = CheckGetsCopy(store, stream, request, listeners); !gets) return Pass(gets);
  // Whoever was revoked, or has a part of the stream, stays as he is: an old list must not undo that.
  auto added = NewGrants(store, stream.id, listeners.accounts, {}, [](const Grant&) { return true; });
  if (!added) return Pass(added);
  if (added->empty()) return std::int64_t{0};
  if (auto kept = store.AddGrants(stream.id, *added); !kept) return Pass(kept);
  return static_cast<std::int64_t>(added->size());
}

// Takes a registration that nobody is working on any more out of the store, so that it can be done over. One that was killed a moment ago is
// still under lease; one that goes on extends its lease while we look.
Result<void> RemoveAbandoned(Store& store, const StreamRecord& stream, const Progress& progress) {
  if (stream.live)
    return Fail(ErrorCode::kFailedPrecondition, "stream '" + stream.id + "' is a live room; choose another --stream");
  for (;;) {
    auto epoch = store.TakeStream(stream.id, MarkingLease());
    if (epoch) return store.RemoveStream(stream.id);
    auto now = store.GetStream(stream.id);
    if (!now) return Pass(now);
    if (now->state == StreamState::kComplete || now->leased_until_unix_us != stream.leased_until_unix_us) {
      return Fail(ErrorCode::kFailedPrecondition,
                  "stream '" + stream.id +
                      "' is being marked by another process just now; wait until it is done, or choose another --stream");
    }
    if (!progress("waiting for the lease of another mark to run out", -1)) return Fail(ErrorCode::kCancelled, "cancelled");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

// A stream whose listeners are kept by commands.
Result<StreamRecord> MarkedFromFile(Store& store, const std::string& stream_id) {
  auto stream = store.GetStream(stream_id);
  if (!stream) return stream;
  if (stream->live) {
    return Fail(
        ErrorCode::kFailedPrecondition,
        "stream '" + stream_id + "' is a live room: its relay grants and revokes, by Grant and Revoke of the sidecar's API");
  }
  if (stream->state != StreamState::kComplete)
    return Fail(ErrorCode::kFailedPrecondition, "stream '" + stream_id + "' is not marked to its end yet");
  return stream;
}

}  // namespace

Result<std::int64_t> GrantListeners(Store& store, const std::string& stream_id, const std::vector<std::string>& accounts,
                                    std::int64_t from_stream_us, std::int64_t to_stream_us) {
  auto stream = MarkedFromFile(store, stream_id);
  if (!stream) return Pass(stream);
  const PacketRange packets = PacketsWithin(*stream, from_stream_us, to_stream_us);
  if (packets.first >= packets.end) {
    return Fail(ErrorCode::kInvalidArgument, "stream '" + stream_id + "' has no whole packet of 20 ms in that time; it ends at " +
                                                 std::to_string(stream->num_packets / kPacketsPerSecond) + " s");
  }
  const Grant wanted{.account = {}, .from_stream_us = from_stream_us, .to_stream_us = to_stream_us};
  auto added = NewGrants(store, stream_id, accounts, wanted, [&](const Grant& grant) {
    return grant.revoked_unix_us == 0 && grant.from_stream_us <= from_stream_us && grant.to_stream_us >= to_stream_us;
  });
  if (!added) return Pass(added);
  if (added->empty()) return std::int64_t{0};
  if (auto kept = store.AddGrants(stream_id, *added); !kept) return Pass(kept);
  return static_cast<std::int64_t>(added->size());
}

Result<std::int64_t> RevokeListeners(Store& store, const std::string& stream_id, const std::vector<std::string>& accounts) {
  if (auto stream = MarkedFromFile(store, stream_id); !stream) return Pass(stream);
  return store.RevokeGrants(stream_id, accounts);
}

Error NotAListener(const CopyRequest& request, const Listeners& listeners) {
  return {ErrorCode::kInvalidArgument,
          "account '" + request.account + "' is not in " + listeners.file + "; only listeners get a copy"};
}

Result<Registration> FindOrRegister(Store& store, const MasterKey& master, const CopyRequest& request, const Listeners& listeners,
                                    const Progress& progress) {
  auto digest = FileDigest(request.input);
  if (!digest) return Pass(digest);
  auto known = store.GetStream(request.stream_id);
  if (known && known->state == StreamState::kRecording) {
    if (auto removed = RemoveAbandoned(store, *known, progress); !removed) return Pass(removed);
    known = Fail(ErrorCode::kNotFound, "");
  }
  if (known) {
    if (auto same = CheckAgainst(*known, request, *digest); !same) return Pass(same);
    auto added = AddListeners(store, master, *known, request, listeners);
    if (!added) return Pass(added);
    return Registration{.stream = std::move(*known), .is_new = false, .lost_share = 0, .num_added = *added};
  }
  if (known.error().code != ErrorCode::kNotFound) return Pass(known);
  return Register(store, master, request, *digest, listeners, progress);
}

}  // namespace earmark
