// Text that somebody else chose: whether it is UTF-8 (RFC 3629), and how to show it. Unicode's properties are libutf8proc's.
#pragma once

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>

namespace earmark {

struct CodePoint {
  char32_t value = 0;
  std::size_t num_bytes = 1;
  bool is_valid = false;  // else one byte that is no UTF-8

  bool is_control() const;  // C0, C1 and DEL
  // control, or what has no shape of its own that everybody sees: joiners, direction marks, fillers, separators of lines, blanks but the plain
  // one, private and unassigned ones
  bool is_invisible() const;
  bool is_mark() const;  // stands on the letter before it
  bool is_variation_selector() const;
  bool is_joiner() const;  // ZWJ or ZWNJ: many scripts, and emoji, need them between letters
};

// The code point at the start of `text`, which is not empty.
CodePoint FirstOf(std::string_view text);

inline constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

// `text` fit for one line of a terminal, with nothing in it that works unseen: what is invisible is shown as \u{202E}, a byte that is no UTF-8 as U+FFFD. What is longer than `max_bytes` is cut and ends in "...".
std::string Printable(std::string_view text, std::size_t max_bytes = kUnlimited);

// Whether all letters are composed as far as they can be (Unicode's form NFC): then what looks alike is mostly alike.
bool IsComposed(std::string_view text);

// How many columns of a terminal it takes once it is Printable.
std::size_t PrintedWidth(std::string_view text);

}  // namespace earmark
