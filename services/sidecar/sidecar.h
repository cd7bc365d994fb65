// All live rooms of this machine, and what of them the store keeps.
//
// Every change is in the store before it takes effect on the wire: no packet leaves for a listener whose grant is not kept. A room is ours under a lease,
// which a thread of ours extends; when another sidecar has taken a room over, it stops here. Thread-safe; calls may block for the store.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "db/store_pool.h"
#include "dsp/media/key_file.h"
#include "services/sidecar/media_loop.h"
#include "services/sidecar/recorder.h"
#include "services/sidecar/room.h"

namespace earmark {

class Sidecar {
 public:
  struct Options {
    std::string store_url;
    // of this sidecar among those that share the store: what it owned before a restart it takes up again
    std::string name;
    std::string media_host = "127.0.0.1";  // where sources send to
    int port_min = 0;                      // both 0: any free port
    int port_max = 0;
    int retention_days = 30;
    Recorder::Options recorder = {};
  };
  // Opens the store, making it or bringing it up to date. Errors as OpenStore.
  static Result<std::unique_ptr<Sidecar>> Start(const Options& options, const MasterKey& master);
  // Stops media, then stores what is left, for some seconds at most.
  ~Sidecar();

  // Takes up the rooms that a sidecar of this name left recording, with their sources' ports and their listeners. Waits for their leases to run out, some
  // seconds after a kill. What cannot be had again is said in the log.
  void ResumeRooms();

  struct StreamView {
    StreamRecord record;
    std::vector<Room::SourceView> sources;
    int num_listeners = 0;
  };
  // 0 days: the configured ones. kAlreadyExists: the id is in use, or was. kInvalidArgument.
  Result<StreamView> OpenStream(const std::string& stream_id, int retention_days, std::optional<StreamFormat> format);
  // Ends all grants, stores the rest and closes the id for good; no effect on a closed one. kNotFound; kFailedPrecondition: another sidecar's;
  // kUnavailable: the store is away, to be called again.
  Result<StreamView> CloseStream(const std::string& stream_id);
  Result<StreamView> GetStream(const std::string& stream_id);
  Result<std::vector<StreamView>> ListStreams();

  // Names must be new in the stream, or be those of a removed source, which comes back under its number. The port to send to.
  Result<int> AddSource(const std::string& stream_id, const std::string& source, int payload_type, int red_payload_type);
  Result<void> RemoveSource(const std::string& stream_id, const std::string& source);
  // The same without a port: what the source says is given to Take. kFailedPrecondition also where the stream is not of kind kSourcePackets. It is not taken up
  // again after a restart.
  Result<std::shared_ptr<CalledSource>> AddCalledSource(const std::string& stream_id, const std::string& source);
  // As RemoveSource, but that it has no effect where another source has the name by now, or the room is gone.
  Result<void> RemoveCalledSource(const std::string& stream_id, const std::string& source, const CalledSource& called);

  struct GrantView {
    std::string grant_id;
    std::vector<Room::SourceSsrc> sources;
  };
  // `wanted`: the seed is chosen here. Without a host nothing is sent: a relay serves the listener, by Choices.
  Result<GrantView> AddGrant(const std::string& stream_id, const std::string& account, const Delivery& wanted);
  // kNotFound: no open grant of the stream; kFailedPrecondition also where the stream is not of kind kSourcePackets.
  Result<ChoiceReader> Choices(const std::string& stream_id, const std::string& grant_id, std::int64_t from_symbol);
  // Ending a grant that has ended has no effect.
  Result<void> Revoke(const std::string& grant_id);

  struct StatsView {
    StreamView stream;
    std::map<std::string, std::vector<Room::SourceSsrc>> grants;
    std::int64_t reference_stored = 0;
    std::int64_t reference_dropped = 0;
  };
  // kFailedPrecondition: closed, or another sidecar's.
  Result<StatsView> Stats(const std::string& stream_id);

  struct Totals {
    std::int64_t rooms = 0, sources = 0, listeners = 0, packets_sent = 0, send_drops = 0, reference_stored = 0,
                 reference_dropped = 0, reference_bytes_waiting = 0;
  };
  Totals Count();

  StorePool& pool() { return pool_; }
  const std::string& media_host() const { return options_.media_host; }

 private:
  Sidecar(const Options& options, const MasterKey& master, std::unique_ptr<MediaLoop> media);

  Lease OwnLease() const;
  // With the lock held.
  Result<Room*> FindRoom(const std::string& stream_id);
  StreamView ViewOf(const StreamRecord& record) const;
  Result<UdpSocket> BindPort(int wanted) const;
  Result<void> AddRoom(const StreamRecord& record, std::int64_t epoch, std::int64_t now_us);
  bool Resume(Store& store, const StreamRecord& record);
  void ResumeSources(Store& store, Room& room);
  void ResumeListeners(Store& store, Room& room);
  void Forget(const std::string& stream_id);
  void KeepLeases();

  const Options options_;
  const MasterKey master_;
  const std::string instance_;  // of this process
  StorePool pool_;
  std::unique_ptr<MediaLoop> media_;
  Recorder recorder_;
  std::mutex mutex_;  // of the rooms
  std::map<std::string, std::unique_ptr<Room>> rooms_;
  Totals gone_;  // what rooms that are no more had counted
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread lease_keeper_;
};

}  // namespace earmark
