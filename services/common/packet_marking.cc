#include "services/common/packet_marking.h"

#include <algorithm>
#include <utility>

#include "dsp/marking/in_packet_marker.h"
#include "services/common/reference_recorder.h"

namespace earmark {
namespace {

// Each packet of the file with the sample, at 48 kHz, that it starts at.
Result<void> ForEachPacket(
    OggOpusReader& source, const char* stage, const Progress& progress,
    const std::function<Result<std::int64_t>(std::int64_t start_samples, std::span<const std::uint8_t> opus)>& visit) {
  std::int64_t start = 0;
  for (std::int64_t count = 0;; ++count) {
    auto opus = source.Next();
    if (!opus) return Pass(opus);
    if (!*opus) return {};
    auto duration = visit(start, **opus);
    if (!duration) return Pass(duration);
    start += *duration;
    if (count % 50 == 0 && progress && !progress(stage, -1)) return Fail(ErrorCode::kCancelled, "cancelled");
  }
}

tl::unexpected<Error> NotOpus() { return Fail(ErrorCode::kDataLoss, "the recording holds a packet that is not Opus"); }

Result<RegisterSummary> MarkAll(Store& store, OggOpusReader& source, const StreamRecord& stream, const StreamKeys& keys,
                                const Progress& progress) {
  ReferenceRecorder recorder(stream.id, stream.format, keys.seal, 0, kPacketsPerChunk,
                             [&](const ReferenceChunk& chunk) { return store.AppendReference(stream.id, chunk); });
  InPacketMarker marker(stream.format, keys.carrier);
  RegisterSummary summary;
  std::int64_t num_samples = 0;
  std::int64_t erased_samples = 0;
  auto read = ForEachPacket(
      source, "marking", progress, [&](std::int64_t start, std::span<const std::uint8_t> opus) -> Result<std::int64_t> {
        const std::int64_t packet = start / kPacketSamples;
        const PatchedPacket patched = marker.Mark(packet, opus);
        if (patched.num_samples == 0) return NotOpus();
        if (patched.erased) erased_samples += patched.num_samples;
        num_samples += patched.num_samples;
        if (auto added = recorder.AddSourcePacket(packet, static_cast<int>(start % kPacketSamples), opus, patched.erased); !added)
          return Pass(added);
        return patched.num_samples;
      });
  if (!read) return Pass(read);
  if (source.num_samples() == 0) return Fail(ErrorCode::kInvalidArgument, "the recording holds no samples");
  if (auto heard = RefuseIfLost(recorder.source_mean_loss()); !heard) return Pass(heard);
  summary.lost_share = recorder.source_mean_loss().lost_share();
  constexpr double kMinMarked = 0.02;
  if (static_cast<double>(num_samples - erased_samples) < kMinMarked * static_cast<double>(num_samples)) {
    return Fail(ErrorCode::kFailedPrecondition,
                "hardly any of the recording's packets have room for a mark; --bitrate encodes it again, with one");
  }
  if (auto flushed = recorder.Flush(); !flushed) return Pass(flushed);
  if (auto complete = store.CompleteStream(stream.id, source.num_samples()); !complete) return Pass(complete);
  summary.num_packets = (num_samples + kPacketSamples - 1) / kPacketSamples;
  summary.num_erased_slots = erased_samples / kPacketSamples;
  return summary;
}

}  // namespace

Result<RegisterSummary> RegisterPackets(Store& store, const MasterKey& master, OggOpusReader& source,
                                        const RegisterOptions& options, const Progress& progress) {
  RegisterOptions with_channels = options;
  with_channels.format.num_channels = source.num_channels();
  return RegisterMarked(store, master, with_channels, [&](const StreamRecord& stream, const StreamKeys& keys) {
    return MarkAll(store, source, stream, keys, progress);
  });
}

}  // namespace earmark
