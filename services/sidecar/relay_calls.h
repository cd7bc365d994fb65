// The calls of the Relay service that go on for as long as somebody speaks or listens: Variants and Choices.
//
// gRPC serves them by callbacks, since a thread for each listener of a large room would be too many. Callbacks must not block. So
// what waits for the store or for the rooms is done by a thread of ours, one thing after the other, and a second thread looks
// after all calls every 50 ms: whether there are choices to tell, and whether what the call is about is still there.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "earmark/v1/relay.grpc.pb.h"
#include "services/sidecar/sidecar.h"

namespace earmark {

class RelayCalls {
 public:
  // More of them at one time are RESOURCE_EXHAUSTED.
  static constexpr int kMaxVariants = 1000;
  static constexpr int kMaxChoices = 2 * Room::kMaxListeners;

  explicit RelayCalls(Sidecar& sidecar);
  ~RelayCalls();  // the server has stopped

  // What gRPC is to be given for a new call; it deletes itself.
  grpc::ServerBidiReactor<v1::SourcePacket, v1::VariantSlot>* Variants(grpc::CallbackServerContext* context);
  grpc::ServerWriteReactor<v1::ChoiceBlock>* Choices(grpc::CallbackServerContext* context, const v1::ChoicesRequest& request);

  // Ends all calls with UNAVAILABLE, and those that still come.
  void Drain();

  // ---- for the calls themselves
  class Call {
   public:
    virtual ~Call() = default;
    // Ends the call if it has lost its subject, or `draining`; does what is due.
    virtual void Look(bool draining) = 0;
  };
  using Place = std::shared_ptr<void>;  // one among so many; free again when it goes
  void Enter(std::shared_ptr<Call> call);
  void Leave(Call* call);
  // On a thread that may wait, in this order.
  void Later(std::function<void()> work);
  Sidecar& sidecar() { return sidecar_; }

 private:
  static Place TakePlace(std::atomic<int>& taken, int max);  // nullptr: there is none
  void LookAfterCalls();
  void Work();

  Sidecar& sidecar_;
  std::atomic<int> num_variants_ = 0;
  std::atomic<int> num_choices_ = 0;
  std::mutex mutex_;  // of all that follows
  std::condition_variable changed_;
  std::map<Call*, std::shared_ptr<Call>> calls_;
  std::deque<std::function<void()>> work_;
  bool draining_ = false;
  bool stopping_ = false;
  std::thread looker_;
  std::thread worker_;
};

}  // namespace earmark
