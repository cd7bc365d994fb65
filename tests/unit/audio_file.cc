#include "dsp/media/audio_file.h"

#include <fcntl.h>
#include <sndfile.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>

#include "dsp/core/stream_format.h"
#include "tests/unit/media_files.h"
#include "tests/unit/temp_folder.h"

namespace earmark {
namespace {

constexpr double kPi = 3.14159265358979323846;

std::string WriteFloatWav(const std::string& path, const std::vector<float>& samples, int sample_rate_hz, int num_channels) {
  SF_INFO format{};
  format.samplerate = sample_rate_hz;
  format.channels = num_channels;
  format.format = SF_FORMAT_WAV | SF_FORMAT_FLOAT;
  SNDFILE* const file = sf_open(path.c_str(), SFM_WRITE, &format);
  REQUIRE(file != nullptr);
  sf_write_float(file, samples.data(), static_cast<sf_count_t>(samples.size()));
  sf_close(file);
  return path;
}

// What the process prints, whichever library does it, while this lives.
class CapturedOutput {
 public:
  explicit CapturedOutput(const std::string& path) : path_(path) {
    std::fflush(nullptr);
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < 2; ++i) {
      kept_[i] = ::dup(i + 1);
      ::dup2(file, i + 1);
    }
    ::close(file);
  }
  CapturedOutput(const CapturedOutput&) = delete;
  CapturedOutput& operator=(const CapturedOutput&) = delete;
  ~CapturedOutput() { Restore(); }
  std::string Take() {
    Restore();
    return ReadBytes(path_);
  }

 private:
  void Restore() {
    std::fflush(nullptr);
    for (int i = 0; i < 2; ++i) {
      if (kept_[i] < 0) continue;
      ::dup2(kept_[i], i + 1);
      ::close(kept_[i]);
      kept_[i] = -1;
    }
  }
  std::string path_;
  int kept_[2];
};

TEST_CASE("WavWriter: 16-bit samples survive writing and reading unchanged, louder ones are clipped", "[audio_file]") {
  const TempFolder folder;
  std::vector<float> samples;
  for (int i = -32768; i < 32768; ++i) samples.push_back(static_cast<float>(i) / 32768.0F);
  std::vector<float> louder = samples;
  louder.insert(louder.end(),
                {1.0F, 7.0F, -7.0F, 1e30F, std::numeric_limits<float>::infinity(), NAN, 0.4F / 32768, -0.6F / 32768});
  WriteWav(folder.File("a.wav"), louder, 48000, 1);
  samples.insert(samples.end(),
                 {32767.0F / 32768, 32767.0F / 32768, -1.0F, 32767.0F / 32768, 32767.0F / 32768, 0, 0, -1.0F / 32768});
  CHECK(ReadAll(folder.File("a.wav"), 1000).value() == samples);
  CHECK(ReadBytes(folder.File("a.wav")).substr(0, 4) == "RIFF");  // RF64 is for long files only
  CHECK(folder.NumEntries() == 1);
}

TEST_CASE("WavWriter: a file appears whole, under its name and replacing the old one, or not at all", "[audio_file]") {
  const TempFolder folder;
  const std::string path = folder.File("a.wav");
  WriteBytes(path, "old");
  {
    auto writer = WavWriter::Create(path, 48000, 2);
    REQUIRE(writer);
    REQUIRE((*writer)->Write(std::vector<float>(96000)));
    CheckFails((*writer)->Write(std::vector<float>(3)), ErrorCode::kInvalidArgument, "multiple of 2");
    CHECK(ReadBytes(path) == "old");
  }
  CHECK(ReadBytes(path) == "old");
  CHECK(folder.NumEntries() == 1);

  REQUIRE(::symlink("a.wav", folder.File("link").c_str()) == 0);
  WriteWav(folder.File("link"), Noise(100), 48000, 1);
  CHECK(std::filesystem::is_symlink(folder.File("link")));  // what it points to is replaced
  CHECK(ReadAll(path, 64).value().size() == 100);

  auto writer = WavWriter::Create(path, 48000, 1);
  REQUIRE((*writer)->Finish());
  CheckFails((*writer)->Finish(), ErrorCode::kFailedPrecondition, "finished");
  CheckFails((*writer)->Write(Noise(1)), ErrorCode::kFailedPrecondition, "finished");
  CheckFails(AudioReader::Open(path), ErrorCode::kInvalidArgument, "holds no audio samples");
}

TEST_CASE("WavWriter: places that cannot be written are named", "[audio_file]") {
  const TempFolder folder;
  CheckFails(WavWriter::Create(folder.File("none/a.wav"), 48000, 1), ErrorCode::kNotFound, "its folder does not exist");
  CheckFails(WavWriter::Create(folder.File(""), 48000, 1), ErrorCode::kInvalidArgument, "is a folder");
  CheckFails(WavWriter::Create("/dev/null", 48000, 1), ErrorCode::kInvalidArgument, "/dev/null is a device");
  CheckFails(WavWriter::Create(folder.File("a.wav"), 48000, 0), ErrorCode::kInvalidArgument, "0 channels");
  CheckFails(WavWriter::Create(folder.File("a.wav"), -1, 1), ErrorCode::kInvalidArgument, "-1 Hz");
  CHECK(folder.NumEntries() == 0);
}

TEST_CASE("WavWriter: a full disk is an error, and leaves nothing behind", "[audio_file]") {
  const TempFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    // A limit of the file size stands in for a full disk. It is the whole process's, hence the fork.
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100000, 100000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto writer = WavWriter::Create(folder.File("a.wav"), 48000, 1);
    const Result<void> written = writer ? (*writer)->Write(Noise(96000)) : Pass(writer);
    const bool is_right = !written && written.error().code == ErrorCode::kResourceExhausted;
    if (writer) writer->reset();
    ::_exit(is_right ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(folder.NumEntries() == 0);
}

TEST_CASE("AudioReader: at every rate, sample 0 stays time 0 and the level stays", "[audio_file]") {
  const TempFolder folder;
  const int rate_hz = GENERATE(8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000, 192000);
  std::vector<float> samples(static_cast<std::size_t>(rate_hz));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i] = static_cast<float>(0.5 * std::sin(2 * kPi * 440 * static_cast<double>(i) / rate_hz));
  }
  WriteWav(folder.File("a.wav"), samples, rate_hz, 1);
  const std::vector<float> read = ReadAll(folder.File("a.wav"), 777).value();
  CHECK(std::abs(static_cast<int>(read.size()) - kSampleRateHz) <= 1);
  double worst = 0;
  // A filter rings at the cut ends.
  for (std::size_t i = 2400; i + 2400 < read.size(); ++i) {
    worst = std::max(worst, std::abs(read[i] - 0.5 * std::sin(2 * kPi * 440 * static_cast<double>(i) / kSampleRateHz)));
  }
  CHECK(worst < 1e-3);
  CHECK(AudioReader::Open(folder.File("a.wav")).value()->info().sample_rate_hz == rate_hz);
}

TEST_CASE("AudioReader: the samples do not depend on the block size", "[audio_file]") {
  const TempFolder folder;
  const int rate_hz = GENERATE(44100, 48000);
  WriteWav(folder.File("a.wav"), Noise(40000), rate_hz, 2);
  const std::vector<float> expected = ReadAll(folder.File("a.wav"), 100000).value();
  for (const std::size_t block_frames : {1, 13, 480, 4096, 5000})
    CHECK(ReadAll(folder.File("a.wav"), block_frames).value() == expected);
}

TEST_CASE("AudioReader: rates out of range are refused", "[audio_file]") {
  const TempFolder folder;
  for (const int rate_hz : {1, 4000, 7999, 192001, 384000}) {
    CheckFails(AudioReader::Open(WriteWav(folder.File("a.wav"), Noise(1000), rate_hz, 1)), ErrorCode::kInvalidArgument,
               "8000 to 192000 Hz wanted, got " + std::to_string(rate_hz));
  }
}

TEST_CASE("AudioReader: not-a-number and infinity become 0, floats beyond full scale stay", "[audio_file]") {
  const TempFolder folder;
  const float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> strange = {0.5F, NAN, kInf, -kInf, 3.0F, -2.5F};
  CHECK(ReadAll(WriteFloatWav(folder.File("a.wav"), strange, 48000, 1), 100).value() ==
        std::vector<float>{0.5F, 0, 0, 0, 3.0F, -2.5F});

  std::vector<float> resampled = Noise(20000);
  for (std::size_t i = 0; i < resampled.size(); i += 7) resampled[i] = strange[1 + i % 3];
  for (std::size_t i = 3; i < resampled.size(); i += 1001) resampled[i] = 3e38F;
  const std::vector<float> read = ReadAll(WriteFloatWav(folder.File("b.wav"), resampled, 44100, 2), 100).value();
  CHECK(std::all_of(read.begin(), read.end(), [](float sample) { return std::isfinite(sample); }));
}

TEST_CASE("AudioReader: one and two channels stay, more become two within full scale", "[audio_file]") {
  const TempFolder folder;
  const int num_channels = GENERATE(1, 2, 3, 4, 6, 8, 12, 24, 64);
  CAPTURE(num_channels);
  // Left and right alike in all channels: whatever the weights, so must the mix be, and not louder.
  std::vector<float> samples;
  for (const float sample : Noise(5000)) samples.insert(samples.end(), static_cast<std::size_t>(num_channels), sample);
  auto reader = AudioReader::Open(WriteFloatWav(folder.File("a.wav"), samples, 48000, num_channels));
  REQUIRE(reader);
  CHECK((*reader)->info().num_channels == num_channels);
  CHECK((*reader)->num_channels() == std::min(num_channels, 2));
  const std::vector<float> read = ReadAll(folder.File("a.wav"), 480).value();
  REQUIRE(read.size() == static_cast<std::size_t>(5000 * std::min(num_channels, 2)));
  if (num_channels <= 2) CHECK(read == samples);
  const std::vector<float> noise = Noise(5000);
  double gain = 0, power = 0;
  for (std::size_t i = 0; i < read.size(); ++i) {
    gain += read[i] * noise[i * 5000 / read.size()];
    power += noise[i * 5000 / read.size()] * noise[i * 5000 / read.size()];
  }
  CHECK(gain / power > 0.5);
  CHECK(gain / power < 1.001);
}

TEST_CASE("AudioReader: more than 64 channels are refused, as is room for half a frame", "[audio_file]") {
  const TempFolder folder;
  CheckFails(AudioReader::Open(WriteFloatWav(folder.File("a.wav"), std::vector<float>(6500), 48000, 65)),
             ErrorCode::kInvalidArgument, "a.wav");
  auto reader = AudioReader::Open(WriteWav(folder.File("b.wav"), std::vector<float>(6500), 48000, 2));
  std::vector<float> odd(5);
  CheckFails((*reader)->Read(odd), ErrorCode::kInvalidArgument, "multiple of 2");
}

struct Format {
  const char* name;
  const char* options;
  int max_extra;  // samples more than went in: padding that the container does not mark
  int max_lag;
};

const Format kFormats[] = {
    {"a.wav", "", 0, 0},
    {"ulaw.wav", "-c:a pcm_mulaw", 0, 0},
    {"s24.wav", "-c:a pcm_s24le", 0, 0},
    {"adpcm.wav", "-c:a adpcm_ms", 2048, 0},
    {"mp3.wav", "-c:a libmp3lame", 3000, 1105},
    {"rf64.wav", "-rf64 always", 0, 0},
    {"a.w64", "", 1, 0},
    {"a.aiff", "", 0, 0},
    {"a.au", "", 0, 0},
    {"a.caf", "", 0, 0},
    {"a.flac", "", 0, 0},
    {"a.ogg", "-c:a libvorbis", 0, 0},
    {"flac.ogg", "-c:a flac", 0, 0},
    {"a.opus", "-c:a libopus -b:a 96k", 0, 0},
    {"a.mp3", "-c:a libmp3lame -b:a 128k", 0, 0},
    {"vbr.mp3", "-c:a libmp3lame -q:a 4", 0, 0},
    {"44100.mp3", "-ar 44100 -c:a libmp3lame", 2, 0},
    {"noxing.mp3", "-c:a libmp3lame -write_xing 0", 3000, 1105},
    {"a.m4a", "-c:a aac", 1024, 0},
    {"fast.mp4", "-c:a aac -movflags +faststart", 1024, 0},
    {"frag.mp4", "-c:a aac -movflags frag_keyframe+empty_moov+default_base_moof -frag_duration 500000", 2048, 1024},
    {"alac.m4a", "-c:a alac", 0, 0},
    {"a.webm", "-c:a libopus -b:a 96k", 0, 0},
    {"vorbis.webm", "-c:a libvorbis", 100, 0},
    {"a.mkv", "-c:a aac", 2048, 1100},
    {"vorbis.mkv", "-c:a libvorbis", 100, 48},
    {"opus.mkv", "-c:a libopus -b:a 96k", 100, 48},
    {"ac3.mkv", "-c:a ac3", 3000, 300},
    {"a.mka", "-c:a flac", 0, 48},
    {"pcm.mka", "-c:a pcm_s16le", 0, 48},
    {"a.aac", "-c:a aac", 2048, 1024},
    {"a.3gp", "-c:a aac", 1024, 0},
    {"a.mov", "-c:a pcm_s16le", 0, 0},
    {"a.flv", "-c:a libmp3lame -ar 44100", 3500, 1300},
    {"a.wv", "-c:a wavpack", 0, 0},
    {"a.ts", "-c:a mp2 -b:a 192k", 2048, 481},
    {"a.wma", "-c:a wmav2 -b:a 128k", 4096, 2048},
    {"a.avi", "-c:a libmp3lame", 3000, 1105},
    {"a.gsm", "-ar 8000 -c:a libgsm", 2000, 2},
};

TEST_CASE("AudioReader: what people post is read whole and in time", "[audio_file]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::vector<float> noise = Noise(2 * kSampleRateHz + 123);
  WriteWav(folder.File("source.wav"), noise, kSampleRateHz, 1);
  for (const Format& format : kFormats) {
    CAPTURE(format.name);
    const std::string path = folder.File(format.name);
    if (!Convert(folder.File("source.wav"), format.options, path)) {
      WARN("this ffmpeg cannot write " << format.name << ": skipped");
      continue;
    }
    CapturedOutput output(folder.File("output"));
    const Result<MonoClip> clip = ReadMonoClip(path, 60);
    CHECK(output.Take() == "");
    REQUIRE(clip);
    CHECK_FALSE(clip->truncated);
    const auto num_extra = static_cast<int>(clip->samples.size()) - static_cast<int>(noise.size());
    CHECK(num_extra <= format.max_extra);
    CHECK(num_extra >= (format.max_lag == 2048 ? -2048 : 0));  // FFmpeg's WMA begins a frame late
    const Match match = FindLag(noise, clip->samples);
    CHECK(std::abs(match.lag) <= format.max_lag);
    CHECK(match.correlation > 0.9);
    const auto reader = AudioReader::Open(path);
    CHECK((*reader)->info().num_channels == 1);
    CHECK_FALSE((*reader)->info().format.empty());
    if ((*reader)->info().duration_s >= 0) CHECK((*reader)->info().duration_s == Approx(2.0).margin(0.1));
  }
}

TEST_CASE("AudioReader: AMR, which phones record, is read", "[audio_file]") {
  const TempFolder folder;
  std::string amr = "#!AMR\n";
  for (int i = 0; i < 100; ++i) amr += std::string("\x04", 1) + std::string(12, static_cast<char>(i));
  WriteBytes(folder.File("a.amr"), amr);
  const Result<MonoClip> clip = ReadMonoClip(folder.File("a.amr"), 60);
  REQUIRE(clip);
  CHECK(clip->samples.size() == Approx(100 * 960).margin(960));
}

TEST_CASE("AudioReader: the sound of a video is read, its pictures are not", "[audio_file]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  WriteWav(folder.File("source.wav"), Noise(48000), kSampleRateHz, 2);
  const std::string video = "-f lavfi -i testsrc=duration=1:size=64x64:rate=5 ";
  REQUIRE(Convert(folder.File("source.wav"), video + "-c:v mpeg4 -c:a aac", folder.File("a.mp4")));
  REQUIRE(Convert(folder.File("source.wav"), video + "-c:v mpeg4 -an", folder.File("mute.mp4")));
  REQUIRE(Convert(folder.File("source.wav"), video + "-map 1:v -frames:v 1", folder.File("a.png")));
  REQUIRE(Convert(folder.File("source.wav"), video + "-map 1:v -frames:v 1", folder.File("a.jpg")));
  REQUIRE(Convert(folder.File("source.wav"), video + "-map 1:v", folder.File("a.gif")));
  const auto reader = AudioReader::Open(folder.File("a.mp4"));
  REQUIRE(reader);
  CHECK((*reader)->num_channels() == 2);
  CHECK(ReadMonoClip(folder.File("a.mp4"), 10).value().samples.size() == Approx(24000).margin(1100));
  CheckFails(AudioReader::Open(folder.File("mute.mp4")), ErrorCode::kInvalidArgument, "mute.mp4 is a video without sound");
  CheckFails(AudioReader::Open(folder.File("a.png")), ErrorCode::kInvalidArgument, "a.png is a picture (png), not audio");
  CheckFails(AudioReader::Open(folder.File("a.jpg")), ErrorCode::kInvalidArgument, "a.jpg is a picture");
  CheckFails(AudioReader::Open(folder.File("a.gif")), ErrorCode::kInvalidArgument, "a.gif is a picture (gif)");
}

TEST_CASE("AudioReader: time that a file leaves out is silence, so that the rest keeps its time", "[audio_file]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::vector<float> noise = Noise(3 * kSampleRateHz);
  WriteWav(folder.File("source.wav"), noise, kSampleRateHz, 1);

  // Time stamps that jump ahead by half a second after the first one.
  REQUIRE(Convert(folder.File("source.wav"), "-af \"asetpts='PTS+if(gt(T,1),0.5/TB,0)'\" -c:a flac", folder.File("gap.mka")));
  std::vector<float> samples = ReadMonoClip(folder.File("gap.mka"), 60).value().samples;
  CHECK(samples.size() == Approx(3.5 * kSampleRateHz).margin(100));
  samples.erase(samples.begin(), samples.begin() + kSampleRateHz / 2);
  CHECK(std::abs(FindLag(noise, samples).lag) <= 48);  // Matroska counts in milliseconds

  // Zeros in the middle.
  REQUIRE(Convert(folder.File("source.wav"), "-c:a flac", folder.File("a.flac")));
  std::string bytes = ReadBytes(folder.File("a.flac"));
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() / 5), 3000, '\0');
  WriteBytes(folder.File("a.flac"), bytes);
  const MonoClip damaged = ReadMonoClip(folder.File("a.flac"), 60).value();
  CHECK(damaged.samples.size() == noise.size());
  CHECK(FindLag(noise, damaged.samples).lag == 0);
  CHECK(FindLag(noise, damaged.samples).correlation > 0.999);
}

TEST_CASE("AudioReader: what is not audio is refused in one line that says so", "[audio_file]") {
  const TempFolder folder;
  const auto check = [&](const std::string& name, const std::string& bytes, const std::string& fragment) {
    WriteBytes(folder.File(name), bytes);
    CheckFails(AudioReader::Open(folder.File(name)), ErrorCode::kInvalidArgument, folder.File(name) + fragment);
    CheckFails(ReadMonoClip(folder.File(name), 10), ErrorCode::kInvalidArgument, folder.File(name) + fragment);
  };
  CapturedOutput output(folder.File("output"));
  check("empty.wav", "", " is empty");
  check("one_byte.wav", "R", "");
  check("header.wav", "RIFF\x24\0\0\0WAVE", "");
  check("zeros.wav", std::string(10000, '\0'), "");
  check("notes.txt", "Dear all,\nthis is only text.\n", "");
  check("a.pdf", "%PDF-1.4\n%", " is a PDF document, not audio");
  check("a.zip", std::string("PK\x03\x04") + std::string(100, 'x'), " is a ZIP archive");
  check("page.mp3", "<html><body>404</body></html>", " is a web page, not audio");
  check("a.m4a",
        std::string("\0\0\0\x1c"
                    "ftypM4A \0\0\x02\0isomiso2mp41\0\0\0\x08mdat",
                    36) +
            std::string(5000, 'x'),
        ": looks like");
  CHECK(output.Take() == "");

  CheckFails(AudioReader::Open(folder.File("none.wav")), ErrorCode::kNotFound, "none.wav: no such file");
  CheckFails(AudioReader::Open(folder.File("")), ErrorCode::kInvalidArgument, " is a folder, not a file");
  REQUIRE(::mkfifo(folder.File("fifo.wav").c_str(), 0600) == 0);
  CheckFails(AudioReader::Open(folder.File("fifo.wav")), ErrorCode::kInvalidArgument, " is a pipe");
  CheckFails(AudioReader::Open("/dev/zero"), ErrorCode::kInvalidArgument, " is a device");
}

TEST_CASE("AudioReader: a file that this user may not read is kPermissionDenied", "[audio_file]") {
  const TempFolder folder;
  WriteWav(folder.File("a.wav"), Noise(1000), 48000, 1);
  ::chmod(folder.File("a.wav").c_str(), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    // Permissions do not stop root.
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(2);
    const auto reader = AudioReader::Open(folder.File("a.wav"));
    ::_exit(!reader && reader.error().code == ErrorCode::kPermissionDenied ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("AudioReader: a playlist opens no other file", "[audio_file]") {
  const TempFolder folder;
  const std::string wav = WriteWav(folder.File("secret.wav"), Noise(48000), 48000, 1);
  const std::pair<const char*, std::string> playlists[] = {
      {"a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + wav + "\n#EXT-X-ENDLIST\n"},
      {"b.mp3", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://" + wav + "\n#EXT-X-ENDLIST\n"},
      {"c.txt", "ffconcat version 1.0\nfile secret.wav\n"},
      {"d.wav", "  \nffconcat version 1.0\nfile secret.wav\n"},
      {"e.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"},
      {"f.mpd", "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"></MPD>"},
      {"g.mpd", "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"></MPD>"},
  };
  for (const auto& [name, text] : playlists) {
    CAPTURE(name);
    WriteBytes(folder.File(name), text);
    CheckFails(AudioReader::Open(folder.File(name)), ErrorCode::kInvalidArgument, name);
  }
}

TEST_CASE("ReadMonoClip: the mean of two channels, within the bound of length", "[audio_file]") {
  const TempFolder folder;
  std::vector<float> samples;
  for (int i = 0; i < 48000; ++i) samples.insert(samples.end(), {0.5F, static_cast<float>(i % 100) / 128});
  WriteWav(folder.File("a.wav"), samples, 48000, 2);
  const MonoClip clip = ReadMonoClip(folder.File("a.wav"), 1.0).value();
  REQUIRE(clip.samples.size() == 48000);
  CHECK_FALSE(clip.truncated);
  CHECK(clip.samples[164] == 0.5F);
  CheckFails(ReadMonoClip(folder.File("a.wav"), 0.9), ErrorCode::kResourceExhausted, "is longer than 0.9 s");
}

TEST_CASE("ReadMonoClip: a clip that breaks off gives what is there, from one second on", "[audio_file]") {
  const TempFolder folder;
  const std::vector<float> noise = Noise(4 * kSampleRateHz);
  const std::string wav = WriteWav(folder.File("source.wav"), noise, kSampleRateHz, 1);
  const std::pair<const char*, const char*> formats[] = {{"a.wav", ""},
                                                         {"a.aiff", ""},
                                                         {"rf64.wav", "-rf64 always"},
                                                         {"a.w64", ""},
                                                         {"a.au", ""},
                                                         {"a.flac", ""},
                                                         {"a.mp3", "-c:a libmp3lame"},
                                                         {"a.mp4", "-c:a aac -b:a 128k -movflags +faststart"},
                                                         {"a.webm", "-c:a libopus -b:a 128k"}};
  for (const auto& [name, options] : formats) {
    CAPTURE(name);
    const bool is_source = std::string(name) == "a.wav";
    if (!is_source && !HasFfmpeg()) return;
    const std::string path = folder.File(name);
    if (is_source) WriteBytes(path, ReadBytes(wav));
    if (!is_source) REQUIRE(Convert(wav, options, path));
    const std::string bytes = ReadBytes(path);

    WriteBytes(path, bytes.substr(0, bytes.size() * 6 / 10));
    const Result<MonoClip> clip = ReadMonoClip(path, 60);
    REQUIRE(clip);
    CHECK(clip->truncated);
    CHECK(clip->samples.size() > 1.5 * kSampleRateHz);
    CHECK(clip->samples.size() < 3.2 * kSampleRateHz);
    CheckFails(ReadAll(path, 4096), ErrorCode::kDataLoss, path + ": breaks off after ");

    WriteBytes(path, bytes.substr(0, bytes.size() * 2 / 10));
    CHECK_FALSE(ReadMonoClip(path, 60));
  }
}

TEST_CASE("AudioReader: files of plain samples that are whole are not said to break off", "[audio_file]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string wav = WriteWav(folder.File("source.wav"), Noise(kSampleRateHz), kSampleRateHz, 1);
  const std::pair<const char*, const char*> formats[] = {
      {"rf64.wav", "-rf64 always"}, {"a.w64", ""}, {"a.caf", ""}, {"a.au", ""}, {"a.aiff", ""}, {"a24.aiff", "-c:a pcm_s24be"},
      {"alaw.wav", "-c:a pcm_alaw"}};
  for (const auto& [name, options] : formats) {
    CAPTURE(name);
    REQUIRE(Convert(wav, options, folder.File(name)));
    CHECK(ReadAll(folder.File(name), 4096).value().size() == kSampleRateHz);
  }
  // Of a pipe nobody goes back to say how long it became.
  REQUIRE(Convert(wav, "-f w64 -seekable 0", folder.File("pipe.w64")));
  CHECK(ReadAll(folder.File("pipe.w64"), 4096).value().size() == kSampleRateHz);
}

// A file that ffmpeg makes; nothing if this build of it cannot.
std::string Made(const TempFolder& folder, const char* extension, const char* options) {
  const std::string wav = WriteWav(folder.File("source.wav"), Noise(6 * kSampleRateHz), kSampleRateHz, 1);
  const std::string path = folder.File(std::string("made.") + extension);
  REQUIRE(Convert(wav, options, path));
  return ReadBytes(path);
}

TEST_CASE("AudioReader: Ogg and Matroska that are cut anywhere break off, whole ones do not", "[audio_file]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const auto [extension, options] =
      GENERATE(std::pair("opus", "-c:a libopus -b:a 64k"), std::pair("ogg", "-c:a libvorbis"), std::pair("oga", "-c:a flac"),
               std::pair("webm", "-c:a libopus -b:a 64k"), std::pair("mka", "-c:a flac"),
               std::pair("mkv", "-c:a aac -cluster_time_limit 500"),
               std::pair("mkv", "-f lavfi -i testsrc=size=64x64:duration=6 -c:v mpeg4 -c:a libopus"),
               std::pair("ogv", "-f lavfi -i testsrc=size=64x64:duration=6 -c:v libtheora -c:a libvorbis"));
  CAPTURE(extension, options);
  const std::string bytes = Made(folder, extension, options);
  const std::string path = folder.File(std::string("a.") + extension);
  WriteBytes(path, bytes);
  CHECK(ReadAll(path, 4096));
  CHECK_FALSE(ReadMonoClip(path, 60).value().truncated);
  for (const double share : {0.5, 0.75, 0.9, 0.99}) {
    CAPTURE(share);
    WriteBytes(path, bytes.substr(0, static_cast<std::size_t>(share * static_cast<double>(bytes.size()))));
    CheckFails(ReadAll(path, 4096), ErrorCode::kDataLoss, path + ": breaks off after ");
    const auto clip = ReadMonoClip(path, 60);
    REQUIRE(clip);
    CHECK(clip->truncated);
    CHECK(clip->samples.size() > static_cast<std::size_t>(kSampleRateHz));
  }
  WriteBytes(path, bytes.substr(0, bytes.size() - 1));
  CheckFails(ReadAll(path, 4096), ErrorCode::kDataLoss, path + ": breaks off after ");
}

TEST_CASE("AudioReader: live Matroska, which does not say how long it is, ends where the file does", "[audio_file]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string wav = WriteWav(folder.File("source.wav"), Noise(6 * kSampleRateHz), kSampleRateHz, 1);
  const auto [extension, options] =
      GENERATE(std::pair("webm", "-c:a libopus -live 1"), std::pair("mka", "-c:a flac -live 1"),
               std::pair("webm", "-c:a libopus -seekable 0"), std::pair("mka", "-c:a flac -seekable 0"));
  CAPTURE(extension, options);
  const std::string path = folder.File(std::string("a.") + extension);
  REQUIRE(Convert(wav, options, path));
  CHECK(ReadAll(path, 4096));
  CHECK_FALSE(ReadMonoClip(path, 60).value().truncated);
  const std::string bytes = ReadBytes(path);
  for (const std::string& tail : {std::string("TAG") + std::string(125, ' '), std::string(5000, '\0'), std::string(100, 'x')}) {
    WriteBytes(path, bytes + tail);
    CHECK_FALSE(ReadMonoClip(path, 60).value().truncated);
  }
  // Cut within a block: that one is lost.
  WriteBytes(path, bytes.substr(0, bytes.size() - 1));
  CHECK(ReadMonoClip(path, 60).value().truncated);
}

// The size of an element that does not say how long it is: all ones, in so many bytes.
std::string UnknownSize(std::size_t num_bytes) {
  std::string size(num_bytes, '\xff');
  size.front() = static_cast<char>(0xff >> (num_bytes - 1));
  return size;
}

// Browsers leave the clusters open, too.
std::string WithOpenElements(std::string bytes) {
  for (const std::string& id : {std::string("\x18\x53\x80\x67"), std::string("\x1f\x43\xb6\x75")}) {
    for (std::size_t at = bytes.find(id); at != std::string::npos; at = bytes.find(id, at + 1)) {
      std::size_t num_bytes = 1;
      while ((static_cast<unsigned char>(bytes[at + 4]) & (0x80U >> (num_bytes - 1))) == 0) ++num_bytes;
      bytes.replace(at + 4, num_bytes, UnknownSize(num_bytes));
    }
  }
  return bytes;
}

TEST_CASE("AudioReader: WebM as browsers record it is whole, wherever between blocks it ends", "[audio_file]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string bytes = WithOpenElements(Made(folder, "webm", "-c:a libopus -b:a 64k -live 1"));
  const std::string path = folder.File("a.webm");
  WriteBytes(path, bytes);
  CHECK_FALSE(ReadMonoClip(path, 60).value().truncated);
  const std::size_t block = bytes.find("\xa3", bytes.size() * 3 / 4);  // a SimpleBlock, or a byte that looks like one
  REQUIRE(block != std::string::npos);
  int num_whole = 0;
  int num_cut = 0;
  for (std::size_t end = block; end < std::min(block + 400, bytes.size()); ++end) {
    WriteBytes(path, bytes.substr(0, end));
    ++(ReadMonoClip(path, 60).value().truncated ? num_cut : num_whole);
  }
  CHECK(num_whole >= 1);  // a block is some 160 bytes long
  CHECK(num_whole <= 12);
  CHECK(num_cut > 300);
}

TEST_CASE("AudioReader: an Ogg recording without a last page is mended by copying it", "[audio_file]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const std::string bytes = Made(folder, "ogg", "-c:a libvorbis");
  const std::string path = folder.File("a.ogg");
  WriteBytes(path, bytes.substr(0, bytes.rfind("OggS")));
  CheckFails(ReadAll(path, 4096), ErrorCode::kDataLoss,
             "no page says that it is the last; if all of it is there, `ffmpeg -i IN -c copy OUT`");
  REQUIRE(Convert(path, "-c copy", folder.File("b.ogg")));
  CHECK(ReadAll(folder.File("b.ogg"), 4096));
}

TEST_CASE("AudioReader: plain PCM that promises more than there is breaks off, whoever decodes it", "[audio_file]") {
  if (!HasFfmpeg()) return;
  const TempFolder folder;
  const auto [extension, options] =
      GENERATE(std::pair("caf", "-c:a pcm_s16be"), std::pair("wav", "-c:a adpcm_g726 -ar 8000"),
               std::pair("aiff", "-c:a pcm_s16be"), std::pair("w64", "-c:a pcm_s16le"), std::pair("au", "-c:a pcm_s16be"));
  CAPTURE(extension, options);
  const std::string bytes = Made(folder, extension, options);
  const std::string path = folder.File(std::string("a.") + extension);
  WriteBytes(path, bytes);
  CHECK_FALSE(ReadMonoClip(path, 60).value().truncated);
  WriteBytes(path, bytes.substr(0, bytes.size() * 6 / 10));
  CheckFails(ReadAll(path, 4096), ErrorCode::kDataLoss, path + ": breaks off after ");
  CHECK(ReadMonoClip(path, 60).value().truncated);
}

TEST_CASE("AudioReader: WAV of recorders that were killed or wrote to a pipe is whole", "[audio_file]") {
  const TempFolder folder;
  const std::string bytes = ReadBytes(WriteWav(folder.File("a.wav"), Noise(48000), kSampleRateHz, 1));
  const std::size_t size_at = bytes.find("data") + 4;
  for (const std::string& size : {std::string(4, '\xff'), std::string("\0\xf0\xff\x7f", 4), std::string(4, '\0')}) {
    std::string changed = bytes;
    changed.replace(size_at, 4, size);
    WriteBytes(folder.File("b.wav"), changed);
    const MonoClip clip = ReadMonoClip(folder.File("b.wav"), 60).value();
    CHECK(clip.samples.size() == 48000);
    CHECK_FALSE(clip.truncated);
  }
}

// Every way to read the file ends, in samples or in an error, and the samples are numbers.
void CheckSurvives(const std::string& path) {
  const Result<MonoClip> clip = ReadMonoClip(path, 300);
  if (!clip) {
    CHECK_THAT(clip.error().message, Catch::Contains(path) && !Catch::Contains("\n"));
    CHECK(clip.error().code != ErrorCode::kInternal);
    return;
  }
  CHECK(std::all_of(clip->samples.begin(), clip->samples.end(), [](float sample) { return std::isfinite(sample); }));
}

// `round` chooses the damage: a cut, changed bytes near the beginning or anywhere, or a stretch that is missing, zero or doubled.
std::string Damage(std::string bytes, unsigned round) {
  std::mt19937 random(round);
  const auto place = [&](std::size_t end) { return static_cast<std::size_t>(random()) % std::max<std::size_t>(1, end); };
  const std::size_t begin = place(bytes.size());
  const std::size_t length = std::min(place(2000), bytes.size() - begin);
  switch (round % 6) {
    case 0:
      return bytes.substr(0, begin);
    case 1:
      for (int i = 0; i < 4; ++i) bytes[place(std::min<std::size_t>(bytes.size(), 400))] = static_cast<char>(random());
      return bytes;
    case 2:
      for (int i = 0; i < 30; ++i) bytes[place(bytes.size())] = static_cast<char>(random());
      return bytes;
    case 3:
      return bytes.erase(begin, length);
    case 4:
      return bytes.replace(begin, length, length, round % 12 == 4 ? '\0' : '\xff');
    default:
      return bytes.insert(begin, bytes.substr(begin, length));
  }
}

TEST_CASE("AudioReader: damaged files of every format end in samples or an error, and print nothing", "[audio_file]") {
  const TempFolder folder;
  WriteWav(folder.File("a.wav"), Noise(30000), kSampleRateHz, 2);
  const char* const kNumRounds = std::getenv("EARMARK_FUZZ_ROUNDS");  // for a longer run by hand
  const auto num_rounds = static_cast<unsigned>(kNumRounds != nullptr ? std::atoi(kNumRounds) : 60);
  for (const Format& format : kFormats) {
    const bool is_source = std::string(format.name) == "a.wav";
    if (!is_source && (!HasFfmpeg() || !Convert(folder.File("a.wav"), format.options, folder.File(format.name)))) continue;
    const std::string bytes = ReadBytes(folder.File(format.name));
    const std::string path = folder.File("damaged" + std::filesystem::path(format.name).extension().string());
    CapturedOutput output(folder.File("output"));
    for (unsigned round = 0; round < num_rounds; ++round) {
      CAPTURE(format.name, round);
      WriteBytes(path, Damage(bytes, round));
      CheckSurvives(path);
    }
    CHECK(output.Take() == "");
  }
}

}  // namespace
}  // namespace earmark
