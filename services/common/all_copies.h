// The copies of all listeners of a stream, each in a file of its own.
#pragma once

#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/media/key_file.h"
#include "services/common/copy_request.h"
#include "services/common/marking.h"
#include "services/common/progress.h"

namespace earmark {

// A folder that is made if it is not there, and taken away again if nothing was put into it.
class CopyFolder {
 public:
  // kNotFound: the folder that it is to be in does not exist; kInvalidArgument: it is a file; kPermissionDenied.
  static Result<CopyFolder> Make(const std::string& path);
  CopyFolder(CopyFolder&& other) noexcept;
  CopyFolder& operator=(CopyFolder&&) = delete;
  ~CopyFolder();

 private:
  explicit CopyFolder(std::string made) : made_(std::move(made)) {}
  std::string made_;  // empty if it was there
};

struct CopySet {
  struct Copy {
    std::string account;
    std::string path;
    PacketRange copied;  // what it holds of the stream
  };
  struct LeftOut {
    std::string account;
    std::string why;
  };
  std::vector<Copy> copies;       // by account
  std::vector<LeftOut> left_out;  // revoked, or granted too little for a copy
};

// The file of one of `request`'s copies: in the folder of request.output, and with its ending (CopyFileName says the rest).
std::string CopyPath(const CopyRequest& request, const std::string& account);

// kAlreadyExists: one of these accounts has a file already.
Result<void> CheckAreNew(const CopyRequest& request, const std::vector<std::string>& accounts);

// The copy of everybody who has a grant for `stream`, as WriteCopy makes it, at its CopyPath. All or none: where it fails, those written are removed again.
// CheckAreNew's error, before anything is written; otherwise WriteCopy's errors, but for those that concern one account alone.
Result<CopySet> WriteAllCopies(Store& store, const MasterKey& master, const StreamRecord& stream, const CopyRequest& request,
                               const Progress& progress);

}  // namespace earmark
