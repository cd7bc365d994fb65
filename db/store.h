// The store: what Earmark remembers between marking a stream and scanning a clip.
//
// One interface, several engines (SQLite here, PostgreSQL for the live service), one set of contract tests (tests/integration/
// store_contract.h) that each engine must pass. All SQL lives behind this header. Engine exceptions stop inside db/.
//
// Thread safety: a Store is one connection; use it from one thread at a time. Several Store objects, also in several processes,
// may be open on one database. Every mutating call is one transaction: it happens whole or not at all, also when the process is
// killed in the middle. Calls block for I/O; none is real-time safe.
//
// Accounts and stream ids are opaque non-empty UTF-8 strings of at most 255 bytes without control characters; anything else is
// kInvalidArgument. Times are microseconds: `*_unix_us` since 1970 UTC, `*_stream_us` since the start of the stream.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dsp/core/result.h"
#include "dsp/core/stream_format.h"

namespace earmark {

enum class StreamState {
  kRecording = 0,  // being marked; the reference is still growing
  kComplete = 1,
};

struct StreamRecord {
  std::string id;
  StreamFormat format;
  StreamState state = StreamState::kRecording;
  std::string key_id;                    // public id of the master key that seals the reference
  std::array<std::uint8_t, 16> salt{};   // of the per-stream key; public
  std::string input_digest;              // hex digest of the marked input, so that a second `mark` can tell another recording
  std::int64_t created_unix_us = 0;      // set by CreateStream
  std::int64_t updated_unix_us = 0;      // set by CreateStream, AppendReference, CompleteStream
  std::int64_t num_packets = 0;          // length so far, in 20 ms packets; grows with AppendReference
  std::int64_t num_samples = 0;          // of the recording, per channel at 48 kHz, without padding; set by CompleteStream
  std::int64_t num_erased_slots = 0;     // slots whose variants differed in mode or length; grows with AppendReference
};

// A sealed piece of the reference, and the fingerprint of the same stretch. See docs/formats/sealed-reference.md.
struct ReferenceChunk {
  int source = 0;                         // which speaker's track; 0 where there is only one
  std::int64_t first_packet = 0;          // multiple of the chunk length; chunks of one source neither overlap nor leave gaps
  int num_packets = 0;                    // > 0
  int num_erased_slots = 0;
  std::vector<std::uint8_t> sealed;       // ciphertext
  std::vector<std::uint8_t> fingerprint;  // plain; may be empty
};

struct Grant {
  static constexpr std::int64_t kOpenEnd = std::numeric_limits<std::int64_t>::max();
  std::string account;
  std::int64_t from_stream_us = 0;
  std::int64_t to_stream_us = kOpenEnd;  // exclusive

  bool operator==(const Grant&) const = default;
};

// One account's lines in `earmark accounts`.
struct AccountSummary {
  std::string account;
  std::int64_t num_grants = 0;
  std::int64_t num_accusations = 0;
};

struct AccusationRecord {
  std::string account;
  std::string stream;
  double log10_p = 0;
  double log10_bound = 0;
};

struct FindingRecord {
  std::int64_t id = 0;  // set by AddFinding, ascending
  std::int64_t created_unix_us = 0;  // set by AddFinding
  std::string clip_name;             // as given by the user, for people
  std::string clip_sha256;           // hex, of the file's bytes
  std::string verdict;               // accused | no_accusation | unknown_audio
  std::string report_json;           // the whole `scan --json` object
  std::vector<AccusationRecord> accusations;
};

struct FindingFilter {
  std::optional<std::string> account = {};  // with an accusation of this account
  std::optional<std::string> stream = {};   // with an accusation in this stream
  std::optional<std::string> verdict = {};
  std::int64_t since_unix_us = 0;
  std::int64_t after_id = 0;  // for paging: ids greater than this
  int limit = 1000;           // 1 to 10000
};

class Store {
 public:
  virtual ~Store() = default;

  // ---- streams and their reference
  // Registers a stream in state kRecording together with its first grants, in one transaction. Sets the record's times itself.
  // kAlreadyExists if the id is taken.
  virtual Result<void> CreateStream(const StreamRecord& stream, std::span<const Grant> grants) = 0;
  // Appends one chunk and moves the stream's num_packets, num_erased_slots and updated time on. kNotFound: no such stream;
  // kFailedPrecondition: the stream is complete, or the chunk does not start where its source's last one ended (0 at first).
  virtual Result<void> AppendReference(std::string_view stream_id, const ReferenceChunk& chunk) = 0;
  // kRecording to kComplete; no effect on a complete one. kNotFound: no such stream.
  // `num_samples`: the recording's true length, per channel at 48 kHz; >= 0.
  virtual Result<void> CompleteStream(std::string_view stream_id, std::int64_t num_samples) = 0;
  // Deletes the stream with its reference, fingerprints and grants; findings stay. kNotFound: no such stream.
  virtual Result<void> RemoveStream(std::string_view stream_id) = 0;
  // kNotFound: no such stream.
  virtual Result<StreamRecord> GetStream(std::string_view stream_id) = 0;
  // All streams, by creation time then id.
  virtual Result<std::vector<StreamRecord>> ListStreams() = 0;
  // The chunks of one source that overlap packets [first_packet, end_packet), in order, without fingerprints. May be empty.
  virtual Result<std::vector<ReferenceChunk>> ReadReference(std::string_view stream_id, int source, std::int64_t first_packet,
                                                            std::int64_t end_packet) = 0;
  // Calls `visit` for every non-empty fingerprint, by stream (creation time, id), source and first packet; of one stream only, if
  // `stream_id` is set. The span is valid during the call only. Reads row by row: memory does not grow with the store.
  using FingerprintVisitor =
      std::function<void(std::string_view stream_id, int source, std::int64_t first_packet, std::span<const std::uint8_t>)>;
  virtual Result<void> VisitFingerprints(std::optional<std::string_view> stream_id, const FingerprintVisitor& visit) = 0;

  // ---- grants
  // Adds grants in one transaction. Adding an identical one again has no effect. kNotFound: no such stream;
  // kInvalidArgument: an empty or negative interval.
  virtual Result<void> AddGrants(std::string_view stream_id, std::span<const Grant> grants) = 0;
  // The grants of a stream that overlap stream time [from_us, to_us), by account then from. An empty result is not an error.
  virtual Result<std::vector<Grant>> ListGrants(std::string_view stream_id, std::int64_t from_stream_us,
                                                std::int64_t to_stream_us) = 0;
  // Every account that has a grant or an accusation, by name; of one stream's grants only, if `stream_id` is set (then
  // num_grants counts that stream's alone).
  virtual Result<std::vector<AccountSummary>> ListAccounts(std::optional<std::string_view> stream_id) = 0;

  // ---- findings
  virtual Result<std::int64_t> AddFinding(const FindingRecord& finding) = 0;
  // Ascending by id.
  virtual Result<std::vector<FindingRecord>> ListFindings(const FindingFilter& filter) = 0;
};

enum class OpenMode {
  kReadWriteCreate,  // make the database and its folder if missing, bring the schema up to date
  kReadWrite,        // kNotFound if there is none
};

// Opens `sqlite:PATH`. kInvalidArgument: not a store URL, or an engine this build does not have; kFailedPrecondition: the schema
// is newer than this build, or the file is not an Earmark store; kPermissionDenied, kUnavailable, kResourceExhausted as they
// happen.
Result<std::unique_ptr<Store>> OpenStore(const std::string& url, OpenMode mode);

}  // namespace earmark
