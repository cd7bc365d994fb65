// The repository's own sources, for tests of the rules that code must keep.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace earmark {

inline std::filesystem::path RepositoryRoot() { return EARMARK_SOURCE_ROOT; }

struct SourceFile {
  std::string path;  // from the root
  std::string text;

  // What is between the quotes or angle brackets of each #include.
  std::vector<std::string> Includes() const {
    std::vector<std::string> includes;
    for (std::size_t at = text.find("#include"); at != std::string::npos; at = text.find("#include", at + 1)) {
      const std::size_t open = text.find_first_of("\"<", at);
      const std::size_t close = open == std::string::npos ? open : text.find_first_of("\">\n", open + 1);
      if (close != std::string::npos) includes.push_back(text.substr(open + 1, close - open - 1));
    }
    return includes;
  }
};

// All text files under `folder` ("" for all of the repository; build trees and .git left out) whose name ends in one of `extensions` (none: any).
inline std::vector<SourceFile> FilesUnder(const std::string& folder, const std::vector<std::string>& extensions) {
  std::vector<SourceFile> files;
  const auto root = RepositoryRoot();
  for (auto it = std::filesystem::recursive_directory_iterator(root / folder);
       it != std::filesystem::recursive_directory_iterator(); ++it) {
    const std::string name = it->path().filename().string();
    if (it->is_directory() && (name == ".git" || name == "build" || name == "__pycache__")) it.disable_recursion_pending();
    if (!it->is_regular_file()) continue;
    bool wanted = extensions.empty();
    for (const std::string& extension : extensions) wanted = wanted || name.ends_with(extension);
    if (!wanted) continue;
    std::ifstream file(it->path(), std::ios::binary);
    files.push_back({.path = std::filesystem::relative(it->path(), root).string(),
                     .text = {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()}});
  }
  return files;
}

inline std::vector<SourceFile> SourcesUnder(const std::string& folder) { return FilesUnder(folder, {".h", ".cc", ".in"}); }

}  // namespace earmark
