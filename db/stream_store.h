// Streams: their reference, fingerprints, sources, grants, and who is recording them.
//
// Thread safety: as Store (store.h). Times are microseconds: `*_unix_us` since 1970 UTC, `*_stream_us` since the start of the stream.
//
// Ownership. One process records a stream at a time: its owner. Each time somebody becomes the owner the stream's epoch grows by one, and
// every change by the owner names its epoch; a change with an older one is kFailedPrecondition, so that a recorder which was replaced without
// noticing it can do no harm. The owner's lease runs out unless it is extended (by AppendReference or RenewStream); after that anybody may
// take the stream over.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
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

// The epoch of a stream's creator.
inline constexpr std::int64_t kFirstEpoch = 1;

// Who records a stream, and for how long that holds without being extended.
struct Lease {
  std::string owner;             // any text; the same owner may take its stream again at once
  std::int64_t duration_us = 0;  // 0: none, anybody may take over at once
};

struct StreamRecord {
  std::string id;
  StreamFormat format;
  StreamState state = StreamState::kRecording;
  std::string key_id;                   // public id of the master key that seals the reference
  std::array<std::uint8_t, 16> salt{};  // of the per-stream key; public
  std::string input_digest;             // hex digest of the marked input, so that a second `mark` can tell another recording
  bool live = false;                    // marked as it was sent, not from a file: its time 0 is created_unix_us
  int retention_days = 0;               // 0: until removed
  std::int64_t created_unix_us = 0;     // set by CreateStream
  std::int64_t updated_unix_us = 0;     // set by CreateStream, AppendReference, CompleteStream
  // end of the source that reaches furthest, in 20 ms packets; grows with AppendReference
  std::int64_t num_packets = 0;
  std::int64_t num_samples = 0;       // of the recording, per channel at 48 kHz, without padding; set by CompleteStream
  std::int64_t num_erased_slots = 0;  // slots whose variants differed in mode or length; grows with AppendReference
  std::string owner = {};             // of the latest lease
  std::int64_t epoch = kFirstEpoch;   // set by CreateStream, TakeStream
  std::int64_t leased_until_unix_us = 0;
};

// A sealed piece of the reference, and the fingerprint of the same stretch. See docs/formats/sealed-reference.md.
struct ReferenceChunk {
  int source = 0;                 // which speaker's; 0 where there is only one
  std::int64_t first_packet = 0;  // chunks of one source do not overlap; where the source was away there are none
  int num_packets = 0;            // > 0
  int num_erased_slots = 0;
  std::vector<std::uint8_t> sealed;       // ciphertext
  std::vector<std::uint8_t> fingerprint;  // plain; may be empty
};

// A speaker in a live stream.
struct SourceRecord {
  int source = 0;        // from 0, in order of arrival
  std::string name;      // what the relay calls it; unique in the stream
  std::string settings;  // the service's own; opaque here

  bool operator==(const SourceRecord&) const = default;
};

struct Grant {
  static constexpr std::int64_t kOpenEnd = std::numeric_limits<std::int64_t>::max();
  std::string account;
  std::int64_t from_stream_us = 0;
  std::int64_t to_stream_us = kOpenEnd;  // exclusive
  std::string id = {};                   // unique in the store; empty for those that never change
  std::string delivery = {};             // the service's own: where the listener's packets go; opaque here
  // 0: not revoked; else no copy is made under it any more, and those that are out are traced as before
  std::int64_t revoked_unix_us = 0;

  bool operator==(const Grant&) const = default;
};

struct LocatedGrant {
  std::string stream_id;
  Grant grant;
};

// How many accounts have a grant for a stream.
struct ListenerCount {
  std::int64_t num_listeners = 0;  // revoked or not: they may have a copy
  std::int64_t num_revoked = 0;    // of these, whose every grant is revoked

  bool operator==(const ListenerCount&) const = default;
};

// One account's lines in `earmark accounts`.
struct AccountSummary {
  std::string account;
  std::int64_t num_grants = 0;
  std::int64_t num_accusing_clips = 0;  // a clip that was scanned again is one, and so is one that several streams are heard in
};

class StreamStore {
 public:
  virtual ~StreamStore() = default;

  // ---- streams
  // Registers a stream in state kRecording together with its first grants, in one transaction, and makes `lease.owner` its owner with
  // kFirstEpoch. Sets the record's times itself. kAlreadyExists if the id is taken.
  virtual Result<void> CreateStream(const StreamRecord& stream, std::span<const Grant> grants, const Lease& lease = {}) = 0;
  // Becomes the owner of a recording stream; the new epoch. kNotFound: no such stream; kFailedPrecondition: it is complete, or
  // another owner's lease has not run out.
  virtual Result<std::int64_t> TakeStream(std::string_view stream_id, const Lease& lease) = 0;
  // Extends the lease by its duration from now on. kNotFound; kFailedPrecondition: complete, or `epoch` is not the stream's.
  virtual Result<void> RenewStream(std::string_view stream_id, std::int64_t epoch) = 0;
  // kRecording to kComplete; no effect on a complete one. `num_samples`: the recording's true length, per channel at 48 kHz; >= 0.
  // kNotFound: no such stream; kFailedPrecondition: `epoch` is not the stream's.
  virtual Result<void> CompleteStream(std::string_view stream_id, std::int64_t num_samples, std::int64_t epoch = kFirstEpoch) = 0;
  // Deletes the stream with its reference, fingerprints, sources and grants; findings stay. kNotFound: no such stream.
  virtual Result<void> RemoveStream(std::string_view stream_id) = 0;
  // Removes one stream that nobody records and that was last changed longer ago than its retention_days, and tells its id; none: there is no such stream.
  // Of several callers each removes another.
  virtual Result<std::optional<std::string>> RemoveExpiredStream() = 0;
  // kNotFound: no such stream.
  virtual Result<StreamRecord> GetStream(std::string_view stream_id) = 0;
  // All streams, by creation time then id.
  virtual Result<std::vector<StreamRecord>> ListStreams() = 0;
  // Of each stream that has any.
  virtual Result<std::map<std::string, ListenerCount>> CountListeners() = 0;

  // ---- reference
  // Appends one chunk, moves the stream's num_packets, num_erased_slots and updated time on, and extends the lease. kNotFound: no such
  // stream; kFailedPrecondition: the stream is complete, `epoch` is not the stream's, or the chunk starts before its source's last one ended.
  virtual Result<void> AppendReference(std::string_view stream_id, const ReferenceChunk& chunk,
                                       std::int64_t epoch = kFirstEpoch) = 0;
  // The chunks of one source that overlap packets [first_packet, end_packet), in order, without fingerprints. May be empty.
  virtual Result<std::vector<ReferenceChunk>> ReadReference(std::string_view stream_id, int source, std::int64_t first_packet,
                                                            std::int64_t end_packet) = 0;
  // Calls `visit` for every non-empty fingerprint, by stream (creation time, id), source and first packet; of one stream only, if
  // `stream_id` is set. The span is valid during the call only. Reads row by row: memory does not grow with the store.
  using FingerprintVisitor =
      std::function<void(std::string_view stream_id, int source, std::int64_t first_packet, std::span<const std::uint8_t>)>;
  virtual Result<void> VisitFingerprints(std::optional<std::string_view> stream_id, const FingerprintVisitor& visit) = 0;
  // The same of one stream for those that know a part of it: of each source what begins at `from_packet` or later, and everything of
  // sources that are not in it. A source's chunks come in order, so nothing is missed.
  virtual Result<void> VisitFingerprintsFrom(std::string_view stream_id, const std::map<int, std::int64_t>& from_packet,
                                             const FingerprintVisitor& visit) = 0;

  // ---- sources
  // The number of the source of this name: the one it has, with its settings replaced, or the next free one. kNotFound: no such stream;
  // kFailedPrecondition: complete, or `epoch` is not the stream's.
  virtual Result<int> PutSource(std::string_view stream_id, std::int64_t epoch, std::string_view name,
                                std::string_view settings) = 0;
  // By number. Empty for a stream that was marked from a file, and for an unknown one.
  virtual Result<std::vector<SourceRecord>> ListSources(std::string_view stream_id) = 0;

  // ---- grants
  // Adds grants in one transaction, none of them revoked. Adding an identical one again has no effect, but that it is open again if it was revoked.
  // kNotFound: no such stream; kInvalidArgument: an empty or negative interval.
  virtual Result<void> AddGrants(std::string_view stream_id, std::span<const Grant> grants) = 0;
  // Revokes all grants that these accounts have in the stream, from now on, but for those with an id, which CloseGrant ends. Revoked ones stay in all
  // lists. The number of accounts that had one which was not revoked yet. kNotFound: no such stream, or an account has no such grant; then none is revoked.
  virtual Result<std::int64_t> RevokeGrants(std::string_view stream_id, std::span<const std::string> accounts) = 0;
  // Ends the grant of this id at `to_stream_us`, or just after its start if that is later. No effect on one that has ended before.
  // kNotFound: no such grant.
  virtual Result<void> CloseGrant(std::string_view grant_id, std::int64_t to_stream_us) = 0;
  // kNotFound: no such grant.
  virtual Result<LocatedGrant> FindGrant(std::string_view grant_id) = 0;
  // The grants of a stream that overlap stream time [from_us, to_us), revoked or not, by account then from. An empty result is not an error.
  virtual Result<std::vector<Grant>> ListGrants(std::string_view stream_id, std::int64_t from_stream_us,
                                                std::int64_t to_stream_us) = 0;
  // Every account that has a grant or an accusation, by name; of one stream's grants only, if `stream_id` is set (then
  // num_grants counts that stream's alone).
  virtual Result<std::vector<AccountSummary>> ListAccounts(std::optional<std::string_view> stream_id) = 0;
};

}  // namespace earmark
