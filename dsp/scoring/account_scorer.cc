#include "dsp/scoring/account_scorer.h"

#include <algorithm>
#include <array>

#include "dsp/tracing/trace_code.h"

namespace earmark {
namespace {

// The keystream is read a byte at a time: one look-up adds the scores of all symbols in that byte.
struct ByteScores {
  std::int64_t byte = 0;  // of the keystream
  std::array<std::int16_t, 256> sum{};  // of at most 8 symbols of at most 1,000 steps
};

std::vector<ByteScores> MakeByteScores(const ScoreTable& table) {
  const int bits = BitsPerSymbol(table.num_variants);
  const int per_byte = 8 / bits;
  std::vector<ByteScores> bytes;
  for (const SymbolScores& symbol : table.symbols) {
    const std::int64_t byte = symbol.symbol / per_byte;
    const int shift = static_cast<int>(symbol.symbol % per_byte) * bits;
    if (bytes.empty() || bytes.back().byte != byte) bytes.push_back({.byte = byte, .sum = {}});
    for (std::size_t value = 0; value < 256; ++value) {
      const auto variant = (value >> shift) & static_cast<std::size_t>(table.num_variants - 1);
      bytes.back().sum[value] = static_cast<std::int16_t>(bytes.back().sum[value] + symbol.steps[variant]);
    }
  }
  return bytes;
}

// A stretch of keystream without large holes, and the look-ups in it.
struct Run {
  std::int64_t first_block = 0;
  std::int64_t num_blocks = 0;
  std::size_t first_byte = 0;  // in the vector of ByteScores
  std::size_t end_byte = 0;
};

constexpr std::int64_t kMaxBlocks = 16;  // of a run: its look-ups, half a megabyte, stay in the second-level cache

std::vector<Run> MakeRuns(const std::vector<ByteScores>& bytes) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::int64_t block = bytes[i].byte / kKeystreamBlockBytes;
    if (runs.empty() || block >= runs.back().first_block + kMaxBlocks || block > runs.back().first_block + runs.back().num_blocks) {
      runs.push_back({.first_block = block, .num_blocks = 1, .first_byte = i, .end_byte = i});
    }
    runs.back().num_blocks = block - runs.back().first_block + 1;
    runs.back().end_byte = i + 1;
  }
  // libsodium computes eight blocks at a time where the processor allows, and then faster than six one by one.
  for (Run& run : runs) {
    if (run.num_blocks > 4) run.num_blocks = (run.num_blocks + 7) / 8 * 8;
  }
  return runs;
}

}  // namespace

AccountScorer::AccountScorer(const CodeKey& code_key, std::span<const std::string> accounts) {
  keys_.reserve(accounts.size());
  for (const std::string& account : accounts) keys_.push_back(DeriveGrantKey(code_key, account));
}

Result<std::vector<std::int32_t>> AccountScorer::Score(const ScoreTable& table, const Advance& advance) const {
  constexpr std::size_t kAccountsAtOnce = 4096;  // a few milliseconds
  const std::vector<ByteScores> bytes = MakeByteScores(table);
  const std::vector<Run> runs = MakeRuns(bytes);
  std::vector<std::int32_t> scores(keys_.size(), 0);
  std::array<std::uint8_t, kMaxBlocks * kKeystreamBlockBytes> keystream;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const Run& run = runs[r];
    const auto wanted = std::span(keystream).first(static_cast<std::size_t>(run.num_blocks) * kKeystreamBlockBytes);
    const std::int64_t first = run.first_block * kKeystreamBlockBytes;
    for (std::size_t a = 0; a < keys_.size(); ++a) {
      if (a % kAccountsAtOnce == 0 && advance &&
          !advance((static_cast<double>(r) + static_cast<double>(a) / static_cast<double>(keys_.size())) / static_cast<double>(runs.size()))) {
        return Fail(ErrorCode::kCancelled, "cancelled");
      }
      Keystream(keys_[a], run.first_block, wanted);
      std::int32_t score = 0;
      for (std::size_t i = run.first_byte; i < run.end_byte; ++i) score += bytes[i].sum[keystream[static_cast<std::size_t>(bytes[i].byte - first)]];
      scores[a] += score;
    }
  }
  return scores;
}

}  // namespace earmark
