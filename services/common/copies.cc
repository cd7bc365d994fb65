#include "services/common/copies.h"

#include <utility>

#include "dsp/marking/in_packet_marker.h"
#include "dsp/media/audio_file.h"
#include "dsp/media/copy_writer.h"
#include "dsp/media/ogg_opus.h"
#include "dsp/media/trimmed_wav.h"
#include "dsp/tracing/trace_code.h"
#include "services/common/marking.h"

namespace earmark {
namespace {

// --codec none: the account's marked PCM, or without keys the recording itself.
Result<void> WritePcmCopy(const CopyRequest& request, StreamFormat format, const StreamKeys* keys, const Progress& progress) {
  auto host = AudioReader::Open(request.input);
  if (!host) return Pass(host);
  format.num_channels = (*host)->num_channels();
  auto wav = TrimmedWav::Create(request.output, format.num_channels, Marker::kLatencySamples);
  if (!wav) return Pass(wav);
  Marker marker(format, keys != nullptr ? keys->carrier : NewRandomKey());
  if (keys != nullptr) marker.Follow([code = TraceCode(keys->code, request.account, format.num_variants)](std::int64_t symbol) mutable { return code.VariantAt(symbol); });
  auto samples = ForEachBlock(
      **host, Marker::kLatencySamples,
      [&](std::span<const float> block) {
        marker.Process(block);
        return wav->Write(keys != nullptr ? marker.Variant(0) : marker.Host());
      },
      progress);
  if (!samples) return Pass(samples);
  return wav->Finish(*samples);
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
    return CopyWriter::Options{.num_channels = stream.format.num_channels, .pre_skip_samples = patched ? kOpusLookaheadSamples : kTotalLatencySamples};
  }
  auto source = OggOpusReader::Open(request.input);
  if (!source) return Pass(source);
  return HeaderLike(**source);
}

// --codec opus: the account's packets.
Result<void> WriteOpusCopy(Store& store, const StreamRecord& stream, const StreamKeys& keys, const CopyRequest& request, const Progress& progress) {
  auto header = HeaderOf(stream, request);
  if (!header) return Pass(header);
  auto writer = CopyWriter::Create(request.output, *header);
  if (!writer) return Pass(writer);
  auto chosen = ChoosePackets(store, stream, keys, request.account, [&](std::span<const std::uint8_t> packet) { return writer->Write(packet); }, progress);
  if (!chosen) return chosen;
  return writer->Finish(stream.num_samples);
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
  auto writer = CopyWriter::Create(request.output, {.num_channels = format.num_channels, .pre_skip_samples = kOpusLookaheadSamples});
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

Result<void> WriteCopy(Store& store, const MasterKey& master, const StreamRecord& stream, const CopyRequest& request, const Progress& progress) {
  auto keys = KeysOf(stream, master);
  if (!keys) return Pass(keys);
  if (stream.format.kind != ReferenceKind::kHostPackets) return WriteOpusCopy(store, stream, *keys, request, progress);
  // Marked PCM needs nothing of the reference, so nothing else would notice that the account was never there.
  if (auto granted = RequireGrant(store, stream, request.account); !granted) return granted;
  return WritePcmCopy(request, stream.format, &*keys, progress);
}

Result<void> WritePlainCopy(const CopyRequest& request, const Progress& progress) {
  if (!request.opus.value_or(true)) return WritePcmCopy(request, StreamFormat{}, nullptr, progress);
  return HasPacketsToMark(request) ? WritePlainPackets(request, progress) : WritePlainEncode(request, progress);
}

}  // namespace earmark
