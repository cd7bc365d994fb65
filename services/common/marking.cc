#include "services/common/marking.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <utility>

#include "dsp/core/mono.h"
#include "dsp/marking/trace_code.h"
#include "dsp/reference/reference_chunk.h"
#include "services/common/reference_recorder.h"

namespace earmark {

Result<std::int64_t> ForEachBlock(AudioReader& host, int tail_samples, const std::function<Result<void>(std::span<const float>)>& visit,
                                  const Progress& progress) {
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

Result<RegisterSummary> MarkAll(Store& store, AudioReader& host, const StreamRecord& stream, const StreamKeys& keys,
                                const Progress& progress) {
  auto marker = StreamMarker::Create(stream.format, keys);
  if (!marker) return Pass(marker);
  ReferenceRecorder recorder(stream.id, stream.format, keys.seal, 0, kPacketsPerChunk,
                             [&](const ReferenceChunk& chunk) { return store.AppendReference(stream.id, chunk); });
  std::vector<float> mono(kPacketSamples);
  RegisterSummary summary;
  auto samples = ForEachBlock(
      host, kTotalLatencySamples,
      [&](std::span<const float> block) -> Result<void> {
        auto slot = marker->Process(block);
        if (!slot) return Pass(slot);
        ++summary.num_packets;
        summary.num_erased_slots += slot->erased && stream.format.kind == ReferenceKind::kVariantPackets ? 1 : 0;
        MixToMono(block, stream.format.num_channels, mono);
        return recorder.Add(*slot, mono);
      },
      progress);
  if (!samples) return Pass(samples);
  if (*samples == 0) return Fail(ErrorCode::kInvalidArgument, "the recording holds no samples");
  if (auto flushed = recorder.Flush(); !flushed) return Pass(flushed);
  if (auto complete = store.CompleteStream(stream.id, *samples); !complete) return Pass(complete);
  return summary;
}

}  // namespace

Lease MarkingLease() {
  constexpr std::int64_t kDurationUs = 10'000'000;
  std::array<unsigned char, 8> random{};
  std::array<char, 2 * random.size() + 1> hex{};
  randombytes_buf(random.data(), random.size());
  sodium_bin2hex(hex.data(), hex.size(), random.data(), random.size());
  return {.owner = std::string("earmark mark ") + hex.data(), .duration_us = kDurationUs};
}

Result<RegisterSummary> RegisterMarked(Store& store, const MasterKey& master, const RegisterOptions& options, const MarkIntoStore& mark) {
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
    if (!removed) return Fail(summary.error().code, summary.error().message + "; and the stream could not be taken out again: " + removed.error().message);
  }
  return summary;
}

Result<RegisterSummary> RegisterStream(Store& store, const MasterKey& master, AudioReader& host, const RegisterOptions& options,
                                       const Progress& progress) {
  RegisterOptions with_channels = options;
  with_channels.format.num_channels = host.num_channels();
  return RegisterMarked(store, master, with_channels,
                        [&](const StreamRecord& stream, const StreamKeys& keys) { return MarkAll(store, host, stream, keys, progress); });
}

Result<StreamKeys> KeysOf(const StreamRecord& stream, const MasterKey& master) {
  if (stream.key_id != master.id) {
    return Fail(ErrorCode::kFailedPrecondition, "stream '" + stream.id + "' was marked under key " + stream.key_id + ", the key given is " +
                                                    master.id + ": give the right one with --key");
  }
  return DeriveStreamKeys(master.key, stream.id, stream.salt);
}

Result<void> RequireGrant(Store& store, const StreamRecord& stream, const std::string& account) {
  auto grants = store.ListGrants(stream.id, 0, Grant::kOpenEnd);
  if (!grants) return Pass(grants);
  if (std::none_of(grants->begin(), grants->end(), [&](const Grant& g) { return g.account == account; })) {
    return Fail(ErrorCode::kNotFound, "account '" + account + "' has no grant for stream '" + stream.id + "'");
  }
  return {};
}

Result<void> ChoosePackets(Store& store, const StreamRecord& stream, const StreamKeys& keys, const std::string& account,
                           const PacketSink& sink, const Progress& progress) {
  if (auto granted = RequireGrant(store, stream, account); !granted) return granted;
  TraceCode code(keys.code, account, stream.format.num_variants);
  for (std::int64_t first = 0; first < stream.num_packets; first += kPacketsPerChunk) {
    auto chunks = store.ReadReference(stream.id, 0, first, first + 1);
    if (!chunks) return Pass(chunks);
    if (chunks->empty()) return Fail(ErrorCode::kDataLoss, "stream '" + stream.id + "' lacks its reference from packet " + std::to_string(first));
    auto data = ReferenceChunkData::Open(chunks->front().sealed, keys.seal, {.stream_id = stream.id, .source = 0, .first_packet = first});
    if (!data) return Pass(data);
    for (int i = 0; i < data->num_packets(); ++i) {
      const auto variant = static_cast<std::size_t>(code.VariantAt((first + i) / stream.format.packets_per_symbol));
      if (auto sent = sink(data->SlotAt(i).packets[variant]); !sent) return sent;
    }
    if (progress && !progress("writing", static_cast<double>(first) / static_cast<double>(stream.num_packets))) {
      return Fail(ErrorCode::kCancelled, "cancelled");
    }
  }
  return {};
}

}  // namespace earmark
