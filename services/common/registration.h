// The stream that a recording is in the store: found there, or registered with its listeners.
#pragma once

#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/media/key_file.h"
#include "services/common/copy_request.h"
#include "services/common/progress.h"

namespace earmark {

// Who gets a copy of a new stream.
struct Listeners {
  std::vector<std::string> accounts;  // each once
  std::string file;                   // that they were read from, for messages

  bool Holds(const std::string& account) const;
};

struct Registration {
  StreamRecord stream;
  bool is_new = false;
  double lost_share = 0;       // of a new one, as RegisterSummary has it
  std::int64_t num_added = 0;  // listeners that a known stream did not have yet
};

// Grants to `accounts` for stream time [from_us, to_us) of a complete stream that was marked from a file; its copies that are out stay traceable, since its
// keys stay. Those that have a grant for that much, which is not revoked, keep it. The number of those that had none. kNotFound: no such stream;
// kFailedPrecondition: it is a live room, or not complete; kInvalidArgument: it has no packet in that time.
Result<std::int64_t> GrantListeners(Store& store, const std::string& stream_id, const std::vector<std::string>& accounts,
                                    std::int64_t from_stream_us, std::int64_t to_stream_us);

// From now on `accounts` get no copy of such a stream; they stay candidates of scans, for the copies that are out. The number of those that could get one until
// now. kNotFound: no such stream, or an account without a grant, and nobody's is revoked; kFailedPrecondition as above.
Result<std::int64_t> RevokeListeners(Store& store, const std::string& stream_id, const std::vector<std::string>& accounts);

// kInvalidArgument: request.account is none of them.
Error NotAListener(const CopyRequest& request, const Listeners& listeners);

// request.stream_id as it is in the store. If it is new, or its marking was broken off, request.input is marked and registered now, for request.account (if it is
// one's copy that is wanted) among `listeners`; a known one gets those of them whom it does not have. Waits for the lease of a marking that broke off, some seconds. kAlreadyExists: it is there from another recording, or with other settings than
// were given; kFailedPrecondition: it is a live room, or being marked by somebody else; NotAListener; the errors of RegisterStream and RegisterPackets.
Result<Registration> FindOrRegister(Store& store, const MasterKey& master, const CopyRequest& request, const Listeners& listeners,
                                    const Progress& progress);

}  // namespace earmark
