#include "dsp/media/ogg_opus.h"

#include <ogg/ogg.h>
#include <opus.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"
#include "tests/unit/temp_folder.h"

namespace earmark {
namespace {

using Packet = std::vector<std::uint8_t>;

constexpr double kPi = 3.14159265358979323846;

float Tone(std::int64_t sample) {
  return 0.3F * static_cast<float>(std::sin(2 * kPi * (300 + 0.002 * static_cast<double>(sample)) * static_cast<double>(sample) /
                                            kSampleRateHz));
}

std::vector<Packet> Encode(int num_packets, int num_channels, int bitrate_bps) {
  OpusEncoder* const encoder = opus_encoder_create(kSampleRateHz, num_channels, OPUS_APPLICATION_AUDIO, nullptr);
  opus_encoder_ctl(encoder, OPUS_SET_BITRATE(bitrate_bps));
  opus_encoder_ctl(encoder, OPUS_SET_VBR(0));
  std::vector<Packet> packets;
  std::vector<float> pcm(static_cast<std::size_t>(kPacketSamples * num_channels));
  for (int p = 0; p < num_packets; ++p) {
    for (std::size_t i = 0; i < pcm.size(); ++i) pcm[i] = Tone(p * kPacketSamples + static_cast<int>(i) / num_channels);
    Packet packet(4000);
    packet.resize(static_cast<std::size_t>(opus_encode_float(encoder, pcm.data(), kPacketSamples, packet.data(), 4000)));
    packets.push_back(packet);
  }
  opus_encoder_destroy(encoder);
  return packets;
}

struct OggFile {
  std::vector<Packet> packets;
  std::vector<std::int64_t> page_granules;
  std::vector<int> packets_on_page;
  bool begins = false;
  bool ends = false;
};

OggFile ReadOgg(const std::string& path) {
  OggFile result;
  const std::string bytes = ReadBytes(path);
  ogg_sync_state sync;
  ogg_stream_state stream;
  ogg_sync_init(&sync);
  std::memcpy(ogg_sync_buffer(&sync, static_cast<long>(bytes.size())), bytes.data(), bytes.size());
  ogg_sync_wrote(&sync, static_cast<long>(bytes.size()));
  ogg_page page;
  while (ogg_sync_pageout(&sync, &page) == 1) {
    if (result.page_granules.empty()) {
      ogg_stream_init(&stream, ogg_page_serialno(&page));
      result.begins = ogg_page_bos(&page) != 0;
    }
    result.page_granules.push_back(ogg_page_granulepos(&page));
    result.packets_on_page.push_back(ogg_page_packets(&page));
    result.ends = ogg_page_eos(&page) != 0;
    ogg_stream_pagein(&stream, &page);
    ogg_packet packet;
    while (ogg_stream_packetout(&stream, &packet) == 1) {
      result.packets.emplace_back(packet.packet, packet.packet + packet.bytes);
    }
  }
  ogg_stream_clear(&stream);
  ogg_sync_clear(&sync);
  return result;
}

void WriteOgg(const std::string& path, const std::vector<Packet>& packets, const OggOpusWriter::Options& options,
              std::int64_t num_samples) {
  auto writer = OggOpusWriter::Create(path, options);
  REQUIRE(writer);
  for (const Packet& packet : packets) REQUIRE((*writer)->Write(packet));
  REQUIRE((*writer)->Finish(num_samples));
}

bool Succeeds(const std::string& command) { return std::system((command + " > /dev/null 2>&1").c_str()) == 0; }

TEST_CASE("OggOpusWriter: the packets come back unchanged, on pages of at most a second", "[ogg_opus]") {
  const TempFolder folder;
  const int bitrate_bps = GENERATE(12000, 32000, 510000);  // the last one: packets that need more lacing values than a page has
  const std::vector<Packet> packets = Encode(173, 1, bitrate_bps);
  const std::int64_t num_samples = 172 * kPacketSamples + 5;
  WriteOgg(folder.File("a.opus"), packets, {}, num_samples);

  const OggFile ogg = ReadOgg(folder.File("a.opus"));
  REQUIRE(ogg.packets.size() == packets.size() + 2);
  CHECK(std::equal(packets.begin(), packets.end(), ogg.packets.begin() + 2));
  CHECK(std::string(ogg.packets[0].begin(), ogg.packets[0].begin() + 8) == "OpusHead");
  CHECK(ogg.packets[0].size() == 19);
  CHECK(std::string(ogg.packets[1].begin(), ogg.packets[1].end()) == std::string("OpusTags\x07\0\0\0earmark\0\0\0\0", 23));
  CHECK(ogg.begins);
  CHECK(ogg.ends);
  CHECK(ogg.packets_on_page[0] == 1);
  CHECK(ogg.packets_on_page[1] == 1);
  CHECK(ogg.page_granules[0] == 0);
  CHECK(ogg.page_granules[1] == 0);
  std::int64_t num_packets = 0;
  for (std::size_t i = 2; i < ogg.page_granules.size(); ++i) {
    CHECK(ogg.packets_on_page[i] <= kPacketsPerSecond);
    num_packets += ogg.packets_on_page[i];
    const bool is_last = i + 1 == ogg.page_granules.size();
    if (ogg.packets_on_page[i] > 0) CHECK(ogg.page_granules[i] == (is_last ? 312 + num_samples : num_packets * kPacketSamples));
  }
}

TEST_CASE("OggOpusWriter: players get exactly the samples that were meant, at their time", "[ogg_opus]") {
  const TempFolder folder;
  const int num_channels = GENERATE(1, 2);
  const std::int64_t num_samples = GENERATE(1, 647, 648, 649, 48000, 100000);
  const auto num_packets = static_cast<int>((num_samples + 312 + kPacketSamples - 1) / kPacketSamples);
  const std::string path = folder.File("a.opus");
  WriteOgg(path, Encode(num_packets, num_channels, 96000), {.num_channels = num_channels}, num_samples);

  auto reader = AudioReader::Open(path);
  REQUIRE(reader);
  CHECK((*reader)->num_channels() == num_channels);
  std::vector<float> samples(static_cast<std::size_t>(num_channels) * 200000);
  REQUIRE((*reader)->Read(samples).value() == num_samples);
  if (num_samples > 40000) {
    double error = 0;
    for (std::int64_t i = 2000; i < 40000; ++i) {
      error += std::pow(samples[static_cast<std::size_t>(i * num_channels)] - Tone(i), 2);
    }
    CHECK(error / 38000 < 0.045 * 0.003);  // 25 dB below the tone; one sample off makes 20 dB at most
  }
}

TEST_CASE("OggOpusWriter: the Opus tools find nothing to complain about", "[ogg_opus]") {
  if (!Succeeds("which opusinfo opusdec")) {
    WARN("opus-tools are not installed: skipped");
    return;
  }
  const TempFolder folder;
  const std::string path = folder.File("a.opus");
  WriteOgg(path, Encode(120, 2, 64000), {.num_channels = 2, .serial = 0x80000001U}, 115000 - 312);
  REQUIRE(std::system(("opusinfo " + path + " > " + folder.File("info") + " 2>&1").c_str()) == 0);
  const std::string info = ReadBytes(folder.File("info"));
  CAPTURE(info);
  CHECK_THAT(info, Catch::Contains("earmark") && Catch::Contains("Pre-skip: 312") && !Catch::Contains("WARNING"));
  REQUIRE(Succeeds("opusdec --rate 48000 " + path + " " + folder.File("a.wav")));
  CHECK(ReadMonoClip(folder.File("a.wav"), 10).value().samples.size() == 115000 - 312);
}

TEST_CASE("OggOpusWriter: without Finish there is no file", "[ogg_opus]") {
  const TempFolder folder;
  {
    auto writer = OggOpusWriter::Create(folder.File("a.opus"), {});
    REQUIRE(writer);
    for (const Packet& packet : Encode(100, 1, 32000)) REQUIRE((*writer)->Write(packet));
    CHECK_FALSE(std::filesystem::exists(folder.File("a.opus")));
  }
  CHECK(folder.NumEntries() == 0);
}

TEST_CASE("OggOpusWriter: wrong options, packets and lengths are refused", "[ogg_opus]") {
  const TempFolder folder;
  const std::string path = folder.File("a.opus");
  const auto code = [](const auto& result) { return result ? ErrorCode::kInternal : result.error().code; };
  CHECK(code(OggOpusWriter::Create(path, {.num_channels = 3})) == ErrorCode::kInvalidArgument);
  CHECK(code(OggOpusWriter::Create(path, {.pre_skip_samples = 65536})) == ErrorCode::kInvalidArgument);
  CHECK(code(OggOpusWriter::Create(path, {.pre_skip_samples = -1})) == ErrorCode::kInvalidArgument);
  CHECK(code(OggOpusWriter::Create(folder.File("none/a.opus"), {})) == ErrorCode::kNotFound);
  CHECK(code(OggOpusWriter::Create(folder.File(""), {})) == ErrorCode::kInvalidArgument);
  CHECK(code(OggOpusWriter::Create("/dev/null", {})) == ErrorCode::kInvalidArgument);

  auto writer = OggOpusWriter::Create(path, {});
  REQUIRE(writer);
  CHECK(code((*writer)->Finish(0)) == ErrorCode::kFailedPrecondition);
  CHECK(code((*writer)->Write({})) == ErrorCode::kInvalidArgument);
  const std::uint8_t ten_ms[] = {0xF0, 0, 0};
  CHECK(code((*writer)->Write(ten_ms)) == ErrorCode::kInvalidArgument);
  for (const Packet& packet : Encode(60, 1, 32000)) REQUIRE((*writer)->Write(packet));
  CHECK(code((*writer)->Finish(60 * kPacketSamples - 312 + 1)) == ErrorCode::kInvalidArgument);
  CHECK(code((*writer)->Finish(-1)) == ErrorCode::kInvalidArgument);
  CHECK(code((*writer)->Finish(100)) == ErrorCode::kInvalidArgument);  // on a page that is written already
  CHECK((*writer)->Finish(60 * kPacketSamples - 312));                 // a wrong length spoils nothing
  CHECK(code((*writer)->Finish(60 * kPacketSamples - 312)) == ErrorCode::kFailedPrecondition);
  CHECK(code((*writer)->Write(Encode(1, 1, 32000)[0])) == ErrorCode::kFailedPrecondition);
  CHECK(ReadMonoClip(path, 10).value().samples.size() == 60 * kPacketSamples - 312);
}

}  // namespace
}  // namespace earmark
