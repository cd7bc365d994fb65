// One live stream on this machine: its clock and keys, its speakers, its listeners.
//
// Knows no store: whoever calls keeps what must outlast the process. Not thread-safe but for the constants; the media thread sees edits through Published
// values. All references must outlive it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "db/stream_store.h"
#include "dsp/tracing/audience.h"
#include "dsp/tracing/code_key.h"
#include "services/sidecar/called_source.h"
#include "services/sidecar/choice_reader.h"
#include "services/sidecar/live_source.h"
#include "services/sidecar/media_loop.h"
#include "services/sidecar/recorder.h"

namespace earmark {

// Where a listener's packets go.
struct Delivery {
  std::string host;  // empty: nowhere from here, a relay that chooses itself serves the listener
  int port = 0;
  int payload_type = 111;
  Key seed = {};  // of the SSRCs and offsets; random, the listener's own

  bool is_sent() const { return !host.empty(); }
};

class Room {
 public:
  static constexpr int kMaxListeners = 20000;

  // `now_us`: stream time at this moment.
  Room(const StreamRecord& record, const StreamKeys& keys, std::int64_t epoch, std::int64_t now_us, MediaLoop& media,
       Recorder& recorder);
  ~Room();  // stops all media; what is not recorded by then is lost: CloseSources first

  const StreamRecord& record() const { return record_; }
  std::int64_t epoch() const { return epoch_; }
  const RoomClock& clock() const { return clock_; }

  // ---- speakers
  struct SourceSettings {
    int number = 0;  // in the store
    int payload_type = 111;
    int red_payload_type = 63;
  };
  bool HasSource(const std::string& name) const { return sources_.contains(name); }
  // Begins to listen. kAlreadyExists: there is one of this name; kInternal as LiveSource::Create.
  Result<void> AddSource(const std::string& name, const SourceSettings& settings, UdpSocket socket);
  // A source without a port, whose packets come by a call. kAlreadyExists: there is one of this name; kFailedPrecondition: not a room of kind kSourcePackets.
  Result<std::shared_ptr<CalledSource>> AddCalledSource(const std::string& name, int number);
  // Whether AddCalledSource would take it.
  Result<void> CheckCalledSource(const std::string& name) const;
  // Whether that one is still here: its name may have become another's.
  bool HasCalledSource(const std::string& name, const CalledSource& source) const;
  // Stops listening and stores the rest. kNotFound; kUnavailable as Recorder::WaitUntilStored, the source is gone all the same.
  Result<void> RemoveSource(const std::string& name, std::chrono::milliseconds patience);
  // All of them; also those of an earlier call that did not get all stored.
  Result<void> CloseSources(std::chrono::milliseconds patience);
  struct SourceView {
    std::string name;
    int port = 0;  // 0: its packets come by a call
    SourceCounts counts;
  };
  std::vector<SourceView> Sources() const;  // by name

  // ---- listeners
  struct SourceSsrc {
    std::string source;
    std::uint32_t ssrc = 0;
  };
  // Begins to send, if it says where to. kAlreadyExists: another grant has this destination; kInvalidArgument: a bad one; kResourceExhausted: the room is full.
  Result<std::vector<SourceSsrc>> AddListener(const std::string& grant_id, const std::string& account, const Delivery& delivery);
  // Whether AddListener would take it.
  Result<void> CheckDelivery(const Delivery& delivery) const;
  bool HasListener(const std::string& grant_id) const { return listeners_.contains(grant_id); }
  // Stops sending at once. kNotFound.
  Result<void> RemoveListener(const std::string& grant_id);
  void RemoveListeners();
  int num_listeners() const { return static_cast<int>(listeners_.size()); }
  // Of every open grant, those sources that are sent to it from here.
  std::map<std::string, std::vector<SourceSsrc>> SsrcsByGrant() const;
  // For a relay that chooses itself. kNotFound: no open grant; kFailedPrecondition: not a room of kind kSourcePackets.
  Result<ChoiceReader> Choices(const std::string& grant_id, std::int64_t from_symbol) const;

  const ReferenceCounts& reference_counts() const { return *reference_counts_; }

 private:
  struct Listener {
    std::string account;
    Delivery delivery;
    std::shared_ptr<std::atomic<Presence>> presence = std::make_shared<std::atomic<Presence>>(Presence::kHere);
    // Of those that packets are sent to.
    ListenerId id = 0;
    std::optional<Destination> destination = {};
  };
  struct Source {
    // One of the two.
    std::shared_ptr<LiveSource> live;
    std::shared_ptr<CalledSource> called;
    std::int64_t in_media = 0;
    std::int64_t recording = 0;
    int port = 0;
    int payload_type = 111;
    std::map<ListenerId, FanoutTarget> targets;
  };

  Result<void> CheckKind() const;
  std::int64_t OpenRecording(int number);
  static void PublishTargets(Source& source);
  static FanoutTarget TargetOf(const Listener& listener, const std::string& source);

  StreamRecord record_;
  StreamKeys keys_;
  std::int64_t epoch_;
  RoomClock clock_;
  MediaLoop& media_;
  Recorder& recorder_;
  std::shared_ptr<ReferenceCounts> reference_counts_ = std::make_shared<ReferenceCounts>();
  Audience audience_;
  std::map<std::string, Source> sources_;            // by name
  std::map<std::string, std::int64_t> called_ends_;  // CalledSource::end_packet of those that went, by name
  std::map<std::string, Listener> listeners_;        // by grant
};

}  // namespace earmark
