// Both readers, and their sum, on spliced streams through the real libopus.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "dsp/core/resample.h"
#include "dsp/reading/coherent_reader.h"
#include "dsp/reading/envelope_reader.h"
#include "dsp/reading/symbol_reader.h"
#include "tests/support/marked_stream.h"
#include "tests/support/synthetic_audio.h"

namespace earmark {
namespace {

constexpr std::int64_t kFirstPacket = 150;  // of the clip: seconds 3 to 9
constexpr std::int64_t kEndPacket = 450;

struct Reader {
  const char* name;
  LogLikelihoodTable (*read)(const ReadingSpectra&);
};

const std::array<Reader, 2> kReaders = {
    Reader{"coherent", [](const ReadingSpectra& spectra) { return ReadCoherent(spectra, CoherentOptions{}); }},
    Reader{"envelope", [](const ReadingSpectra& spectra) { return ReadEnvelope(spectra); }}};

const MarkedStream& TheStream() {
  static const MarkedStream stream = MarkStream(SpeechLike(10, 81), StreamFormat{}, TestKeys());
  return stream;
}

const std::vector<float>& TheCopy() {
  static const auto copy = HalveRate(TheStream().CopyOf("leaker"));
  return copy;
}

std::vector<float> TheClip() {
  return {TheCopy().begin() + kFirstPacket * kDetectPacketSamples, TheCopy().begin() + kEndPacket * kDetectPacketSamples};
}

ReadingSpectra SpectraOf(const std::vector<float>& clip, const VariantAudio& variants) {
  AlignedClip aligned{.first_packet = kFirstPacket, .samples = clip, .present = {}};
  aligned.present.assign(clip.size() / kDetectPacketSamples * kFramesPerPacket, 1);
  return MakeReadingSpectra(TheStream().format, aligned, variants);
}

ReadingSpectra SpectraOf(const std::vector<float>& clip) { return SpectraOf(clip, TheStream().Decode(kFirstPacket, kEndPacket)); }

struct Quality {
  double right = 0;        // share of symbols at which the sent variant is the likeliest
  double information = 0;  // mean of the log-likelihood of the sent variant over the mean of all, in nats, as a score counts it
  double max = 0;          // mean over symbols of the largest difference between variants
};

// Of the symbols that lie wholly in loud sound.
Quality QualityOf(const LogLikelihoodTable& table, const ReadingSpectra& spectra) {
  TraceCode code(TheStream().keys.code, "leaker", 4);
  Quality quality;
  int count = 0;
  for (std::size_t s = 0; s < table.size(); ++s) {
    const std::int64_t symbol = spectra.first_symbol() + static_cast<std::int64_t>(s);
    const auto sound = std::span(TheCopy()).subspan(static_cast<std::size_t>(symbol) * 960, 960);
    if (Rms(sound) < 0.02) continue;
    ++count;
    const auto sent = static_cast<std::size_t>(code.VariantAt(symbol));
    const auto best = static_cast<std::size_t>(std::max_element(table[s].begin(), table[s].begin() + 4) - table[s].begin());
    quality.right += best == sent ? 1 : 0;
    double sum = 0;
    for (std::size_t k = 0; k < 4; ++k) sum += std::exp(static_cast<double>(table[s][k] - table[s][best]));
    quality.information += std::log(4 * std::exp(static_cast<double>(table[s][sent] - table[s][best])) / sum * 0.99 + 0.01);
    const auto [low, high] = std::minmax_element(table[s].begin(), table[s].begin() + 4);
    quality.max += *high - *low;
  }
  quality.right /= count;
  quality.information /= count;
  quality.max /= count;
  return quality;
}

bool AllFinite(const LogLikelihoodTable& table) {
  return std::all_of(table.begin(), table.end(), [](const auto& row) {
    return std::all_of(row.begin(), row.begin() + 4, [](float l) { return std::isfinite(l); });
  });
}

double Spread(const std::array<float, kMaxVariants>& row) {
  const auto [low, high] = std::minmax_element(row.begin(), row.begin() + 4);
  return *high - *low;
}

TEST_CASE("Readers: most symbols are read right, clean and in noise", "[readers]") {
  // A guess is right at a quarter of the symbols. About 110 symbols count here; seeds are fixed.
  for (const Reader& reader : kReaders) {
    const bool coherent = std::string(reader.name) == "coherent";
    const auto clean = SpectraOf(TheClip());
    const auto noisy = SpectraOf(WithNoise(TheClip(), 20, 5));
    const Quality of_clean = QualityOf(reader.read(clean), clean);
    const Quality of_noisy = QualityOf(reader.read(noisy), noisy);
    INFO(reader.name << ": clean " << of_clean.right << " right, " << of_clean.information << " nats a symbol; 20 dB noise "
                     << of_noisy.right << ", " << of_noisy.information);
    CHECK(of_clean.right > (coherent ? 0.9 : 0.7));
    CHECK(of_noisy.right > (coherent ? 0.6 : 0.45));
    CHECK(of_clean.information > (coherent ? 1.0 : 0.5));
    CHECK(of_noisy.information > (coherent ? 0.3 : 0.1));
  }
}

TEST_CASE("Readers: a clip from elsewhere tells nearly nothing", "[readers]") {
  const auto clean = SpectraOf(TheClip());
  const auto shifted_by_20_ms = std::vector<float>(TheCopy().begin() + (kFirstPacket + 1) * kDetectPacketSamples,
                                                   TheCopy().begin() + (kEndPacket + 1) * kDetectPacketSamples);
  const auto other_sound = HalveRate(SpeechLike(6, 4242));
  for (const Reader& reader : kReaders) {
    const Quality right_place = QualityOf(reader.read(clean), clean);
    for (const auto& wrong : {other_sound, WhiteNoise(6 * kDetectRateHz, 0.1, 1)}) {
      const auto spectra = SpectraOf(wrong);
      const auto table = reader.read(spectra);
      const Quality quality = QualityOf(table, spectra);
      INFO(reader.name << ": " << quality.max << " of " << right_place.max);
      CHECK(AllFinite(table));
      CHECK(quality.max < 0.35 * right_place.max);
      CHECK(quality.information < 0.15);
    }
    const auto spectra = SpectraOf(shifted_by_20_ms);
    CHECK(AllFinite(reader.read(spectra)));
    CHECK(QualityOf(reader.read(spectra), spectra).information < right_place.information);
  }
}

TEST_CASE("Readers: symbols at which all variants are the same say nothing", "[readers]") {
  VariantAudio variants = TheStream().Decode(kFirstPacket, kEndPacket);
  // Packets 100 to 160 of the clip are erased: one sound for all.
  for (auto& variant : variants.variants) {
    std::copy(variants.variants[0].begin() + 100 * kDetectPacketSamples,
              variants.variants[0].begin() + 160 * kDetectPacketSamples, variant.begin() + 100 * kDetectPacketSamples);
  }
  const auto spectra = SpectraOf(TheClip(), variants);
  for (const Reader& reader : kReaders) {
    const auto table = reader.read(spectra);
    CHECK(AllFinite(table));
    // Not the first ones: the coherent channel's taps reach back into symbols that do differ.
    for (std::size_t s = 55; s < 79; ++s) CHECK(Spread(table[s]) < 1e-3);
    CHECK(Spread(table[20]) + Spread(table[30]) + Spread(table[40]) > 0.1);
  }
}

TEST_CASE("Readers: silence makes no claims; constants and clipping no NaN", "[readers]") {
  const std::size_t size = TheClip().size();
  for (const Reader& reader : kReaders) {
    for (const auto& clip : {std::vector<float>(size, 0.0F), std::vector<float>(size, 1e-20F)}) {
      const auto table = reader.read(SpectraOf(clip));
      CHECK(AllFinite(table));
      for (const auto& row : table) REQUIRE(Spread(row) < 0.3);
    }
    CHECK(AllFinite(reader.read(SpectraOf(std::vector<float>(size, 1.0F)))));
    auto clipped = TheClip();
    for (float& x : clipped) x = std::clamp(50 * x, -1.0F, 1.0F);
    CHECK(AllFinite(reader.read(SpectraOf(clipped))));
    // Half of it digital silence.
    auto half = TheClip();
    std::fill(half.begin() + static_cast<std::ptrdiff_t>(size / 2), half.end(), 0.0F);
    CHECK(AllFinite(reader.read(SpectraOf(half))));
  }
}

TEST_CASE("Readers: level does not matter, nor polarity", "[readers]") {
  for (const Reader& reader : kReaders) {
    const auto spectra = SpectraOf(TheClip());
    const Quality plain = QualityOf(reader.read(spectra), spectra);
    for (const double gain : {-1.0, 0.05, 7.0}) {
      const auto scaled = SpectraOf(Scaled(TheClip(), gain));
      const Quality quality = QualityOf(reader.read(scaled), scaled);
      CHECK(quality.right == Approx(plain.right).margin(0.03));
      CHECK(quality.information == Approx(plain.information).margin(0.1));
    }
    // Level riding: ±4 dB within a second.
    auto riding = TheClip();
    for (std::size_t i = 0; i < riding.size(); ++i)
      riding[i] *= static_cast<float>(std::pow(10, 0.2 * std::sin(6.28 * static_cast<double>(i) / kDetectRateHz)));
    const auto ridden = SpectraOf(riding);
    CHECK(QualityOf(reader.read(ridden), ridden).information > 0.6 * plain.information);
  }
}

TEST_CASE("Readers: frames that are not present are not read", "[readers]") {
  AlignedClip aligned{.first_packet = kFirstPacket, .samples = TheClip(), .present = {}};
  aligned.present.assign(600, 1);
  std::fill(aligned.present.begin() + 200, aligned.present.begin() + 360, std::uint8_t{0});
  const auto spectra = MakeReadingSpectra(TheStream().format, aligned, TheStream().Decode(kFirstPacket, kEndPacket));
  for (const Reader& reader : kReaders) {
    const auto table = reader.read(spectra);
    CHECK(AllFinite(table));
    for (std::size_t s = 52; s < 82; ++s) CHECK(Spread(table[s]) < 1e-3);
  }
}

// Sum over all symbols of how far each variant lies below the likeliest, in nats.
double Evidence(const LogLikelihoodTable& table) {
  double sum = 0;
  for (const auto& row : table) {
    const float top = *std::max_element(row.begin(), row.begin() + 4);
    for (std::size_t k = 0; k < 4; ++k) sum += top - row[k];
  }
  return sum;
}

// Figures of plain loops over single numbers, which the readers once were. Who changes what they estimate writes down new ones; who makes them faster, none.
TEST_CASE("Readers: the evidence is what it was, but for rounding", "[readers]") {
  if (std::getenv("EARMARK_CORPUS") != nullptr) return;
  struct Case {
    StreamFormat format;
    std::array<double, 2> evidence;  // coherent, envelope
  };
  for (const Case& each : {Case{StreamFormat{}, {698069.3, 7941.04}}, Case{SourcePacketsFormat(), {104473.6, 5744.68}}}) {
    const bool patched = each.format.kind == ReferenceKind::kSourcePackets;
    const auto host = SpeechLike(12, 81);
    const MarkedStream stream = patched ? MarkSource(host, OPUS_APPLICATION_AUDIO, 64000, each.format, TestKeys())
                                        : MarkStream(host, each.format, TestKeys());
    AlignedClip aligned{.first_packet = 0, .samples = WithNoise(HalveRate(stream.CopyOf("leaker")), 25, 5), .present = {}};
    aligned.present.assign(static_cast<std::size_t>(stream.num_packets * kFramesPerPacket), 1);
    std::fill(aligned.present.begin() + 300, aligned.present.begin() + 340, std::uint8_t{0});
    const auto spectra = MakeReadingSpectra(each.format, aligned, stream.Decode(0, stream.num_packets));
    for (std::size_t i = 0; i < kReaders.size(); ++i) {
      INFO(kReaders[i].name);
      CHECK(Evidence(kReaders[i].read(spectra)) == Approx(each.evidence[i]).epsilon(0.005));
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------- both together

std::vector<Alignment> WholeClip() {
  return {{.clip_start_s = 0, .clip_end_s = 6, .stream_start_s = kFirstPacket / 50.0, .speed = 1, .strength = 20}};
}

int NumRight(const SymbolLikelihoods& likelihoods) {
  TraceCode code(TheStream().keys.code, "leaker", 4);
  int right = 0;
  for (const auto& symbol : likelihoods.symbols) {
    const auto best =
        std::max_element(symbol.log_likelihood.begin(), symbol.log_likelihood.begin() + 4) - symbol.log_likelihood.begin();
    right += Spread(symbol.log_likelihood) > 1 && best == code.VariantAt(symbol.symbol) ? 1 : 0;
  }
  return right;
}

TEST_CASE("SymbolReader: a clip at its place is read", "[readers]") {
  const auto likelihoods = Get(ReadSymbols(TheStream().format, TheClip(), WholeClip(), TheStream().Variants()));
  CHECK(likelihoods.num_variants == 4);
  REQUIRE(likelihoods.symbols.size() >= 150);
  CHECK(NumRight(likelihoods) > 75);
  for (std::size_t i = 1; i < likelihoods.symbols.size(); ++i)
    CHECK(likelihoods.symbols[i].symbol > likelihoods.symbols[i - 1].symbol);
}

TEST_CASE("SymbolReader: a faster clip, and one in pieces, are laid back on the stream's clock", "[readers]") {
  const int plain = NumRight(Get(ReadSymbols(TheStream().format, TheClip(), WholeClip(), TheStream().Variants())));
  // Played 0.4 % faster.
  std::vector<float> fast(static_cast<std::size_t>(6 / 1.004 * kDetectRateHz));
  SampleAt(TheCopy(), 3.0 * kDetectRateHz, 1.004, fast);
  const std::vector<Alignment> line = {
      {.clip_start_s = 0, .clip_end_s = 6 / 1.004, .stream_start_s = 3, .speed = 1.004, .strength = 20}};
  CHECK(NumRight(Get(ReadSymbols(TheStream().format, fast, line, TheStream().Variants()))) > 0.85 * plain);
  // Half a second cut out of the middle.
  auto cut = CutSeconds(TheCopy(), 3, 5.5, kDetectRateHz);
  const auto rest = CutSeconds(TheCopy(), 6, 9, kDetectRateHz);
  cut.insert(cut.end(), rest.begin(), rest.end());
  const std::vector<Alignment> pieces = {
      {.clip_start_s = 0, .clip_end_s = 2.5, .stream_start_s = 3, .speed = 1, .strength = 20},
      {.clip_start_s = 2.5, .clip_end_s = 5.5, .stream_start_s = 6, .speed = 1, .strength = 20}};
  const auto likelihoods = Get(ReadSymbols(TheStream().format, cut, pieces, TheStream().Variants()));
  CHECK(NumRight(likelihoods) > 0.75 * plain);
  // Nothing is claimed about what was cut out.
  for (const auto& symbol : likelihoods.symbols) {
    if (symbol.symbol >= 139 && symbol.symbol < 149) CHECK(Spread(symbol.log_likelihood) < 0.05);
  }
}

TEST_CASE("SymbolReader: nothing to read is nothing read", "[readers]") {
  CHECK(Get(ReadSymbols(TheStream().format, TheClip(), {}, TheStream().Variants())).symbols.empty());
  const std::vector<Alignment> beyond = {{.clip_start_s = 0, .clip_end_s = 6, .stream_start_s = 500, .speed = 1, .strength = 20}};
  for (const auto& symbol : Get(ReadSymbols(TheStream().format, TheClip(), beyond, TheStream().Variants())).symbols)
    CHECK(Spread(symbol.log_likelihood) == 0);
  const std::vector<Alignment> before = {{.clip_start_s = 0, .clip_end_s = 6, .stream_start_s = -3, .speed = 1, .strength = 20}};
  CHECK(ReadSymbols(TheStream().format, TheClip(), before, TheStream().Variants()));
  const VariantLoader failing = [](std::int64_t, std::int64_t) -> Result<VariantAudio> {
    return Fail(ErrorCode::kDataLoss, "damaged");
  };
  const auto failed = ReadSymbols(TheStream().format, TheClip(), WholeClip(), failing);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace earmark
