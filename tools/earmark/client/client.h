// Calling a daemon. gRPC's headers stay behind this one, for they take seconds to compile.
//
// Not thread-safe. Messages of errors name the server and never hold the token. Codes are the server's, mapped as
// services/common/server/status.h does; kUnavailable: it cannot be reached.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "db/store.h"
#include "dsp/core/result.h"
#include "services/common/expiry.h"
#include "services/common/scan/scan.h"

namespace earmark::cli {

struct ServerOptions {
  std::string server;          // HOST:PORT
  std::string token_file;      // holds the token
  std::string token;           // … or this is it
  std::string ca_file;         // PEM; set: TLS, with a certificate that this authority has signed
  std::string cert_file = {};  // PEM, with key: shown to servers that want a client's certificate
  std::string key_file = {};
  bool insecure = false;  // asks for what holds anyway: no TLS on loopback; nothing else becomes allowed by it
};

struct Submission {
  std::string path;
  std::string name;  // what to call the clip
  std::string stream;
  std::string case_label;
  double max_false_accusation = 0;  // 0: the server's own
};

enum class RemoteState { kQueued, kRunning, kDone, kCancelled, kFailed };
const char* RemoteStateName(RemoteState state);  // queued, running, done, cancelled, failed

// A finding as the server keeps it.
struct RemoteFinding {
  std::string id;
  std::string clip_name;
  std::string verdict;      // as in FindingRecord
  std::string reason;       // of verdict unreadable
  std::string report_json;  // the object of `scan --json`
  ScanReport report;        // the same for people; without meaning if the verdict is unreadable
};

struct RemoteScan {
  std::string id;
  RemoteState state = RemoteState::kQueued;
  std::string reason;                    // of kFailed
  std::optional<RemoteFinding> finding;  // of kDone
};

// One row of the answer to "who leaked".
struct LeakRow {
  std::string account;
  std::string stream;
  std::string finding_id;
  double log10_bound = 0;
  std::int64_t first_seen_unix_us = 0;
  std::int64_t last_seen_unix_us = 0;
};

// What an account's rows say together.
struct AccountRow {
  std::string account;
  std::int64_t num_streams = 0;
  std::string finding_id;  // the strongest
  double log10_bound = 0;
  double log10_combined_bound = 0;
  std::int64_t first_seen_unix_us = 0;
  std::int64_t last_seen_unix_us = 0;
};

struct LeakTable {
  std::vector<LeakRow> leaks;
  std::vector<AccountRow> accounts;  // each once
};

// A token that was made just now.
struct IssuedToken {
  std::string text;
  TokenRecord record;  // without its hash
};

class Client {
 public:
  // Does not connect yet. kInvalidArgument: not HOST:PORT, or a host beyond this machine without a CA, whom the token may not be shown;
  // a token that is none; kNotFound, kPermissionDenied: a file cannot be read.
  static Result<std::unique_ptr<Client>> Create(const ServerOptions& options);
  virtual ~Client() = default;

  // Uploads a clip. Tries a second time under the same idempotency key if the connection breaks.
  virtual Result<RemoteScan> Submit(const Submission& submission, const Progress& progress) = 0;
  // Waits until a scan has ended, whichever way, connecting again as often as needed. kCancelled: `progress` said so; the scan goes on. kUnavailable:
  // the server was away for two minutes.
  virtual Result<RemoteScan> Await(const std::string& scan_id, const Progress& progress) = 0;
  // All pages. The filter's limit and place to go on from do not count.
  virtual Result<LeakTable> QueryLeaks(const LeakFilter& filter) = 0;
  // Drops what has been kept for long enough. For tokens of role admin.
  virtual Result<Expired> ExpireNow() = 0;

  // Tokens, for those who have one of role admin. Records are without their hashes.
  virtual Result<IssuedToken> CreateToken(const std::string& name, Role role, std::optional<std::int64_t> expires_unix_us) = 0;
  virtual Result<std::vector<TokenRecord>> ListTokens() = 0;  // all pages
  virtual Result<TokenRecord> RevokeToken(const std::string& id) = 0;
};

}  // namespace earmark::cli
