#include "dsp/media/decoded_clip.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "dsp/core/resample.h"
#include "dsp/core/stream_format.h"
#include "dsp/media/audio_file.h"
#include "tests/unit/media_files.h"
#include "tests/unit/temp_folder.h"

namespace earmark {
namespace {

using Channel = DecodedClip::Channel;

bool KeepOn(double) { return true; }

std::vector<Channel> ChannelsOf(const DecodedClip& clip) {
  std::vector<Channel> channels;
  for (const auto& signal : clip.signals()) channels.push_back(signal.channel);
  return channels;
}

std::vector<float> Copy(std::span<const float> samples) { return {samples.begin(), samples.end()}; }

double Power(std::span<const float> samples) {
  double power = 0;
  for (const float sample : samples) power += static_cast<double>(sample) * sample;
  return power / static_cast<double>(samples.size());
}

double PowerOfRest(std::span<const float> a, std::span<const float> b) {
  std::vector<float> rest(a.size());
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) rest[i] = a[i] - b[i];
  return Power(rest);
}

std::string WriteStereo(const TempFolder& folder, const std::vector<float>& left, const std::vector<float>& right) {
  std::vector<float> both;
  for (std::size_t i = 0; i < left.size(); ++i) both.insert(both.end(), {left[i], right[i]});
  return WriteWav(folder.File("stereo.wav"), both, kSampleRateHz, 2);
}

std::vector<float> Times(float gain, std::vector<float> samples) {
  for (float& sample : samples) sample *= gain;
  return samples;
}

// Where temporary files are, while this lives.
class TemporaryFilesIn {
 public:
  explicit TemporaryFilesIn(const std::string& folder) { ::setenv("TMPDIR", folder.c_str(), 1); }
  TemporaryFilesIn(const TemporaryFilesIn&) = delete;
  TemporaryFilesIn& operator=(const TemporaryFilesIn&) = delete;
  ~TemporaryFilesIn() {
    if (was_.empty())
      ::unsetenv("TMPDIR");
    else
      ::setenv("TMPDIR", was_.c_str(), 1);
  }

 private:
  const std::string was_ = std::getenv("TMPDIR") == nullptr ? "" : std::getenv("TMPDIR");
};

TEST_CASE("RateHalver: pieces give what HalveRate gives of the whole", "[decoded_clip]") {
  const std::size_t size = GENERATE(0, 1, 2, 479, 480, 4801, 100001);
  const std::size_t piece = GENERATE(1, 480, 4096, 50000);
  const std::vector<float> in = Noise(size);
  RateHalver halver;
  std::vector<float> out;
  const auto take = [&](std::span<const float> samples) { out.insert(out.end(), samples.begin(), samples.end()); };
  for (std::size_t begin = 0; begin < size; begin += piece)
    take(halver.Process(std::span(in).subspan(begin, std::min(piece, size - begin))));
  take(halver.Finish());
  CAPTURE(size, piece);
  CHECK((out == HalveRate(in)));
}

TEST_CASE("DecodedClip: the samples of ReadMonoClip and HalveRate, in memory or on disk", "[decoded_clip]") {
  const TempFolder folder;
  const TempFolder scratch;
  const TemporaryFilesIn there(scratch.File(""));
  const double seconds = GENERATE(2.5, 140.0);
  const int rate_hz = GENERATE(44100, 48000);
  const std::vector<float> noise = Noise(static_cast<std::size_t>(seconds * rate_hz) | 1);
  const std::string path = WriteWav(folder.File("a.wav"), noise, rate_hz, 1);
  auto clip = DecodedClip::Decode(path, KeepOn);
  REQUIRE(clip);
  CHECK((ChannelsOf(*clip) == std::vector{Channel::kMean}));
  const std::vector<float> expected = HalveRate(ReadMonoClip(path, 200).value().samples);
  CHECK((Copy(clip->Samples(0).value()) == expected));
  clip->ReleaseMemory();
  DecodedClip moved = *std::move(clip);
  CHECK((Copy(moved.Samples(0).value()) == expected));
  CHECK(moved.duration_s() == Approx(seconds).margin(0.001));
  CHECK_FALSE(moved.truncated());
  CHECK(moved.notes().empty());
  CheckFails(moved.Samples(1), ErrorCode::kInvalidArgument, "signal: 0 to 0 wanted, got 1");
  CHECK(scratch.NumEntries() == 0);
}

TEST_CASE("DecodedClip: the digest is that of the file", "[decoded_clip]") {
  const TempFolder folder;
  const std::string path = WriteWav(folder.File("a.wav"), Noise(kSampleRateHz), kSampleRateHz, 1);
  const std::string digest = DecodedClip::Decode(path, KeepOn).value().sha256();
  CHECK(digest.size() == 64);
  std::FILE* const sum = ::popen(("sha256sum " + path).c_str(), "r");
  std::string expected(64, ' ');
  CHECK(std::fread(expected.data(), 1, 64, sum) == 64);
  ::pclose(sum);
  CHECK(digest == expected);
}

TEST_CASE("DecodedClip: channels that are multiples of each other are one sound, in the mean or the difference",
          "[decoded_clip]") {
  const TempFolder folder;
  const std::vector<float> sound = Noise(5 * kSampleRateHz);
  const std::vector<float> silence(sound.size());
  const auto channels = [&](const std::vector<float>& left, const std::vector<float>& right) {
    return ChannelsOf(DecodedClip::Decode(WriteStereo(folder, left, right), KeepOn).value());
  };
  const std::vector mean{Channel::kMean};
  CHECK((channels(sound, sound) == mean));
  CHECK((channels(sound, Times(0.4F, sound)) == mean));
  CHECK((channels(sound, silence) == mean));
  CHECK((channels(silence, sound) == mean));
  CHECK((channels(silence, silence) == mean));
  CHECK((channels(sound, Times(-1, sound)) == std::vector{Channel::kMean, Channel::kDifference}));
  // Within one second is enough.
  std::vector<float> turned = sound;
  for (std::size_t i = 3 * kSampleRateHz; i < 4 * kSampleRateHz; ++i) turned[i] *= -1;
  CHECK((channels(sound, turned) == std::vector{Channel::kMean, Channel::kDifference}));
}

TEST_CASE("DecodedClip: unlike channels give left and right again", "[decoded_clip]") {
  const TempFolder folder;
  const std::size_t seconds = GENERATE(4, 130);
  const std::vector<float> left = Noise(seconds * kSampleRateHz, 1);
  const std::vector<float> right = Noise(seconds * kSampleRateHz, 2);
  auto clip = DecodedClip::Decode(WriteStereo(folder, left, right), KeepOn);
  REQUIRE(clip);
  REQUIRE((ChannelsOf(*clip) == std::vector{Channel::kMean, Channel::kDifference, Channel::kLeft, Channel::kRight}));
  const auto got_right = clip->Samples(3).value();
  const auto got_left = clip->Samples(2).value();
  clip->ReleaseMemory();
  // Sixteen bits, rounded.
  CHECK(PowerOfRest(got_left, HalveRate(left)) < 1e-9);
  CHECK(PowerOfRest(got_right, HalveRate(right)) < 1e-9);
  CHECK(clip->Samples(2).value().data() == got_left.data());
}

TEST_CASE("DecodedClip: what another sound on one side must reach to count", "[decoded_clip]") {
  const TempFolder folder;
  const std::vector<float> sound = Noise(3 * kSampleRateHz);
  const auto num_signals = [&](float gain, float other_gain) {
    std::vector<float> right = Times(gain, sound);
    const std::vector<float> other = Times(other_gain, Noise(sound.size(), 2));
    for (std::size_t i = 0; i < right.size(); ++i) right[i] += other[i];
    return DecodedClip::Decode(WriteStereo(folder, Times(gain, sound), right), KeepOn).value().signals().size();
  };
  CHECK(num_signals(1, 0.03F) == 4);         // the difference is at -36 dB
  CHECK(num_signals(1, 0.01F) == 1);         // at -46 dB
  CHECK(num_signals(0.002F, 0.0002F) == 1);  // at -26 dB, but below -70 dBFS
}

std::string MakeTwoTracks(const TempFolder& folder, const std::string& name, const std::string& codecs) {
  WriteWav(folder.File("speech.wav"), Noise(2 * kSampleRateHz), kSampleRateHz, 1);
  const std::string silence = WriteWav(folder.File("silence.wav"), std::vector<float>(4 * kSampleRateHz), kSampleRateHz, 2);
  REQUIRE(Convert(silence, "-i " + folder.File("speech.wav") + " -map 0:a -map 1:a " + codecs, folder.File(name)));
  return folder.File(name);
}

TEST_CASE("DecodedClip: every track, also after a silent one", "[decoded_clip]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  std::vector<double> fractions;
  const std::string path = MakeTwoTracks(folder, "a.mkv", "-c:a libopus -b:a 96k");
  auto clip = DecodedClip::Decode(path, [&](double fraction) {
    fractions.push_back(fraction);
    return true;
  });
  REQUIRE(clip);
  REQUIRE(clip->signals().size() == 2);
  CHECK(clip->signals()[0].track == 0);
  CHECK(clip->signals()[1].track == 1);
  CHECK(clip->signals()[1].channel == Channel::kMean);
  CHECK(Power(clip->Samples(0).value()) < 1e-6);
  const std::vector<float> expected = HalveRate(ReadAll(path, 4096, {.track = 1}).value());
  CHECK((Copy(clip->Samples(1).value()) == expected));
  CHECK(clip->duration_s() == Approx(2).margin(0.05));
  CHECK(*std::max_element(fractions.begin(), fractions.end()) <= 1);
  CHECK(fractions.back() > 0.9);
}

TEST_CASE("DecodedClip: of tracks that are the same bit for bit one is kept", "[decoded_clip]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::size_t num_samples = 2 * kSampleRateHz;
  const std::string one = WriteWav(folder.File("one.wav"), Noise(num_samples), kSampleRateHz, 1);
  const std::string two = WriteWav(folder.File("two.wav"), Noise(num_samples, 2), kSampleRateHz, 1);
  std::vector<float> nearly = Noise(num_samples);
  nearly.back() += 0.25F;
  const std::string three = WriteWav(folder.File("three.wav"), nearly, kSampleRateHz, 1);
  std::vector<float> both;
  for (const float sample : Noise(num_samples)) both.insert(both.end(), {sample, -0.3F});
  const std::string stereo = WriteWav(folder.File("stereo.wav"), both, kSampleRateHz, 2);
  REQUIRE(Succeeds("ffmpeg -i " + one + " -i " + two + " -i " + three + " -i " + stereo +
                   " -map 0 -map 1 -map 0 -map 2 -map 3 -map 1 -map 3 -c copy " + folder.File("a.mkv")));
  auto clip = DecodedClip::Decode(folder.File("a.mkv"), KeepOn);
  REQUIRE(clip);
  std::vector<int> tracks;
  for (const auto& signal : clip->signals()) {
    if (signal.channel == Channel::kMean) tracks.push_back(signal.track);
  }
  std::sort(tracks.begin(), tracks.end());
  CHECK(tracks.size() == 4);
  REQUIRE(clip->notes().size() == 3);
  for (const std::string& note : clip->notes()) CHECK_THAT(note, Catch::Contains(" is the same as track "));
  REQUIRE(Succeeds("ffmpeg -y -i " + one + " -map 0 -map 0 -map 0 -map 0 -map 0 -map 0 -map 0 -map 0 -c copy " +
                   folder.File("a.mkv")));
  clip = DecodedClip::Decode(folder.File("a.mkv"), KeepOn);
  REQUIRE(clip);
  CHECK(clip->signals().size() == 1);
  CHECK(clip->notes() == std::vector<std::string>{"tracks 2, 3, 4, 5, 6 and 2 more are the same as track 1"});
}

TEST_CASE("DecodedClip: the best track comes first, and one that no decoder knows is a note", "[decoded_clip]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string path = MakeTwoTracks(folder, "a.mkv", "-c:a:0 pcm_s16le -c:a:1 flac");
  const std::string bytes = ReadBytes(path);
  CHECK(DecodedClip::Decode(path, KeepOn).value().signals().size() == 2);
  WriteBytes(path, std::string(bytes).replace(bytes.find("A_PCM/INT/LIT"), 13, "A_XYZ/INT/LIT"));
  auto clip = DecodedClip::Decode(path, KeepOn);
  REQUIRE(clip);
  REQUIRE(clip->signals().size() == 1);
  CHECK(clip->signals()[0].track == 1);
  REQUIRE(clip->notes().size() == 1);
  CHECK_THAT(clip->notes()[0], Catch::StartsWith("track 1 cannot be decoded: ") && !Catch::Contains("\n"));
}

TEST_CASE("DecodedClip: a clip that breaks off gives what is there, from one second on", "[decoded_clip]") {
  const TempFolder folder;
  const std::string path = WriteWav(folder.File("a.wav"), Noise(4 * kSampleRateHz), kSampleRateHz, 1);
  const std::string bytes = ReadBytes(path);
  WriteBytes(path, bytes.substr(0, bytes.size() / 2));
  auto clip = DecodedClip::Decode(path, KeepOn);
  REQUIRE(clip);
  CHECK(clip->truncated());
  CHECK((Copy(clip->Samples(0).value()) == HalveRate(ReadMonoClip(path, 60).value().samples)));
  WriteBytes(path, bytes.substr(0, bytes.size() / 5));
  CheckFails(DecodedClip::Decode(path, KeepOn), ErrorCode::kDataLoss, path + ": breaks off after ");
  CheckFails(DecodedClip::Decode(folder.File("none"), KeepOn), ErrorCode::kNotFound, "none");
  WriteBytes(path, "");
  CheckFails(DecodedClip::Decode(path, KeepOn), ErrorCode::kInvalidArgument, "is empty");
}

TEST_CASE("DecodedClip: joined recordings are one clip", "[decoded_clip]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  std::string bytes;
  for (const unsigned seed : {1U, 2U}) {
    WriteWav(folder.File("source.wav"), Noise(2 * kSampleRateHz, seed), kSampleRateHz, 1);
    REQUIRE(Convert(folder.File("source.wav"), "-c:a libopus -b:a 96k", folder.File("part.ogg")));
    bytes += ReadBytes(folder.File("part.ogg"));
  }
  WriteBytes(folder.File("a.ogg"), bytes);
  auto clip = DecodedClip::Decode(folder.File("a.ogg"), KeepOn);
  REQUIRE(clip);
  CHECK(clip->duration_s() == Approx(4).margin(0.01));
  CHECK((Copy(clip->Samples(0).value()) == HalveRate(ReadMonoClip(folder.File("a.ogg"), 60).value().samples)));
}

TEST_CASE("DecodedClip: it stops when it is told to, and leaves nothing", "[decoded_clip]") {
  const TempFolder folder;
  const TempFolder scratch;
  const TemporaryFilesIn there(scratch.File(""));
  const std::string path = WriteWav(folder.File("a.wav"), Noise(130 * kSampleRateHz), kSampleRateHz, 1);
  int num_asked = 0;
  REQUIRE(DecodedClip::Decode(path, [&](double) { return ++num_asked > 0; }));
  CHECK(num_asked > 500);
  for (const int stop_at : {1, 2, 300, num_asked}) {
    int num_asked_now = 0;
    CheckFails(DecodedClip::Decode(path, [&](double) { return ++num_asked_now < stop_at; }), ErrorCode::kCancelled, "cancelled");
    CHECK(num_asked_now == stop_at);
  }
  CHECK(scratch.NumEntries() == 0);
}

TEST_CASE("DecodedClip: a file that changes meanwhile is refused", "[decoded_clip]") {
  const TempFolder folder;
  const std::string path = WriteWav(folder.File("a.wav"), Noise(20 * kSampleRateHz), kSampleRateHz, 1);
  bool is_changed = false;
  const auto change = [&](double fraction) {
    if (fraction > 0.3 && !is_changed) std::ofstream(path, std::ios::app | std::ios::binary) << "more";
    is_changed = is_changed || fraction > 0.3;
    return true;
  };
  CheckFails(DecodedClip::Decode(path, change), ErrorCode::kUnavailable, path + " changed while it was read");
  // Another file under the same name is none of its business.
  const std::string digest = DecodedClip::Decode(path, KeepOn).value().sha256();
  int num_asked = 0;
  const auto replace = [&](double) {
    // Asked first before it is opened.
    if (++num_asked != 5) return true;
    WriteBytes(folder.File("b"), "other");
    std::filesystem::rename(folder.File("b"), path);
    return true;
  };
  CHECK(DecodedClip::Decode(path, replace).value().sha256() == digest);
  CHECK(ReadBytes(path) == "other");
}

TEST_CASE("DecodedClip: where there is no room it says how much is needed, and where", "[decoded_clip]") {
  const TempFolder folder;
  const TempFolder scratch;
  const TemporaryFilesIn there(scratch.File(""));
  const std::string path = WriteWav(folder.File("a.wav"), Noise(200 * kSampleRateHz), kSampleRateHz, 1);
  // A file that may not grow fails as one on a full disk does.
  rlimit kept{};
  ::getrlimit(RLIMIT_FSIZE, &kept);
  const auto kept_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit = kept;
  limit.rlim_cur = 1 << 20;
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const auto clip = DecodedClip::Decode(path, KeepOn);
  ::setrlimit(RLIMIT_FSIZE, &kept);
  std::signal(SIGXFSZ, kept_handler);
  CheckFails(clip, ErrorCode::kResourceExhausted, scratch.File(""));
  CHECK_THAT(clip.error().message, Catch::Contains("0.1 hours need 0.0 GB there: make room, or set TMPDIR"));
  CHECK(scratch.NumEntries() == 0);
}

// Not run unasked: EARMARK_CLIP=FILE unit_tests "[decode_speed]" under /usr/bin/time -v.
TEST_CASE("DecodedClip: time and memory of one file", "[.decode_speed]") {
  const char* const path = std::getenv("EARMARK_CLIP");
  REQUIRE(path != nullptr);
  auto clip = DecodedClip::Decode(path, KeepOn);
  if (!clip) FAIL(clip.error().message);
  std::printf("%.1f s, %zu signals, sha256 %s\n", clip->duration_s(), clip->signals().size(), clip->sha256().c_str());
}

}  // namespace
}  // namespace earmark
