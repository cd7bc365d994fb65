#include "dsp/media/ogg_opus.h"

#include <ogg/ogg.h>
#include <opus.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
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

std::vector<Packet> Encode(int num_packets, int num_channels, int bitrate_bps, int packet_samples = kPacketSamples) {
  OpusEncoder* const encoder = opus_encoder_create(kSampleRateHz, num_channels, OPUS_APPLICATION_AUDIO, nullptr);
  opus_encoder_ctl(encoder, OPUS_SET_BITRATE(bitrate_bps));
  opus_encoder_ctl(encoder, OPUS_SET_VBR(0));
  std::vector<Packet> packets;
  std::vector<float> pcm(static_cast<std::size_t>(packet_samples * num_channels));
  for (int p = 0; p < num_packets; ++p) {
    for (std::size_t i = 0; i < pcm.size(); ++i) pcm[i] = Tone(p * packet_samples + static_cast<int>(i) / num_channels);
    Packet packet(8000);
    packet.resize(static_cast<std::size_t>(opus_encode_float(encoder, pcm.data(), packet_samples, packet.data(), 8000)));
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
  CHECK(code(OggOpusWriter::Create(path, {.output_gain_q8_db = 32768})) == ErrorCode::kInvalidArgument);
  CHECK(code(OggOpusWriter::Create(folder.File("none/a.opus"), {})) == ErrorCode::kNotFound);
  CHECK(code(OggOpusWriter::Create(folder.File(""), {})) == ErrorCode::kInvalidArgument);
  CHECK(code(OggOpusWriter::Create("/dev/null", {})) == ErrorCode::kInvalidArgument);

  auto writer = OggOpusWriter::Create(path, {});
  REQUIRE(writer);
  CHECK(code((*writer)->Finish(0)) == ErrorCode::kFailedPrecondition);
  CHECK(code((*writer)->Write({})) == ErrorCode::kInvalidArgument);
  const std::uint8_t no_frames[] = {0xFB, 0};
  CHECK(code((*writer)->Write(no_frames)) == ErrorCode::kInvalidArgument);
  for (const Packet& packet : Encode(60, 1, 32000)) REQUIRE((*writer)->Write(packet));
  CHECK(code((*writer)->Finish(60 * kPacketSamples - 312 + 1)) == ErrorCode::kInvalidArgument);
  CHECK(code((*writer)->Finish(-1)) == ErrorCode::kInvalidArgument);
  CHECK(code((*writer)->Finish(100)) == ErrorCode::kInvalidArgument);  // on a page that is written already
  CHECK((*writer)->Finish(60 * kPacketSamples - 312));                 // a wrong length spoils nothing
  CHECK(code((*writer)->Finish(60 * kPacketSamples - 312)) == ErrorCode::kFailedPrecondition);
  CHECK(code((*writer)->Write(Encode(1, 1, 32000)[0])) == ErrorCode::kFailedPrecondition);
  CHECK(ReadMonoClip(path, 10).value().samples.size() == 60 * kPacketSamples - 312);
}

// ---- reading

struct Read {
  std::vector<Packet> packets;
  std::int64_t num_samples = 0;
  ErrorCode code = ErrorCode::kInternal;  // of what ended it; kInternal where that was its end
  std::string message;
};

// Opens and reads the file to its end or to what is wrong with it.
Read ReadAll(const std::string& path) {
  Read result;
  auto reader = OggOpusReader::Open(path);
  const auto failed = [&result](const Error& error) {
    result.code = error.code;
    result.message = error.message;
    return result;
  };
  if (!reader) return failed(reader.error());
  for (;;) {
    auto packet = (*reader)->Next();
    if (!packet) {
      CHECK((*reader)->Next().error().message == packet.error().message);
      return failed(packet.error());
    }
    if (!*packet) break;
    result.packets.emplace_back((*packet)->begin(), (*packet)->end());
  }
  CHECK_FALSE((*reader)->Next().value());
  result.num_samples = (*reader)->num_samples();
  return result;
}

void WriteBytes(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// A page as libogg writes them, with the right checksum. The last packet goes on on the next page if `continues`.
struct PageSpec {
  int serial = 1;
  long number = 0;
  std::int64_t granule = 0;
  int flags = 0;  // 1: continued, 2: first, 4: last
  std::vector<std::string> packets = {};
  bool continues = false;
};

std::string Page(const PageSpec& spec) {
  std::string lacing, body;
  for (std::size_t i = 0; i < spec.packets.size(); ++i) {
    const std::string& bytes = spec.packets[i];
    lacing += std::string(bytes.size() / 255, '\xFF');
    if (i + 1 < spec.packets.size() || !spec.continues) lacing += static_cast<char>(bytes.size() % 255);
    body += bytes;
  }
  std::string header = std::string("OggS\0", 5) + static_cast<char>(spec.flags);
  const auto append = [&header](std::uint64_t value, int num_bytes) {
    for (int i = 0; i < num_bytes; ++i) header += static_cast<char>(value >> (8 * i));
  };
  append(static_cast<std::uint64_t>(spec.granule), 8);
  append(static_cast<std::uint64_t>(spec.serial), 4);
  append(static_cast<std::uint64_t>(spec.number), 4);
  append(0, 4);
  append(lacing.size(), 1);
  header += lacing;
  ogg_page page{reinterpret_cast<unsigned char*>(header.data()), static_cast<long>(header.size()),
                reinterpret_cast<unsigned char*>(body.data()), static_cast<long>(body.size())};
  ogg_page_checksum_set(&page);
  return header + body;
}

std::string HeadPacket(int num_channels = 1, int mapping_family = 0, int version = 1) {
  return std::string("OpusHead") + static_cast<char>(version) + static_cast<char>(num_channels) +
         std::string("\x38\x01\x80\xBB\0\0\0\xFE", 8) + static_cast<char>(mapping_family);  // pre-skip 312, 48 kHz, -2 dB
}

std::string TagsPacket(std::size_t num_bytes = 16) { return "OpusTags" + std::string(num_bytes - 8, '\0'); }

std::string Headers(const std::string& head = HeadPacket(), int serial = 1) {
  return Page({.serial = serial, .number = 0, .flags = 2, .packets = {head}}) +
         Page({.serial = serial, .number = 1, .packets = {TagsPacket()}});
}

const std::string kPacket20Ms("\xF8\1\2\3", 4);

TEST_CASE("OggOpusReader: what was written comes back, packets of any duration, untouched and with their true length",
          "[ogg_opus]") {
  const TempFolder folder;
  const std::string path = folder.File("a.opus");
  const int packet_samples = GENERATE(120, 480, 960, 1920, 2880, 5760);
  const int num_channels = GENERATE(1, 2);
  const std::vector<Packet> packets = Encode(137, num_channels, GENERATE(16000, 128000), packet_samples);
  const std::int64_t trim = GENERATE(0, 7);
  const std::int64_t num_samples = 137 * packet_samples - 312 - trim;
  WriteOgg(path, packets, {.num_channels = num_channels, .input_sample_rate_hz = 44100, .output_gain_q8_db = -300}, num_samples);
  const OggFile ogg = ReadOgg(path);
  for (const int on_page : ogg.packets_on_page) CHECK(on_page * packet_samples <= kSampleRateHz);
  auto reader = OggOpusReader::Open(path);
  REQUIRE(reader);
  CHECK((*reader)->num_channels() == num_channels);
  CHECK((*reader)->pre_skip_samples() == 312);
  CHECK((*reader)->output_gain_q8_db() == -300);
  CHECK((*reader)->input_sample_rate_hz() == 44100);
  const Read read = ReadAll(path);
  CHECK(read.message.empty());
  CHECK(read.packets == packets);
  CHECK(read.num_samples == num_samples);
}

TEST_CASE("OggOpusReader: packets of several durations in one file", "[ogg_opus]") {
  const TempFolder folder;
  std::vector<Packet> packets;
  std::int64_t decoded = 0;
  for (const int packet_samples : {960, 480, 2880, 120, 1920}) {
    for (const Packet& packet : Encode(20, 1, 32000, packet_samples)) packets.push_back(packet);
    decoded += 20 * packet_samples;
  }
  WriteOgg(folder.File("a.opus"), packets, {}, decoded - 312);
  const Read read = ReadAll(folder.File("a.opus"));
  CHECK(read.packets == packets);
  CHECK(read.num_samples == decoded - 312);
}

TEST_CASE("OggOpusReader: tags of any size are passed over, and a recording of a broadcast may start late", "[ogg_opus]") {
  const TempFolder folder;
  const std::string path = folder.File("a.opus");
  const std::int64_t start = GENERATE(std::int64_t{0}, std::int64_t{1'000'000'000'000});
  std::string bytes = Page({.number = 0, .flags = 2, .packets = {HeadPacket()}});
  long number = 1;
  std::string tags = TagsPacket(255 * 255);
  for (; number < 20; ++number, tags = std::string(255 * 255, 'x')) {
    bytes += Page({.number = number, .granule = -1, .flags = number > 1 ? 1 : 0, .packets = {tags}, .continues = true});
  }
  bytes += Page({.number = number++, .flags = 1, .packets = {"end"}});
  bytes += Page({.number = number++, .granule = start + 1920, .packets = {kPacket20Ms, kPacket20Ms}});
  bytes += Page({.number = number++, .granule = start + 2000, .flags = 4, .packets = {kPacket20Ms}});
  WriteBytes(path, bytes);
  const Read read = ReadAll(path);
  CHECK(read.message.empty());
  CHECK(read.packets.size() == 3);
  CHECK(read.num_samples == 2000 - 312);
}

TEST_CASE("OggOpusReader: the last page may be empty, and less than the pre-skip is nothing", "[ogg_opus]") {
  const TempFolder folder;
  const std::string path = folder.File("a.opus");
  WriteBytes(path, Headers() + Page({.number = 2, .granule = 960, .packets = {kPacket20Ms}}) +
                       Page({.number = 3, .granule = 960, .flags = 4}));
  CHECK(ReadAll(path).num_samples == 960 - 312);
  WriteBytes(path, Headers() + Page({.number = 2, .granule = 100, .flags = 4, .packets = {kPacket20Ms}}));
  Read read = ReadAll(path);
  CHECK(read.num_samples == 0);
  CHECK(read.packets.size() == 1);
  WriteBytes(path, Page({.number = 0, .flags = 2, .packets = {HeadPacket()}}) +
                       Page({.number = 1, .flags = 4, .packets = {TagsPacket()}}));
  read = ReadAll(path);
  CHECK(read.message.empty());
  CHECK(read.packets.empty());
  CHECK(read.num_samples == 0);
}

TEST_CASE("OggOpusReader: where pages tell less time than their packets, only the last one's end is trimmed", "[ogg_opus]") {
  const TempFolder folder;
  const std::string path = folder.File("looped.opus");
  // Three packets by the second page, of which its time leaves out half of one, as files do that were looped; then one that ends 100 samples early.
  WriteBytes(path, Headers() + Page({.number = 2, .granule = 1920, .packets = {kPacket20Ms, kPacket20Ms}}) +
                       Page({.number = 3, .granule = 2400, .packets = {kPacket20Ms}}) +
                       Page({.number = 4, .granule = 3260, .flags = 4, .packets = {kPacket20Ms}}));
  const Read read = ReadAll(path);
  CHECK(read.message.empty());
  CHECK(read.packets.size() == 4);
  CHECK(read.num_samples == 4 * 960 - 100 - 312);
}

TEST_CASE("OggOpusReader: links of a chain are one stream, if they have as many channels", "[ogg_opus]") {
  const TempFolder folder;
  const std::vector<Packet> packets = Encode(60, 1, 32000);
  WriteOgg(folder.File("a.opus"), packets, {}, 60 * 960 - 312 - 500);
  WriteOgg(folder.File("b.opus"), packets, {.serial = 2}, 60 * 960 - 312 - 100);
  WriteOgg(folder.File("stereo.opus"), Encode(3, 2, 32000), {.num_channels = 2, .serial = 3}, 2000);
  WriteBytes(folder.File("chain.opus"), ReadBytes(folder.File("a.opus")) + ReadBytes(folder.File("b.opus")));
  const Read chain = ReadAll(folder.File("chain.opus"));
  CHECK(chain.packets.size() == 120);
  CHECK(chain.num_samples == 120 * 960 - 312 - 100);
  WriteBytes(folder.File("mixed.opus"), ReadBytes(folder.File("a.opus")) + ReadBytes(folder.File("stereo.opus")));
  const Read mixed = ReadAll(folder.File("mixed.opus"));
  CHECK(mixed.code == ErrorCode::kInvalidArgument);
  CHECK_THAT(mixed.message, Catch::Contains("2 channels follows one with 1"));
  CHECK(mixed.packets.size() == 60);
}

TEST_CASE("OggOpusReader: what is not an Ogg Opus file of one or two channels is refused, and said what it is", "[ogg_opus]") {
  const TempFolder folder;
  const std::string path = folder.File("a.opus");
  const auto check = [&](const std::string& bytes, const std::string& says) {
    WriteBytes(path, bytes);
    const Read read = ReadAll(path);
    CHECK(read.code == ErrorCode::kInvalidArgument);
    CHECK_THAT(read.message, Catch::Contains(says) && Catch::Contains(path));
  };
  const std::string last = Page({.number = 2, .granule = 960, .flags = 4, .packets = {kPacket20Ms}});
  check("", "not an Ogg file");
  check("Og", "not an Ogg file");
  check("RIFF____WAVEfmt ", "not an Ogg file");
  check(Page({.flags = 2, .packets = {"\1vorbis and so on"}}), "not one of Opus");
  check(Page({.flags = 0, .packets = {HeadPacket()}}), "not one of Opus");
  check(Page({.flags = 2, .packets = {HeadPacket().substr(0, 18)}}), "not one of Opus");
  check(Headers(HeadPacket(6, 1) + std::string("\4\2\0\4\1\2\3\5", 8)) + last,
        "mapping family: 0 (mono or stereo) wanted, got 1");
  check(Headers(HeadPacket(3)) + last, "channels: 1 or 2 wanted, got 3");
  check(Headers(HeadPacket(0)) + last, "channels: 1 or 2 wanted, got 0");
  check(Headers(HeadPacket(1, 0, 16)) + last, "later version (16)");
  check(Headers() + Page({.serial = 2, .number = 0, .flags = 2, .packets = {HeadPacket()}}), "other streams");
  check(Headers() + last + Page({.serial = 2, .flags = 2, .packets = {"\1vorbis and so on"}}), "another stream follows");
  CHECK(ReadAll(folder.File("none")).code == ErrorCode::kNotFound);
  CHECK(ReadAll(folder.File("")).code == ErrorCode::kInvalidArgument);
}

TEST_CASE("OggOpusReader: what was put behind the last page does no harm", "[ogg_opus]") {
  const TempFolder folder;
  const std::string path = folder.File("a.opus");
  const std::string whole = Headers() + Page({.number = 2, .granule = 960, .flags = 4, .packets = {kPacket20Ms}});
  for (const std::string& tail :
       {std::string("ID3"), std::string("TAG") + std::string(125, ' '), std::string(100'000, '\0'), std::string("\n")}) {
    WriteBytes(path, whole + tail);
    const Read read = ReadAll(path);
    CHECK(read.message.empty());
    CHECK(read.packets.size() == 1);
  }
}

TEST_CASE("OggOpusReader: a file that breaks off or is damaged says so, after the packets before", "[ogg_opus]") {
  const TempFolder folder;
  const std::string path = folder.File("a.opus");
  const auto check = [&](const std::string& bytes, const std::string& says, std::size_t num_packets) {
    WriteBytes(path, bytes);
    const Read read = ReadAll(path);
    CHECK(read.code == ErrorCode::kDataLoss);
    CHECK_THAT(read.message, Catch::Contains(says) && Catch::Contains(path));
    CHECK(read.packets.size() == num_packets);
  };
  const std::string first = Headers() + Page({.number = 2, .granule = 960, .packets = {kPacket20Ms}});
  const std::string last = Page({.number = 3, .granule = 1920, .flags = 4, .packets = {kPacket20Ms}});
  const std::string half = Page({.number = 3, .granule = -1, .packets = {std::string(255, '\xF8')}, .continues = true});
  check(first, "no page says that it is the last", 1);
  check((first + last).substr(0, first.size() + last.size() - 1), "within a page", 1);
  check(first + last + "OggS", "within a page", 2);
  check(first + last + std::string(70000, 'x') + last, "after the last one", 2);
  std::string broken_link = Headers() + last;
  broken_link[30] ^= 1;
  check(first + last + "tag" + broken_link, "wrong checksum", 2);
  check(Headers().substr(0, 60), "within a page", 0);
  check(Page({.flags = 2, .packets = {HeadPacket()}}), "within its headers", 0);
  check(Page({.flags = 2, .packets = {HeadPacket()}}) + Page({.number = 1, .packets = {"no tags here"}}), "OpusTags", 0);
  check(Page({.flags = 2, .packets = {HeadPacket()}}) + Page({.number = 1, .packets = {TagsPacket(), kPacket20Ms}}),
        "do not end with a page", 0);
  std::string flipped = first + last;
  flipped[first.size() - 1] ^= 1;
  check(flipped, "wrong checksum", 0);
  check(first + std::string(40, 'x') + last, "something else than pages", 1);
  check(first + Page({.number = 4, .granule = 1920, .flags = 4, .packets = {kPacket20Ms}}), "page 3 is missing, got 4", 1);
  check(first + last + Page({.number = 4, .granule = 1920}), "after the last one", 2);
  check(first + Page({.number = 3, .granule = 1920, .flags = 4 + 1, .packets = {kPacket20Ms}}), "does not go on", 1);
  check(first + half + Page({.number = 4, .granule = 1920, .flags = 4, .packets = {kPacket20Ms}}), "does not go on", 1);
  check(first + Page({.number = 3, .granule = -1, .flags = 4, .packets = {std::string(255, '\xF8')}, .continues = true}),
        "within its last packet", 1);
  check(first + Page({.number = 3, .granule = 900, .flags = 4, .packets = {kPacket20Ms}}), "time runs back", 2);
  check(Headers() + Page({.number = 2, .granule = 900, .packets = {kPacket20Ms}}) + last, "before its start", 1);
  check(first + Page({.number = 3, .granule = 1920, .flags = 4, .packets = {""}}), "no Opus packet", 1);
  check(first + Page({.number = 3, .granule = 1920, .flags = 4, .packets = {std::string("\xFB\0", 2)}}), "no Opus packet", 1);
  std::string endless = first;
  for (long number = 3; number < 40; ++number) {
    endless += Page({.number = number,
                     .granule = -1,
                     .flags = number > 3 ? 1 : 0,
                     .packets = {std::string(255 * 255, '\xF8')},
                     .continues = true});
  }
  check(endless, "more than 61308 bytes", 1);
}

TEST_CASE("OggOpusReader: any flipped byte of a file is noticed, or changes no packet", "[ogg_opus]") {
  const TempFolder folder;
  const std::string path = folder.File("a.opus");
  const std::vector<Packet> packets = Encode(6, 1, 16000);
  WriteOgg(path, packets, {}, 5000);
  const std::string good = ReadBytes(path);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    WriteBytes(path, bad);
    INFO(i);
    CHECK_FALSE(ReadAll(path).message.empty());
  }
}

TEST_CASE("OggOpusReader: files of ffmpeg are read as its own demuxer reads them, and their copies play alike", "[ogg_opus]") {
  if (!Succeeds("ffmpeg -version")) {
    WARN("the ffmpeg command is not installed: skipped");
    return;
  }
  const TempFolder folder;
  const int packet_ms = GENERATE(10, 20, 60);
  const std::string path = folder.File("a.opus");
  REQUIRE(Succeeds("ffmpeg -nostdin -y -f lavfi -i sine=frequency=500:duration=3.3333 -ac 2 -c:a libopus -frame_duration " +
                   std::to_string(packet_ms) + " " + path));
  auto reader = OggOpusReader::Open(path);
  REQUIRE(reader);
  CHECK((*reader)->num_channels() == 2);
  const Read read = ReadAll(path);
  CHECK(read.message.empty());
  CHECK(std::abs(static_cast<int>(read.packets.size()) - 3340 / packet_ms) <= 1);
  CHECK(std::abs(read.num_samples - 159998) < 50);
  WriteOgg(folder.File("copy.opus"), read.packets, {.num_channels = 2, .pre_skip_samples = (*reader)->pre_skip_samples()},
           read.num_samples);
  const auto original = ReadMonoClip(path, 10);
  const auto copy = ReadMonoClip(folder.File("copy.opus"), 10);
  REQUIRE(original);
  REQUIRE(copy);
  CHECK(static_cast<std::int64_t>(original->samples.size()) == read.num_samples);
  CHECK(original->samples == copy->samples);
}

}  // namespace
}  // namespace earmark
