#include "services/common/all_copies.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "services/common/copies.h"
#include "services/common/copy_name.h"

namespace earmark {
namespace {

namespace fs = std::filesystem;

Result<std::vector<std::string>> AccountsOf(Store& store, const StreamRecord& stream) {
  auto grants = store.ListGrants(stream.id, 0, Grant::kOpenEnd);  // sorted by account
  if (!grants) return Pass(grants);
  std::vector<std::string> accounts;
  for (Grant& grant : *grants) {
    if (accounts.empty() || accounts.back() != grant.account) accounts.push_back(std::move(grant.account));
  }
  return accounts;
}

void Remove(const CopySet& written) {
  for (const CopySet::Copy& copy : written.copies) ::unlink(copy.path.c_str());
}

// Where the work as a whole is, while copy `index` of `number` is written.
Progress Within(const Progress& all, std::size_t index, std::size_t number) {
  return [&all, index, number, stage = "copy " + std::to_string(index + 1) + " of " + std::to_string(number)](const char*,
                                                                                                              double fraction) {
    return all(stage.c_str(), (static_cast<double>(index) + std::clamp(fraction, 0.0, 1.0)) / static_cast<double>(number));
  };
}

// Gives a finished copy its name, unless something has it by now.
Result<void> Publish(const std::string& from, const std::string& to) {
  int failed = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
  if (failed != 0 && errno != EEXIST) {  // a file system that knows no such renaming
    failed = ::link(from.c_str(), to.c_str());
    if (failed == 0) ::unlink(from.c_str());
  }
  if (failed == 0) return {};
  const int error = errno;
  ::unlink(from.c_str());
  if (error == EEXIST) return Fail(ErrorCode::kAlreadyExists, to + " came to exist meanwhile, and nothing is overwritten");
  return Fail(ErrorCode::kUnavailable, to + ": " + std::generic_category().message(error));
}

// Where a copy is written until it is whole. No account's file begins with a dot.
std::string PathMeanwhile(const std::string& path) {
  const fs::path whole = path;
  return (whole.parent_path() / ("." + whole.filename().string())).string();
}

}  // namespace

Result<CopyFolder> CopyFolder::Make(const std::string& path) {
  std::error_code error;
  const bool made = fs::create_directory(path, error);
  if (!error && made) return CopyFolder(path);
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return CopyFolder("");
  if (error == std::errc::no_such_file_or_directory)
    return Fail(ErrorCode::kNotFound, path + ": the folder that it is to be in does not exist");
  if (error == std::errc::permission_denied || error == std::errc::read_only_file_system)
    return Fail(ErrorCode::kPermissionDenied, path + ": this folder cannot be made: " + error.message());
  return Fail(ErrorCode::kInvalidArgument,
              path + ": a folder wanted, got something else" + (error ? ": " + error.message() : ""));
}

CopyFolder::CopyFolder(CopyFolder&& other) noexcept : made_(std::exchange(other.made_, {})) {}

CopyFolder::~CopyFolder() {
  if (!made_.empty()) ::rmdir(made_.c_str());  // leaves one that holds something
}

std::string CopyPath(const CopyRequest& request, const std::string& account) {
  const fs::path pattern = request.output;
  return (pattern.parent_path() / (CopyFileName(account) + pattern.extension().string())).string();
}

Result<void> CheckAreNew(const CopyRequest& request, const std::vector<std::string>& accounts) {
  for (const std::string& account : accounts) {
    const std::string path = CopyPath(request, account);
    std::error_code ignored;
    if (fs::exists(fs::symlink_status(path, ignored)))
      return Fail(ErrorCode::kAlreadyExists,
                  path + " exists already, and nothing is overwritten; give another folder, or remove it");
  }
  return {};
}

Result<CopySet> WriteAllCopies(Store& store, const MasterKey& master, const StreamRecord& stream, const CopyRequest& request,
                               const Progress& progress) {
  if (auto keys = KeysOf(stream, master); !keys) return Pass(keys);
  auto accounts = AccountsOf(store, stream);
  if (!accounts) return Pass(accounts);
  if (auto are_new = CheckAreNew(request, *accounts); !are_new) return Pass(are_new);
  CopySet set;
  CopyRequest one = request;
  for (std::size_t i = 0; i < accounts->size(); ++i) {
    one.account = (*accounts)[i];
    const std::string path = CopyPath(request, one.account);
    one.output = PathMeanwhile(path);
    auto copied = WriteCopy(store, master, stream, one, Within(progress, i, accounts->size()));
    if (copied) {
      if (auto published = Publish(one.output, path); !published) copied = Pass(published);
    }
    if (copied) {
      set.copies.push_back({one.account, path, *copied});
    } else if (copied.error().code == ErrorCode::kFailedPrecondition) {  // the account's: the key has been looked at
      set.left_out.push_back({one.account, copied.error().message});
    } else {
      Remove(set);
      return Pass(copied);
    }
  }
  return set;
}

}  // namespace earmark
