#include "db/text.h"

#include <utf8proc.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace earmark {

bool CodePoint::is_control() const {
  return is_valid && utf8proc_category(static_cast<utf8proc_int32_t>(value)) == UTF8PROC_CATEGORY_CC;
}

bool CodePoint::is_invisible() const {
  constexpr char32_t kBlankBraille = 0x2800;
  if (!is_valid || value == ' ') return false;
  if (value == kBlankBraille) return true;
  const auto* const property = utf8proc_get_property(static_cast<utf8proc_int32_t>(value));
  if (property->ignorable) return true;
  switch (property->category) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return true;
    default:
      return false;
  }
}

bool CodePoint::is_mark() const {
  if (!is_valid) return false;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(value));
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

bool CodePoint::is_variation_selector() const { return is_valid && value >= 0xFE00 && value <= 0xFE0F; }

bool CodePoint::is_joiner() const { return is_valid && (value == 0x200C || value == 0x200D); }

CodePoint FirstOf(std::string_view text) {
  utf8proc_int32_t value = 0;
  const auto size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                     static_cast<utf8proc_ssize_t>(text.size()), &value);
  if (size <= 0) return {};
  return {.value = static_cast<char32_t>(value), .num_bytes = static_cast<std::size_t>(size), .is_valid = true};
}

std::string Printable(std::string_view text, std::size_t max_bytes) {
  std::string line;
  while (!text.empty()) {
    if (line.size() >= max_bytes) return line + "...";
    const CodePoint first = FirstOf(text);
    if (first.is_invisible()) {
      char escape[16];
      std::snprintf(escape, sizeof escape, "\\u{%X}", static_cast<unsigned>(first.value));
      line += escape;
    } else {
      line += first.is_valid ? text.substr(0, first.num_bytes) : std::string_view("\uFFFD");
    }
    text.remove_prefix(first.num_bytes);
  }
  return line;
}

bool IsComposed(std::string_view text) {
  utf8proc_uint8_t* composed = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()), &composed,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owned(composed, &std::free);
  return size >= 0 && text == std::string_view(reinterpret_cast<const char*>(composed), static_cast<std::size_t>(size));
}

std::size_t PrintedWidth(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const CodePoint first = FirstOf(text);
    width += first.is_valid ? static_cast<std::size_t>(utf8proc_charwidth(static_cast<utf8proc_int32_t>(first.value))) : 1;
    text.remove_prefix(first.num_bytes);
  }
  return width;
}

}  // namespace earmark
