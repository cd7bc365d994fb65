#include "tools/bench/archive.h"

#include <opus/opus.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <random>
#include <utility>

#include "dsp/core/resample.h"
#include "dsp/media/audio_file.h"
#include "dsp/reference/reference_chunk.h"
#include "dsp/search/fingerprint.h"
#include "services/common/marking.h"
#include "tools/bench/bench.h"

namespace earmark {
namespace {

constexpr int kNumAccounts = 10000;
constexpr int kLeaker = 4321;

ArchiveRecording ReadRecording(Store& store, const StreamRecord& stream, const StreamKeys& keys) {
  ArchiveRecording recording;
  for (const ReferenceChunk& chunk : OrExit(store.ReadReference(stream.id, 0, 0, stream.num_packets))) {
    if (chunk.num_packets != kPacketsPerChunk) break;
    recording.chunks.push_back(
        OrExit(ReferenceChunkData::Open(chunk.sealed, keys.seal, {.stream_id = stream.id, .first_packet = chunk.first_packet})));
  }
  OrExit(store.VisitFingerprints(stream.id, [&](std::string_view, int, std::int64_t, std::span<const std::uint8_t> bytes) {
    const auto words = DecodeFingerprint(bytes);
    recording.words.insert(recording.words.end(), words.begin(), words.end());
  }));
  return recording;
}

// Another stream made of the recording's packets, `num_chunks` long.
void AddStream(Store& store, const MasterKey& master, const StreamRecord& like, const ArchiveRecording& recording,
               const std::vector<Grant>& grants, int index, int num_chunks) {
  StreamRecord stream = like;
  stream.id = "room-" + std::to_string(index);
  std::mt19937_64 random(static_cast<std::uint64_t>(index));
  for (auto& byte : stream.salt) byte = static_cast<std::uint8_t>(random());
  OrExit(store.CreateStream(stream, grants));
  const StreamKeys keys = OrExit(KeysOf(stream, master));
  std::array<int, 64> places{};
  std::iota(places.begin(), places.end(), 0);
  std::shuffle(places.begin(), places.end(), random);
  const std::uint64_t flips = random();
  for (int c = 0; c < num_chunks; ++c) {
    const ReferenceChunkData& data = recording.chunks[random() % recording.chunks.size()];
    ReferenceChunkBuilder builder(data.num_variants());
    for (int p = 0; p < data.num_packets(); ++p) builder.Add(data.SlotAt(p));
    ReferenceChunk chunk;
    chunk.first_packet = static_cast<std::int64_t>(c) * kPacketsPerChunk;
    chunk.num_packets = kPacketsPerChunk;
    chunk.sealed = builder.Seal(keys.seal, {.stream_id = stream.id, .first_packet = chunk.first_packet});
    std::vector<std::uint64_t> words(kPacketsPerChunk / kPacketsPerFingerprintWord);
    const std::size_t from = random() % (recording.words.size() - words.size());
    for (std::size_t w = 0; w < words.size(); ++w) {
      for (std::size_t b = 0; b < places.size(); ++b) words[w] |= ((recording.words[from + w] >> b) & 1) << places[b];
      words[w] ^= flips;
    }
    chunk.fingerprint = EncodeFingerprint(words);
    OrExit(store.AppendReference(stream.id, chunk));
  }
  OrExit(store.CompleteStream(stream.id, static_cast<std::int64_t>(num_chunks) * kPacketsPerChunk * kPacketSamples));
}

// What the account's player puts out: mono at kDetectRateHz.
std::vector<float> CopyOf(Store& store, const StreamRecord& stream, const StreamKeys& keys, const std::string& account) {
  int error = 0;
  const std::unique_ptr<OpusDecoder, void (*)(OpusDecoder*)> decoder(opus_decoder_create(kDetectRateHz, 1, &error),
                                                                     opus_decoder_destroy);
  std::vector<float> copy;
  OrExit(ChoosePackets(store, stream, keys, account,
                       [&](std::span<const std::uint8_t> packet) -> Result<void> {
                         const std::size_t at = copy.size();
                         copy.resize(at + kDetectPacketSamples);
                         if (opus_decode_float(decoder.get(), packet.data(), static_cast<opus_int32>(packet.size()),
                                               copy.data() + at, kDetectPacketSamples, 0) < 0)
                           std::exit(1);
                         return {};
                       },
                       {}));
  return copy;
}

MasterKey BenchKey() {
  Key seven;
  std::ranges::fill(seven.MutableBytes(), std::uint8_t{7});
  return {.key = seven, .id = KeyId(seven)};
}

}  // namespace

Archive::Archive(const std::string& audio)
    : master(BenchKey()), folder(std::filesystem::temp_directory_path() / ("earmark-bench-" + std::to_string(getpid()))) {
  std::filesystem::create_directory(folder);
  auto reader = OrExit(AudioReader::Open(audio));
  store = OrExit(OpenStore(Url(), OpenMode::kReadWriteCreate));
  std::vector<std::string> accounts;
  for (int i = 0; i < kNumAccounts; ++i) {
    accounts.push_back("account-" + std::to_string(i));
    grants_.push_back({.account = accounts.back()});
  }
  leaker = accounts[kLeaker];
  (void)OrExit(RegisterStream(*store, master, *reader,
                              {.stream_id = "leaked", .format = {.num_channels = 1}, .accounts = accounts, .input_digest = ""},
                              {}));
  stream_ = OrExit(store->GetStream("leaked"));
  const StreamKeys keys = OrExit(KeysOf(stream_, master));
  recording_ = ReadRecording(*store, stream_, keys);
  copy = CopyOf(*store, stream_, keys, leaker);
  hours_ = static_cast<double>(stream_.num_packets) / kPacketsPerSecond / 3600;
}

Archive::~Archive() {
  store.reset();
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

void Archive::GrowTo(double hours) {
  constexpr int kChunks = 360;  // an hour
  for (; hours_ < hours; hours_ += 1) AddStream(*store, master, stream_, recording_, grants_, num_added_++, kChunks);
}

std::vector<float> Archive::Clip(double seconds) const {
  const std::size_t count = std::min(copy.size() / 2, static_cast<std::size_t>(seconds * kDetectRateHz));
  const auto first = copy.begin() + static_cast<std::ptrdiff_t>(copy.size() / 3);
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace earmark
