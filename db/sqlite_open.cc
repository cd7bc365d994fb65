#include "db/sqlite_open.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "db/sqlite_error.h"
#include "db/sqlite_schema.h"
#include "db/store_checks.h"
#include "db/text.h"

namespace earmark {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kFileMode = 0600;
constexpr mode_t kFolderMode = 0700;

// synchronous = FULL: an answered call survives a power cut. An accusation rests on grants, so losing the last minutes of them
// (what NORMAL may do) is worse than one fsync per call.
// secure_delete: a removed stream is overwritten, not only unlinked inside the file.
// cache_size (KiB, an upper bound): room for the indexes of a million grants, so that adding them stays off the disk.
// trusted_schema, cell_size_check: a store file from elsewhere cannot run functions or overrun a page.
constexpr char kConnectionPragmas[] =
    "PRAGMA foreign_keys = ON;"
    "PRAGMA synchronous = FULL;"
    "PRAGMA secure_delete = ON;"
    "PRAGMA cache_size = -65536;"
    "PRAGMA trusted_schema = OFF;"
    "PRAGMA cell_size_check = ON;"
    "PRAGMA journal_size_limit = 67108864;";
constexpr char kJournalMode[] = "PRAGMA journal_mode = WAL";
constexpr char kDraftJournalMode[] = "PRAGMA journal_mode = MEMORY";  // a draft that fails is thrown away, not rolled back

// The database header: https://www.sqlite.org/fileformat.html#the_database_header
constexpr int kHeaderBytes = 100;
constexpr std::string_view kHeaderMagic("SQLite format 3\0", 16);
constexpr int kApplicationIdOffset = 68;

// Files that SQLite keeps beside the database while it is in use.
constexpr std::array<std::string_view, 3> kCompanionSuffixes = {"-wal", "-shm", "-journal"};

std::string Opening(const std::string& path) { return "open the store " + Printable(path); }
std::string Making(const std::string& path) { return "make the store " + Printable(path); }

tl::unexpected<Error> FailSystem(int system_errno, const std::string& doing) {
  return tl::unexpected<Error>(SystemError(system_errno, doing));
}

// ---- an existing database

using Header = std::array<unsigned char, kHeaderBytes>;

// Reads through SQLite's own handle: had we opened the file ourselves, closing it would drop the locks that other connections of
// this process hold on it (POSIX locks). Nothing else of SQLite has run on the file by now. A short file reads as zeros.
Header ReadHeader(const SQLite::Database& db) {
  Header header{};
  sqlite3_file* file = nullptr;
  sqlite3_file_control(db.getHandle(), "main", SQLITE_FCNTL_FILE_POINTER, static_cast<void*>(&file));
  if (file != nullptr && file->pMethods != nullptr) file->pMethods->xRead(file, header.data(), kHeaderBytes, 0);
  return header;
}

std::uint32_t ApplicationId(const Header& header) {
  std::uint32_t id = 0;
  for (int i = 0; i < 4; ++i) id = (id << 8) | header[kApplicationIdOffset + i];
  return id;
}

Result<void> CheckIsOurs(const SQLite::Database& db, const std::string& path) {
  const Header header = ReadHeader(db);
  const std::string_view magic(reinterpret_cast<const char*>(header.data()), kHeaderMagic.size());
  if (magic != kHeaderMagic) {
    return Fail(ErrorCode::kFailedPrecondition,
                "cannot " + Opening(path) + ": the file is not an SQLite database; give the path of a store or of no file");
  }
  if (ApplicationId(header) != static_cast<std::uint32_t>(kSqliteApplicationId)) {
    return Fail(ErrorCode::kFailedPrecondition,
                "cannot " + Opening(path) + ": the file is the SQLite database of another program; give another path");
  }
  return {};
}

bool IsReadOnly(const SQLite::Database& db) { return sqlite3_db_readonly(db.getHandle(), "main") == 1; }

tl::unexpected<Error> FailReadOnly(const std::string& path) {
  return Fail(ErrorCode::kPermissionDenied,
              "cannot " + Opening(path) + ": no permission to write it; check the modes of the file and its folder");
}

// The file keeps its journal mode, so this changes one only where a tool put the store in another mode, as some ways of copying
// do. Another connection may be in the way; the store is as safe in the old mode, so the next opening may try again.
void PreferWriteAheadLog(SQLite::Database& db) {
  try {
    db.execAndGet(kJournalMode);
  } catch (const SQLite::Exception& exception) {
    if (exception.getErrorCode() != SQLITE_BUSY) throw;
  }
}

bool Exists(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0;
}

// SQLite decodes %XX and ends the path at ? and #.
std::string UriOf(const std::string& path) {
  std::string uri = "file:";
  for (const char c : path) uri += c == '%' ? "%25" : c == '?' ? "%3f" : c == '#' ? "%23" : std::string(1, c);
  return uri;
}

Result<SQLite::Database> OpenFile(const std::string& path, int flags, std::chrono::milliseconds busy_timeout) {
  const auto no_errno = [] { return 0; };
  return CatchSqlite(Opening(path), no_errno, [&]() -> Result<SQLite::Database> {
    return SQLite::Database(path, flags, static_cast<int>(busy_timeout.count()));
  });
}

// SQLite opens a database beside which it may keep no log only as one that nobody changes. That serves where there is no log to be read: nobody is
// writing then. Should somebody begin, what this connection reads may be of two moments. (A file that may not be written, in a folder that may, is
// opened so too: a reader's log files would stay behind, and bar the way to the writer.)
Result<SQLite::Database> OpenAsPermitted(const std::string& path, std::chrono::milliseconds busy_timeout) {
  const std::string folder = fs::path(path).parent_path().string();
  const bool may_write = access(path.c_str(), W_OK) == 0 && access(folder.c_str(), W_OK) == 0;
  if (may_write || Exists(path + "-wal") || Exists(path + "-journal"))
    return OpenFile(path, SQLite::OPEN_READWRITE, busy_timeout);
  return OpenFile(UriOf(path) + "?immutable=1", SQLite::OPEN_READONLY | SQLite::OPEN_URI, busy_timeout);
}

Result<void> PrepareForReading(SQLite::Database& db, const std::string& path) {
  if (auto checked = CheckSqliteSchema(db, path); !checked) return checked;
  db.exec(kConnectionPragmas);
  return {};
}

Result<void> PrepareForWriting(SQLite::Database& db, const std::string& path) {
  db.exec(kConnectionPragmas);
  if (auto migrated = MigrateSqliteSchema(db, path); !migrated) return migrated;
  PreferWriteAheadLog(db);
  return {};
}

Result<SQLite::Database> OpenExisting(const std::string& path, OpenMode mode, std::chrono::milliseconds busy_timeout) {
  auto opened = OpenAsPermitted(path, busy_timeout);
  if (!opened) return opened;
  SQLite::Database& db = *opened;
  if (auto ours = CheckIsOurs(db, path); !ours) return Pass(ours);
  if (IsReadOnly(db) && mode == OpenMode::kReadWriteCreate) return FailReadOnly(path);
  const auto system_errno = [&db] { return SystemErrnoOf(db); };
  const auto prepared = CatchSqlite(Opening(path), system_errno,
                                    [&] { return IsReadOnly(db) ? PrepareForReading(db, path) : PrepareForWriting(db, path); });
  if (!prepared) return Pass(prepared);
  return opened;
}

// ---- a new database

// The folders made on the way to a new database. Takes them away again, unless kept.
class NewFolders {
 public:
  NewFolders() = default;
  NewFolders(const NewFolders&) = delete;
  NewFolders& operator=(const NewFolders&) = delete;
  ~NewFolders() {
    // fails if someone else uses it
    for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) rmdir(folder->c_str());
  }

  Result<void> Make(const fs::path& folder) {
    fs::path prefix;
    for (const fs::path& part : folder) {
      prefix /= part;
      if (auto made = MakeOne(prefix.string()); !made) return made;
    }
    return {};
  }

  void Keep() { made_.clear(); }

 private:
  Result<void> MakeOne(const std::string& folder) {
    if (mkdir(folder.c_str(), kFolderMode) == 0) {
      made_.push_back(folder);
      chmod(folder.c_str(), kFolderMode);  // gives back what the umask took; mkdir never gives more
      return {};
    }
    const int mkdir_errno = errno;
    // Not EEXIST alone: on a read-only file system or without permission, mkdir may complain of that first.
    struct stat status {};
    if (stat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return {};
    return FailSystem(mkdir_errno, "make the folder " + Printable(folder));
  }

  std::vector<std::string> made_;
};

// A database that is being built under a name of its own. Takes its files away again, unless it has moved to its place.
class DraftFile {
 public:
  explicit DraftFile(std::string path) : path_(std::move(path)) {}
  DraftFile(const DraftFile&) = delete;
  DraftFile& operator=(const DraftFile&) = delete;
  ~DraftFile() {
    unlink(path_.c_str());
    for (const std::string_view suffix : kCompanionSuffixes) unlink((path_ + std::string(suffix)).c_str());
  }

  const std::string& path() const { return path_; }

  // False with errno set if it cannot, EEXIST if something has that name. Some file systems only know how to link.
  bool MoveTo(const std::string& place) {
    if (renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, place.c_str(), RENAME_NOREPLACE) == 0) return true;
    return errno == EINVAL && link(path_.c_str(), place.c_str()) == 0;
  }

 private:
  std::string path_;
};

// An empty file of mode 0600, whatever the umask; SQLite gives the log files beside it the same mode. Returns its path.
Result<std::string> MakeEmptyFile(const std::string& place) {
  std::string path = place + ".new-XXXXXX";
  const int file = mkostemp(path.data(), O_CLOEXEC);
  if (file < 0) return FailSystem(errno, Making(place));
  const int chmod_errno = fchmod(file, kFileMode) == 0 ? 0 : errno;
  close(file);
  if (chmod_errno == 0) return path;
  unlink(path.c_str());
  return FailSystem(chmod_errno, Making(place));
}

Result<void> FillDraft(const DraftFile& draft, const std::string& place, std::chrono::milliseconds busy_timeout) {
  auto opened = OpenFile(draft.path(), SQLite::OPEN_READWRITE, busy_timeout);
  if (!opened) return Pass(opened);
  SQLite::Database& db = *opened;
  const auto system_errno = [&db] { return SystemErrnoOf(db); };
  return CatchSqlite(Making(place), system_errno, [&]() -> Result<void> {
    db.exec(kConnectionPragmas);
    db.execAndGet(kDraftJournalMode);
    if (auto migrated = MigrateSqliteSchema(db, place); !migrated) return migrated;
    db.execAndGet(kJournalMode);
    return {};
  });
}

// So that the new name survives a power cut.
Result<void> SyncFolder(const std::string& folder, const std::string& place) {
  const int handle = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle < 0) return FailSystem(errno, Making(place));
  const int sync_errno = fsync(handle) == 0 ? 0 : errno;
  close(handle);
  if (sync_errno == 0 || sync_errno == EINVAL) return {};  // EINVAL: the file system has no such notion
  return FailSystem(sync_errno, Making(place));
}

// SQLite would play an old log into the new database.
Result<void> CheckNoLeftovers(const std::string& path) {
  for (const std::string_view suffix : {kCompanionSuffixes[0], kCompanionSuffixes[2]}) {
    const std::string leftover = path + std::string(suffix);
    if (Exists(leftover) && !Exists(path)) {
      return Fail(ErrorCode::kFailedPrecondition,
                  "cannot " + Making(path) + ": " + Printable(leftover) + " is left over from another database; remove it first");
    }
  }
  return {};
}

// Succeeds also when another process makes the same store first.
Result<void> MakeDatabase(const std::string& path, std::chrono::milliseconds busy_timeout) {
  const std::string folder = fs::path(path).parent_path().string();
  NewFolders folders;
  if (auto made = folders.Make(folder); !made) return made;
  if (auto clean = CheckNoLeftovers(path); !clean) return clean;
  auto empty = MakeEmptyFile(path);
  if (!empty) return Pass(empty);
  DraftFile draft(*empty);
  if (auto filled = FillDraft(draft, path, busy_timeout); !filled) return filled;
  if (!draft.MoveTo(path) && errno != EEXIST) return FailSystem(errno, Making(path));
  folders.Keep();
  return SyncFolder(folder, path);
}

// ---- the path

Result<std::string> AbsolutePath(const std::string& path) {
  if (path.empty() || path.back() == '/' || path.find('\0') != std::string::npos) {
    return Fail(ErrorCode::kInvalidArgument, "store path: wanted the path of a file, got '" + Printable(path) + "'");
  }
  // Absolute also because SQLite would read a relative "file:x" or ":memory:" as something else than a path.
  std::error_code failure;
  const fs::path absolute = fs::absolute(path, failure);
  if (failure) return FailSystem(failure.value(), Opening(path));
  return absolute.string();
}

enum class Presence { kMissing, kFile };

Result<Presence> LookAt(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return Presence::kMissing;
    return FailSystem(errno, Opening(path));
  }
  if (S_ISREG(status.st_mode)) return Presence::kFile;
  return Fail(ErrorCode::kInvalidArgument, "cannot " + Opening(path) + ": it is a folder or a device; give the path of a file");
}

}  // namespace

Result<SQLite::Database> OpenSqliteDatabase(const std::string& path, OpenMode mode, std::chrono::milliseconds busy_timeout) {
  const auto absolute = AbsolutePath(path);
  if (!absolute) return Pass(absolute);
  const auto presence = LookAt(*absolute);
  if (!presence) return Pass(presence);
  if (*presence == Presence::kMissing) {
    if (mode == OpenMode::kReadWrite) {
      return Fail(ErrorCode::kNotFound,
                  "cannot " + Opening(*absolute) + ": there is none; mark a stream first, or check the path");
    }
    if (auto made = MakeDatabase(*absolute, busy_timeout); !made) return Pass(made);
  }
  return OpenExisting(*absolute, mode, busy_timeout);
}

Result<int> SqliteSchemaVersion(const std::string& path, std::chrono::milliseconds busy_timeout) {
  const auto absolute = AbsolutePath(path);
  if (!absolute) return Pass(absolute);
  const auto presence = LookAt(*absolute);
  if (!presence) return Pass(presence);
  if (*presence == Presence::kMissing) return 0;
  auto opened = OpenAsPermitted(*absolute, busy_timeout);
  if (!opened) return Pass(opened);
  if (auto ours = CheckIsOurs(*opened, *absolute); !ours) return Pass(ours);
  const auto system_errno = [&] { return SystemErrnoOf(*opened); };
  return CatchSqlite(Opening(*absolute), system_errno,
                     [&]() -> Result<int> { return opened->execAndGet("PRAGMA user_version").getInt(); });
}

}  // namespace earmark
