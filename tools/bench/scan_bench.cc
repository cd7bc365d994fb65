// A scan as users run it: 60 s of a leaked copy against a store on disk.
//
// Marking a hundred hours takes hours, so one recording is marked once and its packets are sealed again for every stream, under that stream's keys. The
// streams' fingerprints are the recording's with their bits and order shuffled, a different way for each: as many words, as like each other and as
// unlike anything else as those of real streams.
#include <opus/opus.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <numeric>
#include <random>
#include <string>

#include "db/store.h"
#include "dsp/core/resample.h"
#include "dsp/media/audio_file.h"
#include "dsp/media/key_file.h"
#include "dsp/reference/reference_chunk.h"
#include "dsp/search/fingerprint.h"
#include "services/common/marking.h"
#include "services/common/scan/scan.h"
#include "tools/bench/bench.h"

namespace earmark {
namespace {

constexpr int kNumAccounts = 10000;
constexpr double kClipS = 60;

template <typename T>
T OrExit(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "earmark_bench: %s\n", result.error().message.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// Packets and fingerprint of a stream, out of the store.
struct Recording {
  std::vector<ReferenceChunkData> chunks;
  std::vector<std::uint64_t> words;
};

Recording ReadRecording(Store& store, const StreamRecord& stream, const StreamKeys& keys) {
  Recording recording;
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
void AddStream(Store& store, const MasterKey& master, const StreamRecord& like, const Recording& recording,
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

void ScanAndPrint(Store& store, const MasterKey& master, std::span<const float> clip, double hours, const char* what,
                  const std::string& expected) {
  ScanReport report;
  const double seconds = Measure([&] { report = OrExit(ScanClip(store, master, clip, {}, {})); });
  const std::string named = report.accusations.empty() ? "nobody" : report.accusations.front().account;
  std::printf(
      "scan       60 s of %-13s in %5.1f stream-hours, %lld candidates: %5.2f s, %5.1f x real time (goal 60); peak memory so far %.0f MB; named %s%s\n",
      what, hours, static_cast<long long>(report.candidates), seconds, kClipS / seconds, PeakMegabytes(), named.c_str(),
      named == expected ? "" : " (WRONG)");
}

}  // namespace

void BenchScan(const std::string& audio, int hours) {
  if (audio.empty()) {
    std::fprintf(stderr, "earmark_bench: scan needs --audio FILE, a recording of two minutes or more\n");
    std::exit(2);
  }
  auto reader = OrExit(AudioReader::Open(audio));
  const auto folder = std::filesystem::temp_directory_path() / ("earmark-bench-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  {
    Key seven;
    std::ranges::fill(seven.MutableBytes(), std::uint8_t{7});
    const MasterKey master{.key = seven, .id = KeyId(seven)};
    auto store = OrExit(OpenStore("sqlite:" + (folder / "store.db").string(), OpenMode::kReadWriteCreate));
    std::vector<std::string> accounts;
    std::vector<Grant> grants;
    for (int i = 0; i < kNumAccounts; ++i) {
      accounts.push_back("account-" + std::to_string(i));
      grants.push_back({.account = accounts.back()});
    }
    (void)OrExit(RegisterStream(*store, master, *reader,
                                {.stream_id = "leaked", .format = {.num_channels = 1}, .accounts = accounts, .input_digest = ""},
                                {}));
    const StreamRecord stream = OrExit(store->GetStream("leaked"));
    const StreamKeys keys = OrExit(KeysOf(stream, master));
    const Recording recording = ReadRecording(*store, stream, keys);
    const auto copy = CopyOf(*store, stream, keys, accounts[4321]);
    const auto clip =
        std::span(copy).subspan(copy.size() / 3, std::min(copy.size() / 2, static_cast<std::size_t>(kClipS * kDetectRateHz)));
    std::vector<float> unknown(clip.begin(), clip.end());
    std::reverse(unknown.begin(), unknown.end());
    double stored = static_cast<double>(stream.num_packets) / kPacketsPerSecond / 3600;
    int index = 0;
    for (const double until : {0.0, 0.1 * hours, 1.0 * hours}) {
      while (stored < until) {
        constexpr int kChunks = 360;  // an hour
        AddStream(*store, master, stream, recording, grants, index++, kChunks);
        stored += 1;
      }
      ScanAndPrint(*store, master, clip, stored, "a leak", accounts[4321]);
      ScanAndPrint(*store, master, unknown, stored, "unknown audio", "nobody");
    }
  }
  std::filesystem::remove_all(folder);
}

}  // namespace earmark
