#include "dsp/scoring/account_scorer.h"

#include <algorithm>
#include <array>

#include "dsp/scoring/block_scores.h"
#include "dsp/tracing/trace_code.h"

namespace earmark {
namespace {

// A run's look-ups, 128 kB, and its keystream stay in the second-level cache; longer calls make libsodium a tenth faster at most.
constexpr std::size_t kMaxBlocks = 32;

// Keystream blocks that follow each other.
using Run = std::span<const BlockScores>;

std::vector<Run> MakeRuns(std::span<const BlockScores> blocks) {
  std::vector<Run> runs;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (runs.empty() || runs.back().size() == kMaxBlocks || blocks[i].block != runs.back().back().block + 1) {
      runs.push_back(blocks.subspan(i, 1));
    } else {
      runs.back() = Run(runs.back().data(), runs.back().size() + 1);
    }
  }
  return runs;
}

// The keystream of a tile's accounts along a run.
class TileKeystream {
 public:
  explicit TileKeystream(Run run) : first_block_(run.front().block) {
    // libsodium computes eight blocks at a time where the processor allows, and then faster than six one by one.
    const std::size_t num_blocks = run.size() > 4 ? (run.size() + 7) / 8 * 8 : run.size();
    num_bytes_ = num_blocks * kKeystreamBlockBytes;
  }

  // Of up to kAccountsPerTile accounts; what the others have is of no account.
  KeystreamTile Of(std::span<const Key> keys) {
    for (std::size_t a = 0; a < keys.size(); ++a)
      Keystream(keys[a], first_block_, std::span(bytes_).subspan(a * kStride, num_bytes_));
    return {.bytes = bytes_.data(), .stride = kStride};
  }

 private:
  // A block more than a run has: rows a power of two apart would fall into the same few lines of the first-level cache.
  static constexpr std::size_t kStride = (kMaxBlocks + 1) * kKeystreamBlockBytes;

  std::int64_t first_block_;
  std::size_t num_bytes_ = 0;
  alignas(64) std::array<std::uint8_t, kAccountsPerTile * kStride> bytes_{};
};

// Adds what the run scores to the accounts' scores.
void ScoreRun(Run run, std::span<const Key> keys, std::span<std::int32_t> scores) {
  TileKeystream keystream(run);
  for (std::size_t a = 0; a < keys.size(); a += kAccountsPerTile) {
    const std::size_t num_accounts = std::min(kAccountsPerTile, keys.size() - a);
    std::array<std::int32_t, kAccountsPerTile> sums{};
    AddScores(run, keystream.Of(keys.subspan(a, num_accounts)), sums);
    for (std::size_t i = 0; i < num_accounts; ++i) scores[a + i] += sums[i];
  }
}

}  // namespace

AccountScorer::AccountScorer(const CodeKey& code_key, std::span<const std::string> accounts) {
  keys_.reserve(accounts.size());
  for (const std::string& account : accounts) keys_.push_back(DeriveGrantKey(code_key, account));
}

Result<std::vector<std::int32_t>> AccountScorer::Score(const ScoreTable& table, const Advance& advance) const {
  constexpr std::size_t kAccountsAtOnce = 4096;  // a few milliseconds
  const CodeScores code_scores = MakeCodeScores(table);
  const std::vector<Run> runs = MakeRuns(code_scores.blocks);
  std::vector<std::int32_t> scores(keys_.size(), code_scores.min);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    for (std::size_t a = 0; a < keys_.size(); a += kAccountsAtOnce) {
      const double of_run = static_cast<double>(a) / static_cast<double>(keys_.size());
      if (advance && !advance((static_cast<double>(r) + of_run) / static_cast<double>(runs.size())))
        return Fail(ErrorCode::kCancelled, "cancelled");
      const std::size_t num_accounts = std::min(kAccountsAtOnce, keys_.size() - a);
      ScoreRun(runs[r], std::span(keys_).subspan(a, num_accounts), std::span(scores).subspan(a, num_accounts));
    }
  }
  return scores;
}

}  // namespace earmark
