// Scores of many accounts, next to the keystream that their codes are made of.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/core/stream_keys.h"
#include "dsp/scoring/account_scorer.h"
#include "dsp/scoring/block_scores.h"
#include "dsp/tracing/trace_code.h"
#include "services/common/scan/scoring.h"
#include "tools/bench/bench.h"

namespace earmark {
namespace {

constexpr int kMillion = 1'000'000;
constexpr int kLongSymbols = 135'000;  // 90 minutes of 40 ms

SymbolLikelihoods RandomLikelihoods(int num_symbols) {
  std::mt19937 random(3);
  std::normal_distribution<float> noise(0, 2);
  SymbolLikelihoods likelihoods;
  for (int s = 0; s < num_symbols; ++s) {
    SymbolLikelihood symbol{.symbol = s, .log_likelihood = {}};
    for (float& l : symbol.log_likelihood) l = noise(random);
    likelihoods.symbols.push_back(symbol);
  }
  return likelihoods;
}

// As long as a UUID.
std::vector<std::string> Accounts(int num_accounts) {
  std::vector<std::string> accounts;
  for (int i = 0; i < num_accounts; ++i) {
    const std::string number = std::to_string(i);
    accounts.push_back("account-" + std::string(28 - number.size(), '0') + number);
  }
  return accounts;
}

void BenchMinute() {
  const std::vector<std::string> accounts = Accounts(kMillion);
  const ScoreTable table = MakeScoreTable(RandomLikelihoods(1500));
  const CodeKey key(NewRandomKey());
  std::vector<std::int32_t> scores;
  const double score = Measure([&] { scores = AccountScorer(key, accounts).Score(table).value(); });
  const double tail = Measure([&] { (void)ScoreDistribution(table); });
  std::vector<std::uint8_t> keystream(8 * kKeystreamBlockBytes);
  const double codes = Measure([&] {
    for (const auto& a : accounts) Keystream(DeriveGrantKey(key, a), 0, keystream);
  });
  std::printf(
      "scoring    1,000,000 accounts x 1,500 symbols: %.2f s (goal 1), %.2f x deriving their codes alone (%.2f s); exact distribution %.2f s\n",
      score, score / codes, codes, tail);
}

using AddTile = void (*)(std::span<const BlockScores>, const KeystreamTile&, std::span<std::int32_t, kAccountsPerTile>) noexcept;

// Seconds for the look-ups of so many accounts along the whole clip, of which a few blocks stand for all.
double LookUpSeconds(const CodeScores& codes, int num_accounts, AddTile add) {
  constexpr std::size_t kBlocks = 32;
  constexpr std::size_t kStride = (kBlocks + 1) * kKeystreamBlockBytes;
  const Key key = NewRandomKey();
  std::vector<std::uint8_t> keystream(kAccountsPerTile * kStride);
  Keystream(key, 0, keystream);
  std::array<std::int32_t, kAccountsPerTile> scores{};
  const std::size_t num_tiles = static_cast<std::size_t>(num_accounts) / kAccountsPerTile;
  const double seconds = Measure([&] {
    for (std::size_t first = 0; first < codes.blocks.size(); first += kBlocks) {
      const auto run = std::span(codes.blocks).subspan(first, std::min(kBlocks, codes.blocks.size() - first));
      for (std::size_t t = 0; t < num_tiles; ++t) add(run, {.bytes = keystream.data(), .stride = kStride}, scores);
    }
  });
  if (scores[0] == 1) std::printf(" ");
  return seconds;
}

// A sample of the accounts: what a million would take, and on what.
void BenchSample() {
  constexpr int kAccounts = 20'000;
  const ScoreTable table = MakeScoreTable(RandomLikelihoods(kLongSymbols));
  const std::vector<std::string> accounts = Accounts(kAccounts);
  const AccountScorer scorer(CodeKey(NewRandomKey()), accounts);
  const CodeScores codes = MakeCodeScores(table);
  std::vector<std::uint8_t> keystream(codes.blocks.size() * kKeystreamBlockBytes);
  const Key key = NewRandomKey();
  std::vector<double> all, streams, in_vectors, one_by_one;
  for (int round = 0; round < 3; ++round) {
    all.push_back(Measure([&] { (void)scorer.Score(table).value(); }));
    streams.push_back(Measure([&] {
      for (int a = 0; a < kAccounts; ++a) Keystream(key, a, keystream);
    }));
    in_vectors.push_back(LookUpSeconds(codes, kAccounts, AddScores));
    one_by_one.push_back(LookUpSeconds(codes, kAccounts, AddScoresOneByOne));
  }
  constexpr double kScale = static_cast<double>(kMillion) / kAccounts;
  const double score = Median(all);
  std::printf(
      "scoring    20,000 accounts x 90 minutes: %.1f thousand million symbols a second; a million accounts would take %.1f s (goal 60), of which keystream %.1f s (%.0f %%,"
      " %.2f GB/s) and look-ups %.1f s, 1/%.1f of one by one\n",
      1e-9 * kAccounts * kLongSymbols / score, kScale * score, kScale * Median(streams), 100 * Median(streams) / score,
      1e-9 * static_cast<double>(kAccounts * keystream.size()) / Median(streams), kScale * Median(in_vectors),
      Median(one_by_one) / Median(in_vectors));
}

// A store with a stream that a million accounts have listened to.
void FillStore(const std::string& url, const MasterKey& master) {
  auto store = OrExit(OpenStore(url, OpenMode::kReadWriteCreate));
  std::vector<Grant> grants;
  for (const std::string& account : Accounts(kMillion))
    grants.push_back({.account = account, .id = "grant-" + account, .delivery = R"({"host":"203.0.113.7","port":40000})"});
  StreamRecord stream;
  stream.id = "event";
  stream.key_id = master.id;
  OrExit(store->CreateStream(stream, grants));
}

// All of it as a scan does it. A process of its own, so that its memory is counted alone.
void ScoreStore(const std::string& url, const MasterKey& master) {
  auto store = OrExit(OpenStore(url, OpenMode::kReadWrite));
  HypothesisReading reading;
  reading.hypothesis.pieces.emplace_back();
  reading.stream = "event";
  for (const SymbolLikelihood& symbol : RandomLikelihoods(kLongSymbols).symbols)
    reading.symbols.push_back({.clip_s = 0.04 * static_cast<double>(symbol.symbol), .likelihood = symbol});
  reading.to_stream_s = reading.clip.to_s = reading.clip_seconds = 0.04 * kLongSymbols;
  const std::vector<HypothesisReading> readings(3, reading);  // as where a stream repeats itself
  double last_s = CpuSeconds();
  double longest_s = 0;
  const Progress progress = [&](const char*, double) {
    const double now_s = CpuSeconds();
    longest_s = std::max(longest_s, now_s - last_s);
    last_s = now_s;
    return true;
  };
  for (const std::size_t num_readings : {1U, 3U}) {
    ScanContext context(progress);
    Scores scores;
    last_s = CpuSeconds();
    longest_s = 0;
    const std::vector<HypothesisReading> some(readings.begin(), readings.begin() + static_cast<std::ptrdiff_t>(num_readings));
    const double seconds = Measure([&] { scores = OrExit(ScoreReadings(*store, master, some, 1e-6, context)); });
    std::printf(
        "scoring    1,000,000 accounts out of a store x %zu of 90 minutes: %.1f s (goal 60 each); asked whether to go on after %.2f s at most; peak memory %.0f MB"
        " (goal 1000); %lld scores, %zu accused\n",
        num_readings, seconds, longest_s, PeakMegabytes(), static_cast<long long>(scores.trials), scores.accusations.size());
    std::fflush(stdout);
  }
}

}  // namespace

void BenchScoring(LongClip long_clip) {
  if (long_clip == LongClip::kSample) {
    BenchMinute();
    BenchSample();
    return;
  }
  const auto folder = std::filesystem::temp_directory_path() / ("earmark-bench-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  const std::string url = "sqlite:" + (folder / "store.db").string();
  MasterKey master{.key = NewRandomKey(), .id = {}};
  master.id = KeyId(master.key);
  std::fflush(stdout);
  const pid_t filler = fork();
  if (filler == 0) {
    FillStore(url, master);
    std::_Exit(0);
  }
  int status = 0;
  if (filler < 0 || waitpid(filler, &status, 0) < 0 || status != 0) std::exit(1);
  ScoreStore(url, master);
  std::filesystem::remove_all(folder);
}

}  // namespace earmark
