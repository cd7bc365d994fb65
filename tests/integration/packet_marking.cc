// Marks in a source's own packets, from an Ogg Opus file over a store to a name.
//
// Chance of failing: each scan may name an innocent account with chance 1e-6 by the bound it is given; there are fewer than 40 here.
#include "services/common/packet_marking.h"

#include <opus/opus.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "dsp/media/audio_file.h"
#include "services/common/scan/scan.h"
#include "tests/integration/store_temp_folder.h"
#include "tests/support/golden.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

constexpr int kNumAccounts = 1000;

struct Source {
  std::string name;
  int application = OPUS_APPLICATION_AUDIO;
  int bitrate_bps = 64000;
  int num_channels = 1;
  int frame_samples = 960;
  int loss_percent = 0;  // above 0: in-band FEC
  int strength = 50;
};

std::string AccountName(int index) { return "account-" + std::to_string(index); }

// Writes the sound as a speaker's client would have encoded it. Returns the packets' bytes in all.
std::size_t WriteSource(const std::string& path, const Source& source, std::span<const float> host) {
  int error = OPUS_OK;
  OpusEncoder* const encoder = opus_encoder_create(48000, source.num_channels, source.application, &error);
  REQUIRE(error == OPUS_OK);
  opus_encoder_ctl(encoder, OPUS_SET_BITRATE(source.bitrate_bps));
  opus_encoder_ctl(encoder, OPUS_SET_INBAND_FEC(source.loss_percent > 0 ? 1 : 0));
  opus_encoder_ctl(encoder, OPUS_SET_PACKET_LOSS_PERC(source.loss_percent));
  auto ogg = Get(OggOpusWriter::Create(path, {.num_channels = source.num_channels}));
  const auto block = static_cast<std::size_t>(source.frame_samples * source.num_channels);
  std::vector<std::uint8_t> packet(4000);
  std::size_t num_bytes = 0;
  std::int64_t num_samples = -312;
  for (std::size_t at = 0; at + block <= host.size(); at += block) {
    const int size =
        opus_encode_float(encoder, host.data() + at, source.frame_samples, packet.data(), static_cast<opus_int32>(packet.size()));
    REQUIRE(size > 0);
    REQUIRE(ogg->Write(std::span(packet).first(static_cast<std::size_t>(size))));
    num_bytes += static_cast<std::size_t>(size);
    num_samples += source.frame_samples;
  }
  opus_encoder_destroy(encoder);
  REQUIRE(ogg->Finish(num_samples));
  return num_bytes;
}

class Archive {
 public:
  Archive() : store(Get(OpenStore(folder.Url(), OpenMode::kReadWriteCreate))) {
    for (int i = 0; i < kNumAccounts; ++i) accounts.push_back(AccountName(i));
  }

  std::size_t Register(const Source& source, std::span<const float> host) {
    const std::string path = folder.File(source.name + ".opus");
    const std::size_t num_bytes = WriteSource(path, source, host);
    RegisterOptions options{.stream_id = source.name, .format = SourcePacketsFormat(), .accounts = accounts, .input_digest = ""};
    options.format.strength = source.strength;
    auto reader = Get(OggOpusReader::Open(path));
    (void)Get(RegisterPackets(*store, master, *reader, options, {}));
    return num_bytes;
  }

  // From sound that was never packets: encoded once.
  StreamRecord RegisterSound(const std::string& name, std::span<const float> host, int num_channels, int bitrate_bps,
                             int strength) {
    auto wav = Get(WavWriter::Create(folder.File(name + ".wav"), kSampleRateHz, num_channels));
    REQUIRE(wav->Write(host));
    REQUIRE(wav->Finish());
    auto reader = Get(AudioReader::Open(folder.File(name + ".wav")));
    StreamFormat format = SourcePacketsFormat(bitrate_bps);
    format.strength = strength;
    (void)Get(RegisterStream(*store, master, *reader,
                             {.stream_id = name, .format = format, .accounts = accounts, .input_digest = ""}, {}));
    return Get(store->GetStream(name));
  }

  // What the account's player puts out, and of no account what the source's packets sound like: mono, 24 kHz.
  std::vector<float> CopyOf(const std::string& name, const std::string& account) {
    const StreamRecord stream = Get(store->GetStream(name));
    int error = OPUS_OK;
    OpusDecoder* const decoder = opus_decoder_create(24000, stream.format.num_channels, &error);
    std::vector<float> sound;
    std::vector<float> block(static_cast<std::size_t>(2880 * stream.format.num_channels));
    const auto play = [&](std::span<const std::uint8_t> packet) -> Result<void> {
      const int got = opus_decode_float(decoder, packet.data(), static_cast<opus_int32>(packet.size()), block.data(), 2880, 0);
      REQUIRE(got > 0);
      sound.insert(sound.end(), block.begin(), block.begin() + static_cast<std::ptrdiff_t>(got * stream.format.num_channels));
      return {};
    };
    if (account.empty()) {
      auto reader = Get(OggOpusReader::Open(folder.File(name + ".opus")));
      for (auto packet = Get(reader->Next()); packet; packet = Get(reader->Next())) REQUIRE(play(*packet));
    } else {
      REQUIRE(ChoosePackets(*store, stream, Get(KeysOf(stream, master)), account, play, {}));
    }
    opus_decoder_destroy(decoder);
    return MonoOf(sound, stream.format.num_channels);
  }

  ScanReport Scan(std::span<const float> clip) { return Get(ScanClip(*store, master, clip, {}, {})); }

  TempFolder folder;
  MasterKey master{.key = TestKey(9), .id = KeyId(TestKey(9))};
  std::unique_ptr<Store> store;
  std::vector<std::string> accounts;
};

void CheckNames(const ScanReport& report, const std::string& account) {
  INFO(ToJson(report));
  REQUIRE(report.accusations.size() == 1);
  CHECK(report.accusations[0].account == account);
  CHECK(report.accusations[0].log10_bound <= -6);
}

TEST_CASE("PacketMarking: copies of every kind of source name their account, and the source itself nobody", "[packet_marking]") {
  const auto speech = SpeechLike(14, 21);
  const auto music = Interleaved(MusicLike(14, 22), Scaled(MusicLike(14, 23), 0.7));
  const std::vector<Source> sources = {
      {.name = "celt"},
      {.name = "celt-10ms", .frame_samples = 480},
      {.name = "celt-60ms", .frame_samples = 2880},
      {.name = "music", .bitrate_bps = 96000, .num_channels = 2},
      {.name = "hybrid", .application = OPUS_APPLICATION_VOIP, .bitrate_bps = 32000},
      {.name = "hybrid-fec", .application = OPUS_APPLICATION_VOIP, .bitrate_bps = 32000, .loss_percent = 10},
      {.name = "silk", .application = OPUS_APPLICATION_VOIP, .bitrate_bps = 16000, .strength = 80}};
  for (const Source& source : sources) {
    CAPTURE(source.name);
    Archive archive;
    (void)archive.Register(source, source.num_channels == 2 ? music : speech);
    const std::string leaker = AccountName(137);
    CheckNames(archive.Scan(CutSeconds(archive.CopyOf(source.name, leaker), 2.013, 12, kDetectRateHz)), leaker);
    const ScanReport unmarked = archive.Scan(CutSeconds(archive.CopyOf(source.name, ""), 2.013, 12, kDetectRateHz));
    INFO(ToJson(unmarked));
    CHECK(unmarked.accusations.empty());
    CHECK(unmarked.verdict == Verdict::kNoAccusation);
  }
}

TEST_CASE("PacketMarking: sound is encoded once, and its copies name their account", "[packet_marking]") {
  // 16 kb/s give a digit and more a second, with a deviation of two and a half in ten.
  constexpr int kHostS = 24;
  struct Case {
    std::string name;
    int num_channels;
    int bitrate_bps;
    int strength;
  };
  for (const Case& each : {Case{"talk", 1, 32000, 50}, Case{"music", 2, 64000, 50}, Case{"narrow", 1, 16000, 80}}) {
    CAPTURE(each.name);
    Archive archive;
    const auto host =
        each.num_channels == 2 ? Interleaved(MusicLike(kHostS, 32), Scaled(MusicLike(kHostS, 33), 0.7)) : SpeechLike(kHostS, 31);
    const StreamRecord stream = archive.RegisterSound(each.name, host, each.num_channels, each.bitrate_bps, each.strength);
    CHECK(stream.num_samples == kHostS * kSampleRateHz);
    std::size_t stored = 0;
    for (const ReferenceChunk& chunk : Get(archive.store->ReadReference(each.name, 0, 0, 1 << 20))) stored += chunk.sealed.size();
    CHECK(static_cast<double>(stored) < 1.25 * kHostS * each.bitrate_bps / 8);
    const std::string leaker = AccountName(311);
    CheckNames(archive.Scan(CutSeconds(archive.CopyOf(each.name, leaker), 2.013, 22, kDetectRateHz)), leaker);
  }
}

TEST_CASE("PacketMarking: noise, another codec and a lost packet do not hide the account", "[packet_marking]") {
  Archive archive;
  (void)archive.Register({.name = "celt"}, SpeechLike(14, 24));
  const std::string leaker = AccountName(7);
  const auto copy = archive.CopyOf("celt", leaker);
  CheckNames(archive.Scan(WithNoise(CutSeconds(copy, 3, 9, kDetectRateHz), 15, 1)), leaker);
  CheckNames(archive.Scan(Scaled(CutSeconds(copy, 3, 9, kDetectRateHz), -0.1)), leaker);
}

TEST_CASE("PacketMarking: the reference is hardly larger than the source's packets", "[packet_marking]") {
  Archive archive;
  const std::size_t num_bytes = archive.Register({.name = "celt"}, SpeechLike(30, 25));
  std::size_t stored = 0;
  for (const ReferenceChunk& chunk : Get(archive.store->ReadReference("celt", 0, 0, 1 << 20))) stored += chunk.sealed.size();
  CHECK(static_cast<double>(stored) <= 1.05 * static_cast<double>(num_bytes));
}

TEST_CASE("PacketMarking: copies differ from the source in a few bits, and not in length", "[packet_marking]") {
  Archive archive;
  (void)archive.Register({.name = "celt"}, SpeechLike(4, 26));
  const StreamRecord stream = Get(archive.store->GetStream("celt"));
  std::vector<std::vector<std::uint8_t>> source;
  auto reader = Get(OggOpusReader::Open(archive.folder.File("celt.opus")));
  for (auto packet = Get(reader->Next()); packet; packet = Get(reader->Next()))
    source.emplace_back(packet->begin(), packet->end());
  std::size_t at = 0;
  int changed = 0;
  const auto compare = [&](std::span<const std::uint8_t> packet) -> Result<void> {
    REQUIRE(packet.size() == source[at].size());
    for (std::size_t i = 0; i < packet.size(); ++i) changed += packet[i] != source[at][i] ? 1 : 0;
    ++at;
    return {};
  };
  REQUIRE(ChoosePackets(*archive.store, stream, Get(KeysOf(stream, archive.master)), AccountName(3), compare, {}));
  CHECK(at == source.size());
  CHECK(changed > static_cast<int>(source.size()));
  CHECK(changed < static_cast<int>(20 * source.size()));
}

TEST_CASE("PacketMarking: a source without room for a mark is refused, and leaves nothing in the store", "[packet_marking]") {
  Archive archive;
  CHECK_THROWS_WITH(archive.Register({.name = "silence"}, std::vector<float>(48000 * 3, 0.0F)),
                    Catch::Contains("room for a mark"));
  CHECK_FALSE(archive.store->GetStream("silence"));
  CHECK_THROWS_WITH(archive.RegisterSound("quiet", std::vector<float>(48000 * 3, 0.0F), 1, 32000, 50),
                    Catch::Contains("room for a mark"));
  CHECK_FALSE(archive.store->GetStream("quiet"));
}

TEST_CASE("PacketMarking: packets that are the same for all are counted", "[packet_marking]") {
  std::vector<float> host(6 * 48000, 0.0F);  // two seconds of speech between silence
  const auto speech = SpeechLike(2, 34);
  std::copy(speech.begin(), speech.end(), host.begin() + 2 * 48000);
  Archive archive;
  const StreamRecord sound = archive.RegisterSound("sound", host, 1, 64000, 50);
  CHECK(sound.num_erased_slots > golden::kErasedPacketsMin);
  CHECK(sound.num_erased_slots < golden::kErasedPacketsMax);
  (void)archive.Register({.name = "celt"}, host);
  const StreamRecord packets = Get(archive.store->GetStream("celt"));
  CHECK(packets.num_erased_slots > golden::kErasedPacketsMin);
  CHECK(packets.num_erased_slots < golden::kErasedPacketsMax);
}

TEST_CASE("PacketMarking: somebody without a grant gets no copy", "[packet_marking]") {
  Archive archive;
  (void)archive.Register({.name = "celt"}, SpeechLike(2, 27));
  const StreamRecord stream = Get(archive.store->GetStream("celt"));
  const auto written = ChoosePackets(*archive.store, stream, Get(KeysOf(stream, archive.master)), "stranger",
                                     [](auto) { return Result<void>(); }, {});
  REQUIRE_FALSE(written);
  CHECK(written.error().code == ErrorCode::kNotFound);
}

}  // namespace
}  // namespace earmark
