// Files with several audio tracks.
#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"
#include "tests/unit/media_files.h"
#include "tests/unit/temp_folder.h"

namespace earmark {
namespace {

// A silent track and a speaking one, in this order, the silent one being the best by number of channels.
std::string MakeTwoTracks(const TempFolder& folder, const std::string& name, const std::string& codecs) {
  WriteWav(folder.File("speech.wav"), Noise(2 * kSampleRateHz), kSampleRateHz, 1);
  const std::string silence = WriteWav(folder.File("silence.wav"), std::vector<float>(4 * kSampleRateHz), kSampleRateHz, 2);
  REQUIRE(Convert(silence, "-i " + folder.File("speech.wav") + " -map 0:a -map 1:a " + codecs, folder.File(name)));
  return folder.File(name);
}

double Power(const std::vector<float>& samples) {
  double power = 0;
  for (const float sample : samples) power += sample * sample;
  return power / static_cast<double>(samples.size());
}

TEST_CASE("AudioReader: each track of a file can be read, the best one is read unasked", "[audio_tracks]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const auto [name, codecs] = GENERATE(std::pair("a.mkv", "-c:a libopus -b:a 96k"), std::pair("a.mp4", "-c:a aac -b:a 128k"),
                                       std::pair("a.ts", "-c:a mp2 -b:a 192k"));
  CAPTURE(name);
  const std::string path = MakeTwoTracks(folder, name, codecs);
  const auto reader = AudioReader::Open(path);
  REQUIRE(reader);
  CHECK((*reader)->info().num_tracks == 2);
  CHECK((*reader)->info().track == 0);
  CHECK((*reader)->num_channels() == 2);
  CHECK(Power(ReadAll(path, 4096).value()) < 1e-6);
  CHECK(Power(ReadAll(path, 4096, {.track = 0}).value()) < 1e-6);

  const auto second = AudioReader::Open(path, {.track = 1});
  REQUIRE(second);
  CHECK((*second)->info().num_tracks == 2);
  CHECK((*second)->info().track == 1);
  CHECK((*second)->num_channels() == 1);
  const Match match = FindLag(Noise(2 * kSampleRateHz), ReadAll(path, 4096, {.track = 1}).value());
  CHECK(match.correlation > 0.9);
  CHECK(std::abs(match.lag) < 1200);

  CheckFails(AudioReader::Open(path, {.track = 2}), ErrorCode::kInvalidArgument, "track: 0 to 1 wanted, got 2");
  CheckFails(AudioReader::Open(path, {.track = -1}), ErrorCode::kInvalidArgument, "track: 0 to 1 wanted, got -1");
}

TEST_CASE("AudioReader: a track that no decoder knows leaves the others readable", "[audio_tracks]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string path = MakeTwoTracks(folder, "a.mkv", "-c:a:0 pcm_s16le -c:a:1 flac");
  std::string bytes = ReadBytes(path);
  const std::size_t codec = bytes.find("A_PCM/INT/LIT");
  REQUIRE(codec != std::string::npos);
  WriteBytes(path, bytes.replace(codec, 13, "A_XYZ/INT/LIT"));
  CheckFails(AudioReader::Open(path, {.track = 0}), ErrorCode::kInvalidArgument, "a.mkv");
  const auto reader = AudioReader::Open(path);
  REQUIRE(reader);
  CHECK((*reader)->info().num_tracks == 2);
  CHECK((*reader)->info().track == 1);
  CHECK(FindLag(Noise(2 * kSampleRateHz), ReadAll(path, 4096, {.track = 1}).value()).correlation > 0.9);
}

TEST_CASE("AudioReader: a file of plain PCM has one track", "[audio_tracks]") {
  const TempFolder folder;
  const std::string path = WriteWav(folder.File("a.wav"), Noise(1000), kSampleRateHz, 1);
  CHECK(AudioReader::Open(path).value()->info().num_tracks == 1);
  CHECK(ReadAll(path, 4096, {.track = 0}).value().size() == 1000);
  CheckFails(AudioReader::Open(path, {.track = 1}), ErrorCode::kInvalidArgument, "track: 0 to 0 wanted, got 1");
}

}  // namespace
}  // namespace earmark
