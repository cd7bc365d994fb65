// What several streams say against one account, together.
#pragma once

#include <cstdint>
#include <span>

namespace earmark {

// log10 of the chance that any account whose copies are in none of the clips is accused as strongly as this one, in as many streams, over all
// scans that left a finding in a store.
//
//   log10_bounds   of each stream that accuses the account, the strongest accusation: log10 of the bound that its own scan gave, 0 or less. In
//                  any order. None: 0.
//   num_scored     over all scans that ever left a finding in the store, whatever it says: in how many streams each one scored anybody. At least as
//                  many as there are bounds.
//
// A scan's bound in one stream is a p-value: the chance that the best of its innocents does so well, given what was read. Bounds of several streams
// are independent, since each stream has keys of its own; those of several scans of one stream are not, so of these the strongest counts. For j
// such p-values with the product p, Fisher (Statistical Methods for Research Workers, 4th ed. 1932, §21.1): the chance of a product so small is
// p · Σ_{i<j} (-ln p)^i / i!. There are at most C(num_scored, j) ways to choose a scan each of j streams, which the union bound pays for, and 2^j
// pays for looking at every j: the strongest j streams are taken that say most. What follows holds for every account at once and for whatever part of
// the scans was looked at. One stream after n scans has 2n times its own bound: that one scan out of many accuses is less than it seems.
//
// At most 0. Thread-safe; n log n in the number of streams.
double CombinedLog10Bound(std::span<const double> log10_bounds, std::int64_t num_scored);

}  // namespace earmark
