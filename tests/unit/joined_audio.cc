// Recordings that were joined end to end: `cat a.ogg b.ogg > c.ogg`.
#include <algorithm>
#include <random>

#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"
#include "tests/unit/media_files.h"
#include "tests/unit/temp_folder.h"

namespace earmark {
namespace {

constexpr std::size_t kFirstSamples = 2 * kSampleRateHz + 123;
constexpr std::size_t kSecondSamples = 3 * kSampleRateHz;
constexpr unsigned kFirstSeed = 1;
constexpr unsigned kSecondSeed = 2;

// Noise of one or two like channels, encoded; its bytes.
std::string Encoded(const TempFolder& folder, std::size_t num_samples, unsigned seed, const std::string& options,
                    const std::string& extension) {
  const std::string source = WriteWav(folder.File("source.wav"), Noise(num_samples, seed), kSampleRateHz, 1);
  const std::string path = folder.File("part." + extension);
  REQUIRE(Convert(source, options, path));
  return ReadBytes(path);
}

struct Joined {
  const char* extension;
  const char* first;
  const char* second;
  int max_padding;       // samples that codecs put before and behind, and containers do not mark
  int num_channels = 1;  // of the whole
};

const Joined kJoined[] = {
    {"ogg", "-c:a libvorbis", "-c:a libvorbis", 100},
    {"ogg", "-c:a libvorbis", "-c:a libvorbis -ac 2", 100, 2},
    {"ogg", "-c:a libvorbis -ac 2", "-c:a libvorbis -ar 44100", 100, 2},
    {"ogg", "-c:a libvorbis -ar 22050", "-c:a libvorbis", 100},
    {"ogg", "-c:a libopus -b:a 96k", "-c:a libopus -b:a 96k", 0},
    {"ogg", "-c:a libopus -b:a 96k", "-c:a libopus -b:a 96k -ac 2", 0, 2},
    {"ogg", "-c:a libopus -b:a 96k -ac 2", "-c:a libopus -b:a 96k", 0, 2},
    {"ogg", "-c:a libvorbis", "-c:a libopus -b:a 96k", 100},
    {"ogg", "-c:a libvorbis -ar 16000", "-c:a libopus -b:a 96k", 100},
    {"ogg", "-c:a libopus -b:a 96k", "-c:a flac -ac 2 -ar 44100", 10, 2},
    {"ogg", "-c:a flac", "-c:a libvorbis", 100},
    {"webm", "-c:a libopus -b:a 96k", "-c:a libopus -b:a 96k", 100},
    {"webm", "-c:a libopus -b:a 96k", "-c:a libopus -b:a 96k -ac 2", 100, 2},
    {"webm", "-c:a libopus -b:a 96k -live 1", "-c:a libopus -b:a 96k -live 1", 1000},
    {"webm", "-c:a libopus -b:a 96k", "-c:a libvorbis -ar 44100", 100},
    {"webm", "-c:a libvorbis -ac 2", "-c:a libopus -b:a 96k", 200, 2},
    {"mkv", "-c:a flac", "-c:a flac -ar 44100 -ac 2", 100, 2},
    {"mkv", "-c:a aac -b:a 128k", "-c:a libopus -b:a 96k", 1200},
    {"mka", "-c:a libmp3lame", "-c:a pcm_s16le -ar 32000", 2400},
    {"mp3", "-c:a libmp3lame -b:a 128k", "-c:a libmp3lame -b:a 128k", 4000},
    {"mp3", "-c:a libmp3lame -b:a 128k", "-c:a libmp3lame -b:a 128k -ar 44100", 4000},
    // The second one's tag takes the time of a frame.
    {"mp3", "-c:a libmp3lame -b:a 128k -ar 32000 -write_xing 0", "-c:a libmp3lame -q:a 2 -ac 2", 6000},
    {"aac", "-c:a aac -b:a 128k", "-c:a aac -b:a 128k", 4000},
    {"aac", "-c:a aac -b:a 128k", "-c:a aac -b:a 128k -ar 44100", 4000},
    {"aac", "-c:a aac -b:a 128k -ar 32000", "-c:a aac -b:a 128k -ac 2", 4000},
};

// Checks that noise of `seed` is in `samples`, from `begin` on to within `max_padding`.
void CheckHolds(const std::vector<float>& samples, std::size_t begin, std::size_t num_samples, unsigned seed, int max_padding) {
  REQUIRE(samples.size() > begin);
  const std::vector<float> rest(samples.begin() + static_cast<std::ptrdiff_t>(begin), samples.end());
  // The lag that FindLag looks for reaches to 3000; padding before lies wholly on the late side.
  const int shift = max_padding / 2;
  const std::vector<float> shifted(rest.begin() + shift, rest.end());
  const Match match = FindLag(Noise(num_samples, seed), shifted);
  CAPTURE(begin, match.lag + shift);
  CHECK(match.correlation > 0.9);
  CHECK(std::abs(match.lag + shift) <= max_padding);
}

TEST_CASE("AudioReader: recordings joined into one file are read one after the other", "[joined_audio]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  for (const Joined& joined : kJoined) {
    CAPTURE(joined.extension, joined.first, joined.second);
    const std::string path = folder.File(std::string("joined.") + joined.extension);
    WriteBytes(path, Encoded(folder, kFirstSamples, kFirstSeed, joined.first, joined.extension) +
                         Encoded(folder, kSecondSamples, kSecondSeed, joined.second, joined.extension));
    const auto reader = AudioReader::Open(path);
    REQUIRE(reader);
    CHECK((*reader)->num_channels() == joined.num_channels);
    const auto clip = ReadMonoClip(path, 60);
    REQUIRE(clip);
    CHECK_FALSE(clip->truncated);
    CHECK(std::abs(static_cast<int>(clip->samples.size()) - static_cast<int>(kFirstSamples + kSecondSamples)) <=
          2 * joined.max_padding);
    CheckHolds(clip->samples, 0, kFirstSamples, kFirstSeed, joined.max_padding);
    CheckHolds(clip->samples, kFirstSamples, kSecondSamples, kSecondSeed, joined.max_padding);
  }
}

// Of a few seconds each; the third one in another codec.
std::vector<std::string> ThreeOggs(const TempFolder& folder) {
  return {Encoded(folder, kFirstSamples, kFirstSeed, "-c:a libopus -b:a 96k", "ogg"),
          Encoded(folder, kSecondSamples, kSecondSeed, "-c:a libopus -b:a 96k", "ogg"),
          Encoded(folder, kFirstSamples, 3, "-c:a flac", "ogg")};
}

TEST_CASE("AudioReader: what is no recording among joined ones costs none of them", "[joined_audio]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string path = folder.File("a.ogg");
  const std::vector<std::string> oggs = ThreeOggs(folder);

  // A second one of which the headers alone are left.
  WriteBytes(path, oggs[0] + oggs[1].substr(0, 120) + oggs[2]);
  std::vector<float> samples = ReadMonoClip(path, 60).value().samples;
  CHECK(samples.size() == 2 * kFirstSamples);
  CheckHolds(samples, 0, kFirstSamples, kFirstSeed, 0);
  CheckHolds(samples, kFirstSamples, kFirstSamples, 3, 0);

  // And a first one.
  WriteBytes(path, oggs[0].substr(0, 120) + oggs[1] + oggs[2]);
  samples = ReadMonoClip(path, 60).value().samples;
  CHECK(samples.size() == kSecondSamples + kFirstSamples);
  CheckHolds(samples, 0, kSecondSamples, kSecondSeed, 0);

  // Bytes that begin like another one, in a file that does not say where it ends.
  const std::string webm = Encoded(folder, kFirstSamples, kFirstSeed, "-c:a libopus -b:a 96k -live 1", "webm");
  const std::string webm_path = folder.File("a.webm");
  WriteBytes(webm_path, webm);
  const std::size_t num_samples = ReadMonoClip(webm_path, 60).value().samples.size();
  WriteBytes(webm_path, webm + webm.substr(0, 60));
  CHECK(ReadMonoClip(webm_path, 60).value().samples.size() == num_samples);
}

TEST_CASE("AudioReader: a joined file whose parts break off is read to its end, and only the last one is told",
          "[joined_audio]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const auto [extension, options] = GENERATE(std::pair("webm", "-c:a libopus -b:a 96k"), std::pair("mka", "-c:a flac"),
                                             std::pair("ogg", "-c:a libopus -b:a 96k"));
  CAPTURE(extension);
  const std::string path = folder.File(std::string("joined.") + extension);
  const std::string first = Encoded(folder, kFirstSamples, kFirstSeed, options, extension);
  const std::string second = Encoded(folder, kSecondSamples, kSecondSeed, options, extension);

  WriteBytes(path, first.substr(0, first.size() / 2) + second);
  const auto clip = ReadMonoClip(path, 60);
  REQUIRE(clip);
  CHECK_FALSE(clip->truncated);
  REQUIRE(clip->samples.size() > kSecondSamples + kFirstSamples / 3);
  CHECK(clip->samples.size() < kSecondSamples + kFirstSamples * 2 / 3);
  CheckHolds(clip->samples, 0, kFirstSamples / 3, kFirstSeed, 100);
  CheckHolds(clip->samples, clip->samples.size() - kSecondSamples, kSecondSamples, kSecondSeed, 100);

  WriteBytes(path, first + second.substr(0, second.size() / 2));
  const auto cut = ReadMonoClip(path, 60);
  REQUIRE(cut);
  CHECK(cut->samples.size() > kFirstSamples + kSecondSamples / 4);  // an Ogg page may hold a second
  CHECK(cut->samples.size() < kFirstSamples + kSecondSamples * 2 / 3);
  CHECK(cut->truncated);
  CheckFails(ReadAll(path, 480), ErrorCode::kDataLoss, path + ", part 2: breaks off after ");
}

TEST_CASE("AudioReader: the chosen track is that of each part", "[joined_audio]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string silence = WriteWav(folder.File("silence.wav"), std::vector<float>(kSampleRateHz), kSampleRateHz, 2);
  const std::string options = "-i " + silence + " -map 1:a -map 0:a -c:a flac";
  const std::string path = folder.File("a.mka");
  WriteBytes(path, Encoded(folder, kFirstSamples, kFirstSeed, options, "mka") +
                       Encoded(folder, kSecondSamples, kSecondSeed, options, "mka"));
  const auto samples = ReadAll(path, 4096, {.track = 1});
  REQUIRE(samples);
  CHECK(samples->size() == kFirstSamples + kSecondSamples);
  CheckHolds(*samples, kFirstSamples, kSecondSamples, kSecondSeed, 0);
  CheckFails(AudioReader::Open(path, {.track = 2}), ErrorCode::kInvalidArgument, "track: 0 to 1 wanted, got 2");
}

TEST_CASE("AudioReader: damaged joined files end in samples or an error", "[joined_audio]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::vector<std::string> oggs = ThreeOggs(folder);
  const std::string webm = Encoded(folder, kSampleRateHz, 1, "-c:a libopus -live 1", "webm");
  for (unsigned round = 0; round < 60; ++round) {
    CAPTURE(round);
    std::mt19937 random(round);
    std::string bytes = round % 2 == 0 ? oggs[0] + oggs[1] + oggs[2] : webm + webm + webm;
    for (int i = 0; i < 20; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    bytes.erase(random() % bytes.size(), random() % 5000);
    WriteBytes(folder.File("damaged"), bytes);
    const auto clip = ReadMonoClip(folder.File("damaged"), 300);
    if (!clip) CHECK(clip.error().code != ErrorCode::kInternal);
    if (clip) CHECK(std::all_of(clip->samples.begin(), clip->samples.end(), [](float sample) { return std::isfinite(sample); }));
  }
}

TEST_CASE("AudioReader: a file of nothing but headers is refused in good time", "[joined_audio]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string ogg = Encoded(folder, kSampleRateHz / 10, 1, "-c:a libopus -b:a 32k", "ogg");
  const std::string webm = Encoded(folder, kSampleRateHz / 10, 1, "-c:a libopus -b:a 32k -live 1", "webm");
  for (const std::string& unit :
       {ogg.substr(0, 150), webm.substr(0, 300), std::string("OggS\0\2\xff\xff", 8), webm.substr(0, 5)}) {
    std::string bytes = unit.front() == 'O' ? ogg.substr(0, 150) : webm.substr(0, 300);
    while (bytes.size() < 300'000) bytes += unit;
    WriteBytes(folder.File("a"), bytes);
    CheckFails(AudioReader::Open(folder.File("a")), ErrorCode::kInvalidArgument, "");
  }
}

}  // namespace
}  // namespace earmark
