// Figures of the whole way from marking to a scan's report that tests hold to. They are what the algorithms reach, not
// contracts: a change of search, aligner, reader or score may move them. Whoever moves one past its limit looks first
// whether something was lost, and writes here what is measured now, the new limit, when, and why. Contracts (who is named,
// the bound, counts that follow from a definition) stay in the tests. The figures are the release build's.
#pragma once

namespace earmark::golden {

// Four pieces of 1.5 s, in three orders: the least digits, as a share of what the pieces have around them on their own.
// Measured 0.81. Since 2026-11-26, when pieces were first read in any order; unchanged.
inline constexpr double kPiecesInAnyOrderOfApart = 0.7;

// The same: the worst order's digits as a share of the best order's.
// Measured 0.97 of three copies' sums. Since 2026-11-27 of three copies instead of one, of which one in a hundred had 0.82; unchanged.
inline constexpr double kPiecesWorstOrderOfBest = 0.85;

// One account's copy goes over into another's: by how much the told edge may miss it.
// Measured 0.01 s. Since 2026-11-26, when several accounts were first told with their stretches; unchanged.
inline constexpr double kEdgeBetweenAccounts_s = 1;

// The same, overdriven by 20 dB.
// Measured 0.09 s. Since 2026-11-27 as 1 s; 2 s since 2026-11-27, for the edge is as uncertain as the few digits of a second there.
inline constexpr double kEdgeBetweenOverdriven_s = 2;

// Where the second of two overdriven pieces, which ends with the clip at 24 s, must reach at least.
// Measured 24 s. Since 2026-11-27, when accounts were first told with the stretch where their evidence is; unchanged.
inline constexpr double kOverdrivenEndsAfter_s = 23;

// A leak on one of two channels: digits as a share of those of the leak alone.
// Measured 1.00 with its negative, 1.00 with loud noise, on the other. Since 2026-11-26, when channels were first read
// one by one; unchanged.
inline constexpr double kOneChannelOfPlain = 0.9;

// Symbols that a clip of 4 s has at least, of some 100.
// Measured 100 to 107. Since 2026-11-23, when the tests began; unchanged.
inline constexpr int kFewestSymbolsOf4s = 30;

// Symbols that a clip of 4 s has at most where two speakers of a room carry the same.
// Measured 107. Since 2026-11-24, when every speaker was first read; unchanged.
inline constexpr int kMaxSymbolsOfTwoSpeakers = 120;

// A damaged piece of reference takes a third of a clip: digits of the chance as a share of those of the whole clip.
// Measured 0.66. Since 2026-11-26, when a damaged piece became a gap; unchanged.
inline constexpr double kDamagedThirdOfWhole = 0.5;

// The most seconds that are said to be needed for 1e-60 and 2,000 candidates, after a clip of 4 s.
// Measured 5.1 s. Since 2026-11-23, when the tests began; unchanged.
inline constexpr double kSecondsNeededMost_s = 100;

// Two seconds of speech between four of silence: packets, of 300, that are the same for all.
// Measured 205 in the sound, 208 in packets. Since 2026-11-26, when they were first counted; unchanged.
inline constexpr int kErasedPacketsMin = 150;
inline constexpr int kErasedPacketsMax = 270;

}  // namespace earmark::golden
