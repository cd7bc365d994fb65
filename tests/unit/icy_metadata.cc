#include "dsp/media/icy_metadata.h"

#include <algorithm>
#include <random>

#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"
#include "tests/unit/media_files.h"
#include "tests/unit/temp_folder.h"

namespace earmark {
namespace {

const std::string kEmptyBlock(1, '\0');

std::string Block(std::string text) {
  text.resize((text.size() + 15) / 16 * 16, '\0');
  return static_cast<char>(text.size() / 16) + text;
}

std::string TitleBlock(const std::string& title) {
  return Block("StreamTitle='" + title + "';StreamUrl='http://radio.example/';");
}

// What a program saves that leaves metadata in: `blocks` one after the other, and empty ones from then on.
std::string Rip(const std::string& audio, std::size_t interval_bytes, const std::vector<std::string>& blocks) {
  std::string bytes;
  std::size_t num_blocks = 0;
  for (std::size_t at = 0; at < audio.size(); at += interval_bytes) {
    bytes += audio.substr(at, interval_bytes);
    if (at + interval_bytes > audio.size()) break;
    bytes += num_blocks < blocks.size() ? blocks[num_blocks] : kEmptyBlock;
    ++num_blocks;
  }
  return bytes;
}

std::string EncodedBytes(const TempFolder& folder, const std::string& options, const std::string& name) {
  const std::string source = WriteWav(folder.File("source.wav"), Noise(6 * kSampleRateHz), kSampleRateHz, 1);
  REQUIRE(Convert(source, options, folder.File(name)));
  return ReadBytes(folder.File(name));
}

std::optional<IcyLayout> Find(const TempFolder& folder, const std::string& bytes) {
  WriteBytes(folder.File("find"), bytes);
  return FindIcyMetadata(OpenInputFile(folder.File("find")).value().handle);
}

TEST_CASE("AudioReader: a rip with radio metadata in it sounds as the stream did", "[icy_metadata]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const auto [name, options] = GENERATE(std::pair("a.mp3", "-c:a libmp3lame -b:a 128k"),
                                        std::pair("bare.mp3", "-c:a libmp3lame -b:a 96k -write_xing 0 -id3v2_version 0"),
                                        std::pair("a.aac", "-c:a aac -b:a 128k"));
  const std::string clean = EncodedBytes(folder, options, name);
  const std::vector<float> expected = ReadMonoClip(folder.File(name), 60).value().samples;
  const std::string path = folder.File(std::string("rip-") + name);
  const std::string title = TitleBlock("Someone - A song, \xc3\xa0 la radio");
  const auto check = [&](std::size_t interval_bytes, const std::vector<std::string>& blocks) {
    CAPTURE(name, interval_bytes, blocks.size());
    WriteBytes(path, Rip(clean, interval_bytes, blocks));
    const auto clip = ReadMonoClip(path, 60);
    REQUIRE(clip);
    // What an MP3 encoder's header says of padding at the end goes unheeded, as FFmpeg does not know how long the stream is.
    REQUIRE(clip->samples.size() >= expected.size());
    CHECK(clip->samples.size() <= expected.size() + 1152);
    CHECK(std::equal(expected.begin(), expected.end(), clip->samples.begin()));
  };
  for (const std::size_t interval_bytes : {777, 8192, 16000, 16384, 32768}) {
    check(interval_bytes, {title});
    check(interval_bytes, {title, kEmptyBlock, TitleBlock("Next")});
    check(interval_bytes, {title, title, title, title});
    check(interval_bytes, {TitleBlock("")});
  }
  // A title that does not come first takes some blocks to find out.
  check(777, {kEmptyBlock, title});
  check(8192, {kEmptyBlock, title});
}

TEST_CASE("AudioReader: a rip whose connection was lost is read to its end", "[icy_metadata]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  std::string clean = EncodedBytes(folder, "-c:a libmp3lame -b:a 320k", "a.mp3");
  while (clean.size() < 2'000'000) clean += clean;
  WriteBytes(folder.File("a.mp3"), clean);
  const std::size_t num_expected = ReadMonoClip(folder.File("a.mp3"), 600).value().samples.size();
  std::string rip = Rip(clean, 16000, {TitleBlock("One")});
  rip.erase(1'500'000, 5000);  // behind what is looked at to find the blocks
  WriteBytes(folder.File("rip.mp3"), rip);
  const auto clip = ReadMonoClip(folder.File("rip.mp3"), 600);
  REQUIRE(clip);
  CHECK(static_cast<double>(clip->samples.size()) > 0.98 * static_cast<double>(num_expected));
}

TEST_CASE("FindIcyMetadata: the layout is found by its titles", "[icy_metadata]") {
  const TempFolder folder;
  // Bytes 1 to 255, so that nothing looks like an empty block by chance.
  std::string audio;
  std::mt19937 random(3);
  for (int i = 0; i < 300000; ++i) audio += static_cast<char>(1 + random() % 255);
  for (const std::size_t interval_bytes : {777, 8192, 16000, 24576}) {
    const auto layout = Find(folder, Rip(audio, interval_bytes, {TitleBlock("A"), kEmptyBlock, TitleBlock("B")}));
    REQUIRE(layout);
    CHECK(layout->interval_bytes == static_cast<std::int64_t>(interval_bytes));
    CHECK(layout->first_block == static_cast<std::int64_t>(interval_bytes));

    // Its first bytes are missing: two titles tell.
    const auto later = Find(folder, Rip(audio, interval_bytes, {TitleBlock("A"), TitleBlock("B")}).substr(500));
    REQUIRE(later);
    CHECK(later->interval_bytes == static_cast<std::int64_t>(interval_bytes));
    CHECK(later->first_block == static_cast<std::int64_t>(interval_bytes) - 500);
  }
  CHECK_FALSE(Find(folder, ""));
  CHECK_FALSE(Find(folder, audio));
  // Text in places where no server puts it.
  std::string misplaced = Rip(audio, 8192, {TitleBlock("A")});
  CHECK_FALSE(Find(folder, misplaced.insert(100000, "x")));
  CHECK_FALSE(Find(folder, "StreamTitle='at the beginning';" + audio));
  std::string tagged = audio;
  CHECK_FALSE(Find(folder, tagged.replace(5000, 31, "TXXX StreamTitle='a comment';  ")));
  // What looks like a block where its length byte has it, but no other is where the distance wants it.
  tagged = audio;
  const std::string block = TitleBlock("A");
  CHECK_FALSE(Find(folder, tagged.replace(5000, block.size(), block)));
}

TEST_CASE("AudioReader: clean files are not touched for what their tags say", "[icy_metadata]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string tag = " -metadata title=\"StreamTitle='A song';\" -metadata comment=\"StreamTitle='x';StreamUrl='';\"";
  for (const auto& [name, options] :
       {std::pair("a.mp3", "-c:a libmp3lame -b:a 128k"), std::pair("a.aac", "-c:a aac -b:a 128k")}) {
    CAPTURE(name);
    const std::string plain = EncodedBytes(folder, options, name);
    CHECK_FALSE(Find(folder, plain));
    const std::vector<float> expected = ReadMonoClip(folder.File(name), 60).value().samples;
    const std::string tagged = EncodedBytes(folder, options + tag, name);
    CHECK_FALSE(Find(folder, tagged));
    CHECK((ReadMonoClip(folder.File(name), 60).value().samples == expected));
  }
}

}  // namespace
}  // namespace earmark
