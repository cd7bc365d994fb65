#include "services/common/copies.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "dsp/marking/in_packet_marker.h"
#include "dsp/media/audio_file.h"
#include "dsp/media/copy_writer.h"
#include "dsp/media/ogg_opus.h"
#include "dsp/media/trimmed_wav.h"
#include "dsp/tracing/trace_code.h"

namespace earmark {
namespace {

tl::unexpected<Error> TooShort(const CopyRequest& request) {
  return Fail(ErrorCode::kFailedPrecondition,
              "what account '" + request.account + "' was granted of stream '" + request.stream_id + "' is too short for a copy");
}

// Which blocks of marked PCM lie within packets that were granted: block b reaches a bit into packet b + 1, by as much as packets lag behind the marker. Where
// the stream is granted to its end, so is the last block.
PacketRange BlocksWithin(const StreamRecord& stream, const PacketRange& granted) {
  return {.first = granted.first,
          .end = granted.end == stream.num_packets ? std::numeric_limits<std::int64_t>::max() : granted.end - 1};
}

// --codec none: the account's marked PCM of these blocks, or without keys the recording itself.
Result<void> WritePcmCopy(const CopyRequest& request, StreamFormat format, const StreamKeys* keys, const PacketRange& blocks,
                          const Progress& progress) {
  auto host = AudioReader::Open(request.input);
  if (!host) return Pass(host);
  format.num_channels = (*host)->num_channels();
  auto wav = TrimmedWav::Create(request.output, format.num_channels, Marker::kLatencySamples);
  if (!wav) return Pass(wav);
  Marker marker(format, keys != nullptr ? keys->carrier : NewRandomKey());
  if (keys != nullptr)
    marker.Follow([code = TraceCode(keys->code, request.account, format.num_variants)](std::int64_t symbol) mutable {
      return code.VariantAt(symbol);
    });
  std::int64_t next_block = 0;
  std::int64_t num_written = 0;
  auto samples = ForEachBlock(
      **host, Marker::kLatencySamples,
      [&](std::span<const float> block) -> Result<void> {
        marker.Process(block);
        if (!blocks.Holds(next_block++)) return {};
        num_written += kPacketSamples;
        return wav->Write(keys != nullptr ? marker.Variant(0) : marker.Host());
      },
      progress);
  if (!samples) return Pass(samples);
  const std::int64_t wanted = std::min(*samples - blocks.first * kPacketSamples, num_written - Marker::kLatencySamples);
  return wanted > 0 ? wav->Finish(wanted) : TooShort(request);
}

CopyWriter::Options HeaderLike(const OggOpusReader& source) {
  return {.num_channels = source.num_channels(),
          .pre_skip_samples = source.pre_skip_samples(),
          .output_gain_q8_db = source.output_gain_q8_db(),
          .input_sample_rate_hz = source.input_sample_rate_hz()};
}

// How copies of a stream begin.
Result<CopyWriter::Options> HeaderOf(const StreamRecord& stream, const CopyRequest& request) {
  const bool patched = stream.format.kind == ReferenceKind::kSourcePackets;
  if (stream.format.bitrate_bps != 0) {
    return CopyWriter::Options{.num_channels = stream.format.num_channels,
                               .pre_skip_samples = patched ? kOpusLookaheadSamples : kTotalLatencySamples};
  }
  auto source = OggOpusReader::Open(request.input);
  if (!source) return Pass(source);
  return HeaderLike(**source);
}

// --codec opus: the account's packets.
Result<PacketRange> WriteOpusCopy(Store& store, const StreamRecord& stream, const StreamKeys& keys, const CopyRequest& request,
                                  const Progress& progress) {
  auto header = HeaderOf(stream, request);
  if (!header) return Pass(header);
  auto writer = CopyWriter::Create(request.output, *header);
  if (!writer) return Pass(writer);
  auto chosen = ChoosePackets(
      store, stream, keys, request.account, [&](std::span<const std::uint8_t> packet) { return writer->Write(packet); },
      progress);
  if (!chosen) return Pass(chosen);
  const std::int64_t wanted = std::min(stream.num_samples - chosen->first_sample, chosen->num_samples - header->pre_skip_samples);
  if (wanted <= 0) return TooShort(request);
  if (auto written = writer->Finish(wanted); !written) return Pass(written);
  return chosen->range;
}

// --plain: the recording's own packets as they are …
Result<void> WritePlainPackets(const CopyRequest& request, const Progress& progress) {
  auto source = OggOpusReader::Open(request.input);
  if (!source) return Pass(source);
  auto writer = CopyWriter::Create(request.output, HeaderLike(**source));
  if (!writer) return Pass(writer);
  for (;;) {
    auto opus = (*source)->Next();
    if (!opus) return Pass(opus);
    if (!*opus) return writer->Finish((*source)->num_samples());
    if (auto written = writer->Write(**opus); !written) return written;
    if (!progress("writing", -1)) return Fail(ErrorCode::kCancelled, "cancelled");
  }
}

// … or the encode whose packets would be marked.
Result<void> WritePlainEncode(const CopyRequest& request, const Progress& progress) {
  auto host = AudioReader::Open(request.input);
  if (!host) return Pass(host);
  StreamFormat format = SourcePacketsFormat(request.bitrate_bps.value_or(kUsualBitrateBps));
  format.num_channels = (*host)->num_channels();
  auto writer =
      CopyWriter::Create(request.output, {.num_channels = format.num_channels, .pre_skip_samples = kOpusLookaheadSamples});
  if (!writer) return Pass(writer);
  auto encoder = VariantEncoder::Create(OneEncode(format));
  if (!encoder) return Pass(encoder);
  auto samples = ForEachBlock(
      **host, kOpusLookaheadSamples,
      [&](std::span<const float> block) -> Result<void> {
        auto slot = encoder->Encode([&](int) { return block; });
        return slot ? writer->Write(slot->packets[0]) : Result<void>(Pass(slot));
      },
      progress);
  if (!samples) return Pass(samples);
  return writer->Finish(*samples);
}

}  // namespace

Result<PacketRange> WriteCopy(Store& store, const MasterKey& master, const StreamRecord& stream, const CopyRequest& request,
                              const Progress& progress) {
  auto keys = KeysOf(stream, master);
  if (!keys) return Pass(keys);
  if (stream.format.kind != ReferenceKind::kHostPackets) return WriteOpusCopy(store, stream, *keys, request, progress);
  // Marked PCM needs nothing of the reference, so nothing else would notice that the account was never there.
  auto granted = GrantedPackets(store, stream, request.account);
  if (!granted) return granted;
  if (auto written = WritePcmCopy(request, stream.format, &*keys, BlocksWithin(stream, *granted), progress); !written)
    return Pass(written);
  return granted;
}

Result<void> WritePlainCopy(const CopyRequest& request, const Progress& progress) {
  if (!request.opus.value_or(true))
    return WritePcmCopy(request, StreamFormat{}, nullptr, {.first = 0, .end = std::numeric_limits<std::int64_t>::max()},
                        progress);
  return HasPacketsToMark(request) ? WritePlainPackets(request, progress) : WritePlainEncode(request, progress);
}

}  // namespace earmark
