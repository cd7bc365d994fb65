#include "services/common/marking.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "dsp/core/hex.h"
#include "dsp/core/mono.h"
#include "dsp/marking/in_packet_marker.h"
#include "dsp/reference/reference_chunk.h"
#include "dsp/tracing/trace_code.h"
#include "services/common/reference_recorder.h"

namespace earmark {
namespace {

constexpr std::int64_t kPacketUs = 1'000'000 / kPacketsPerSecond;

}  // namespace

Result<std::int64_t> ForEachBlock(AudioReader& host, int tail_samples,
                                  const std::function<Result<void>(std::span<const float>)>& visit, const Progress& progress) {
  const auto channels = static_cast<std::size_t>(host.num_channels());
  std::vector<float> block(kPacketSamples * channels);
  std::int64_t num_samples = 0;
  std::int64_t padding = 0;  // silence fed so far behind the recording
  bool ended = false;
  for (std::int64_t num_blocks = 0; !ended || padding < tail_samples; ++num_blocks) {
    std::int64_t got = 0;
    if (!ended) {
      auto read = host.Read(block);
      if (!read) return Pass(read);
      got = *read;
      ended = got < kPacketSamples;
    }
    num_samples += got;
    if (ended) padding += kPacketSamples - got;
    std::fill(block.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(got) * channels), block.end(), 0.0F);
    if (auto visited = visit(block); !visited) return Pass(visited);
    if (num_blocks % 50 == 0 && progress) {
      const double duration = host.info().duration_s;
      if (!progress("marking", duration > 0 ? std::min(1.0, static_cast<double>(num_samples) / kSampleRateHz / duration) : -1)) {
        return Fail(ErrorCode::kCancelled, "cancelled");
      }
    }
  }
  return num_samples;
}

namespace {

// What a block of the recording becomes in the reference.
using BlockMarker = std::function<Result<void>(std::span<const float> block, RegisterSummary& summary)>;

Result<RegisterSummary> MarkBlocks(Store& store, AudioReader& host, const StreamRecord& stream, int latency_samples,
                                   const BlockMarker& mark, ReferenceRecorder& recorder, const Progress& progress) {
  RegisterSummary summary;
  MeanLoss loss(kSampleRateHz);
  auto samples = ForEachBlock(
      host, latency_samples,
      [&](std::span<const float> block) {
        ++summary.num_packets;
        if (stream.format.num_channels == 2) loss.Add(block);
        return mark(block, summary);
      },
      progress);
  if (!samples) return Pass(samples);
  if (*samples == 0) return Fail(ErrorCode::kInvalidArgument, "the recording holds no samples");
  // Before the room for marks: an encoder may have mixed such channels down to silence.
  if (auto heard = RefuseIfLost(loss); !heard) return Pass(heard);
  summary.lost_share = loss.lost_share();
  if (summary.num_erased_slots == summary.num_packets)
    return Fail(ErrorCode::kFailedPrecondition, "the recording is silence or too short: there is no room for a mark in it");
  if (auto flushed = recorder.Flush(); !flushed) return Pass(flushed);
  if (auto complete = store.CompleteStream(stream.id, *samples); !complete) return Pass(complete);
  return summary;
}

// The marker changes the sound, and each variant is encoded, or for PCM delivery the host.
Result<RegisterSummary> MarkSound(Store& store, AudioReader& host, const StreamRecord& stream, const StreamKeys& keys,
                                  ReferenceRecorder& recorder, const Progress& progress) {
  auto marker = StreamMarker::Create(stream.format, keys);
  if (!marker) return Pass(marker);
  std::vector<float> mono(kPacketSamples);
  const auto mark = [&](std::span<const float> block, RegisterSummary& summary) -> Result<void> {
    auto slot = marker->Process(block);
    if (!slot) return Pass(slot);
    MixToMono(block, stream.format.num_channels, mono);
    summary.num_erased_slots += slot->erased && stream.format.kind == ReferenceKind::kVariantPackets ? 1 : 0;
    return recorder.Add(*slot, mono);
  };
  return MarkBlocks(store, host, stream, kTotalLatencySamples, mark, recorder, progress);
}

// The sound is encoded once, and the marker changes bits in its packets.
Result<RegisterSummary> MarkEncode(Store& store, AudioReader& host, const StreamRecord& stream, const StreamKeys& keys,
                                   ReferenceRecorder& recorder, const Progress& progress) {
  auto encoder = VariantEncoder::Create(OneEncode(stream.format));
  if (!encoder) return Pass(encoder);
  InPacketMarker marker(stream.format, keys.carrier);
  const auto mark = [&](std::span<const float> block, RegisterSummary& summary) -> Result<void> {
    auto slot = encoder->Encode([&](int) { return block; });
    if (!slot) return Pass(slot);
    const std::int64_t packet = summary.num_packets - 1;
    const bool erased = marker.Mark(packet, slot->packets[0]).erased;
    summary.num_erased_slots += erased ? 1 : 0;
    return recorder.AddSourcePacket(packet, 0, slot->packets[0], erased);
  };
  return MarkBlocks(store, host, stream, kOpusLookaheadSamples, mark, recorder, progress);
}

Result<RegisterSummary> MarkAll(Store& store, AudioReader& host, const StreamRecord& stream, const StreamKeys& keys,
                                const Progress& progress) {
  ReferenceRecorder recorder(stream.id, stream.format, keys.seal, 0, kPacketsPerChunk,
                             [&](const ReferenceChunk& chunk) { return store.AppendReference(stream.id, chunk); });
  return stream.format.kind == ReferenceKind::kSourcePackets ? MarkEncode(store, host, stream, keys, recorder, progress)
                                                             : MarkSound(store, host, stream, keys, recorder, progress);
}

}  // namespace

Lease MarkingLease() {
  constexpr std::int64_t kDurationUs = 10'000'000;
  std::array<unsigned char, 8> random{};
  randombytes_buf(random.data(), random.size());
  return {.owner = "earmark mark " + ToHex(random), .duration_us = kDurationUs};
}

Result<RegisterSummary> RegisterMarked(Store& store, const MasterKey& master, const RegisterOptions& options,
                                       const MarkIntoStore& mark) {
  StreamRecord stream;
  stream.id = options.stream_id;
  stream.format = options.format;
  stream.key_id = master.id;
  stream.input_digest = options.input_digest;
  randombytes_buf(stream.salt.data(), stream.salt.size());
  if (auto valid = Validate(stream.format); !valid) return Pass(valid);
  std::vector<Grant> grants;
  grants.reserve(options.accounts.size());
  for (const std::string& account : options.accounts) grants.push_back({.account = account});
  if (auto created = store.CreateStream(stream, grants, MarkingLease()); !created) return Pass(created);
  auto summary = mark(stream, DeriveStreamKeys(master.key, stream.id, stream.salt));
  if (!summary) {
    auto removed = store.RemoveStream(stream.id);
    if (!removed)
      return Fail(summary.error().code,
                  summary.error().message + "; and the stream could not be taken out again: " + removed.error().message);
  }
  return summary;
}

Result<RegisterSummary> RegisterStream(Store& store, const MasterKey& master, AudioReader& host, const RegisterOptions& options,
                                       const Progress& progress) {
  RegisterOptions with_channels = options;
  with_channels.format.num_channels = host.num_channels();
  return RegisterMarked(store, master, with_channels, [&](const StreamRecord& stream, const StreamKeys& keys) {
    return MarkAll(store, host, stream, keys, progress);
  });
}

Result<void> RefuseIfLost(const MeanLoss& loss) {
  if (!loss.is_lost()) return {};
  return Fail(
      ErrorCode::kFailedPrecondition,
      "the recording's two channels cancel out in their mean, which is what copies are found and read by; mark it as mono: ffmpeg -i IN -af "
      "'pan=mono|c0=c0' MONO.wav");
}

VariantEncoder::Options OneEncode(const StreamFormat& format) {
  return {.num_encoders = 1, .num_channels = format.num_channels, .bitrate_bps = format.bitrate_bps, .constant = false};
}

Result<StreamKeys> KeysOf(const StreamRecord& stream, const MasterKey& master) {
  if (stream.key_id != master.id) {
    return Fail(ErrorCode::kFailedPrecondition, "stream '" + stream.id + "' was marked under key " + stream.key_id +
                                                    ", the key given is " + master.id + ": give the right one with --key");
  }
  return DeriveStreamKeys(master.key, stream.id, stream.salt);
}

PacketRange PacketsWithin(const StreamRecord& stream, std::int64_t from_stream_us, std::int64_t to_stream_us) {
  const std::int64_t from_us = std::max<std::int64_t>(0, from_stream_us);
  return {.first = from_us / kPacketUs + (from_us % kPacketUs > 0 ? 1 : 0),
          .end = std::min(stream.num_packets, to_stream_us / kPacketUs)};
}

Result<PacketRange> GrantedPackets(Store& store, const StreamRecord& stream, const std::string& account) {
  auto grants = store.ListGrants(stream.id, 0, Grant::kOpenEnd);
  if (!grants) return Pass(grants);
  const std::string whose = "account '" + account + "' ";
  const std::string of_what = " for stream '" + stream.id + "'";
  bool revoked = false;
  std::optional<Grant> all;             // of the account's, in one
  for (const Grant& grant : *grants) {  // sorted by account, then from
    if (grant.account != account) continue;
    if (grant.revoked_unix_us != 0) {
      revoked = true;
    } else if (!all) {
      all = grant;
    } else if (grant.from_stream_us > all->to_stream_us) {
      return Fail(ErrorCode::kFailedPrecondition,
                  whose + "has grants" + of_what +
                      " with a gap between them, and a copy is one piece; revoke them, and grant one stretch");
    } else {
      all->to_stream_us = std::max(all->to_stream_us, grant.to_stream_us);
    }
  }
  if (all) return PacketsWithin(stream, all->from_stream_us, all->to_stream_us);
  if (revoked) return Fail(ErrorCode::kFailedPrecondition, whose + "gets no copy any more: its grant" + of_what + " was revoked");
  return Fail(ErrorCode::kNotFound, whose + "has no grant" + of_what);
}

namespace {

// One account's packets out of opened chunks, in order.
class PacketChooser {
 public:
  PacketChooser(const StreamRecord& stream, const StreamKeys& keys, const std::string& account, const PacketRange& range)
      : format_(stream.format),
        num_packets_(stream.num_packets),
        code_(keys.code, account, format_.num_variants),
        marker_(format_, keys.carrier),
        chosen_{.range = range} {}

  Result<void> Choose(std::int64_t first_packet, const ReferenceChunkData& chunk, const PacketSink& sink) {
    return chunk.is_source_packets() ? Patched(first_packet, chunk, sink) : Chosen(first_packet, chunk, sink);
  }

  const ChosenPackets& chosen() const { return chosen_; }

 private:
  std::size_t VariantAt(std::int64_t packet) {
    return static_cast<std::size_t>(code_.VariantAt(packet / format_.packets_per_symbol));
  }

  Result<void> Chosen(std::int64_t first_packet, const ReferenceChunkData& chunk, const PacketSink& sink) {
    for (int i = 0; i < chunk.num_packets(); ++i) {
      const std::int64_t packet = first_packet + i;
      if (!chosen_.range.Holds(packet)) continue;
      Count(packet * kPacketSamples, kPacketSamples);
      if (auto sent = sink(chunk.SlotAt(i).packets[VariantAt(packet)]); !sent) return sent;
    }
    return {};
  }

  Result<void> Patched(std::int64_t first_packet, const ReferenceChunkData& chunk, const PacketSink& sink) {
    for (int i = 0; i < chunk.num_source_packets(); ++i) {
      const SourcePacketRecord record = chunk.SourcePacketAt(i);
      const std::int64_t packet = first_packet + record.packet;
      const std::int64_t start = packet * kPacketSamples + record.offset_samples;
      // Also those before the grant: what a packet's patch is depends on the ones before it.
      const PatchedPacket marked = marker_.Mark(packet, record.opus);
      // A long one may begin within the grant and end behind it. At the end of the stream there is nothing behind it.
      const bool ends_within =
          start + marked.num_samples <= chosen_.range.end * kPacketSamples || chosen_.range.end == num_packets_;
      if (!chosen_.range.Holds(packet) || !ends_within) continue;
      Count(start, marked.num_samples);
      copy_.assign(record.opus.begin(), record.opus.end());
      marked.patches[VariantAt(packet)].Apply(copy_);
      if (auto sent = sink(copy_); !sent) return sent;
    }
    return {};
  }

  void Count(std::int64_t start, int num_samples) {
    if (chosen_.num_samples == 0) chosen_.first_sample = start;
    chosen_.num_samples += num_samples;
  }

  StreamFormat format_;
  std::int64_t num_packets_;
  TraceCode code_;
  InPacketMarker marker_;
  std::vector<std::uint8_t> copy_;
  ChosenPackets chosen_;
};

}  // namespace

Result<ChosenPackets> ChoosePackets(Store& store, const StreamRecord& stream, const StreamKeys& keys, const std::string& account,
                                    const PacketSink& sink, const Progress& progress) {
  auto range = GrantedPackets(store, stream, account);
  if (!range) return Pass(range);
  PacketChooser chooser(stream, keys, account, *range);
  const std::int64_t chunk_before = std::max<std::int64_t>(0, range->first / kPacketsPerChunk - 1);  // for the patches
  for (std::int64_t first = chunk_before * kPacketsPerChunk; first < range->end; first += kPacketsPerChunk) {
    auto chunks = store.ReadReference(stream.id, 0, first, first + 1);
    if (!chunks) return Pass(chunks);
    if (chunks->empty())
      return Fail(ErrorCode::kDataLoss, "stream '" + stream.id + "' lacks its reference from packet " + std::to_string(first));
    auto data =
        ReferenceChunkData::Open(chunks->front().sealed, keys.seal, {.stream_id = stream.id, .source = 0, .first_packet = first});
    if (!data) return Pass(data);
    if (auto chosen = chooser.Choose(first, *data, sink); !chosen) return Pass(chosen);
    if (progress && !progress("writing", static_cast<double>(first) / static_cast<double>(stream.num_packets))) {
      return Fail(ErrorCode::kCancelled, "cancelled");
    }
  }
  return chooser.chosen();
}

}  // namespace earmark
