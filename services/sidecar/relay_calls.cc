#include "services/sidecar/relay_calls.h"

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "services/common/server/status.h"

namespace earmark {
namespace {

using grpc::StatusCode;
using server::ToStatus;

constexpr std::chrono::milliseconds kLookEvery{50};
constexpr std::size_t kMaxOpusBytes = 1500;
constexpr std::uint32_t kMaxSequence = 0xFFFF;

grpc::Status Draining() { return {StatusCode::UNAVAILABLE, "the daemon stops; call again"}; }
grpc::Status Elsewhere() { return {StatusCode::UNAVAILABLE, "the stream is not here any more; call again"}; }
grpc::Status Left() { return grpc::Status::CANCELLED; }

grpc::Status Wanted(const std::string& message) { return {StatusCode::INVALID_ARGUMENT, message}; }

void Fill(const CalledSource::Answer& answer, v1::VariantSlot& slot) {
  slot.set_symbol(answer.symbol);
  slot.set_erased(answer.patches.empty());
  for (const auto& changes : answer.patches) {
    v1::VariantPatch& patch = *slot.add_patches();
    for (const Patch::Change& change : changes) {
      patch.add_offsets(change.offset);
      patch.mutable_bytes()->push_back(static_cast<char>(change.byte));
    }
  }
}

// One source. Messages go one by one: read, marked, answered.
class VariantsCall final : public grpc::ServerBidiReactor<v1::SourcePacket, v1::VariantSlot>,
                           public RelayCalls::Call,
                           public std::enable_shared_from_this<VariantsCall> {
 public:
  VariantsCall(RelayCalls& calls, RelayCalls::Place place, grpc::CallbackServerContext* context)
      : calls_(calls), place_(std::move(place)), context_(context) {}

  void Begin() {
    calls_.Enter(shared_from_this());
    const std::lock_guard lock(mutex_);
    StartRead(&packet_);
  }

  void OnReadDone(bool read) override {
    const std::lock_guard lock(mutex_);
    if (end_) return;
    if (!read) return End(grpc::Status::OK);
    if (source_) return Answer();
    busy_ = true;
    calls_.Later([self = shared_from_this()] { self->Open(); });
  }

  void OnWriteDone(bool written) override {
    const std::lock_guard lock(mutex_);
    busy_ = false;
    if (end_) return Close();
    if (!written) return End(Left());
    StartRead(&packet_);
  }

  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    End(Left());
  }

  void OnDone() override { calls_.Leave(this); }

  void Look(bool draining) override {
    const std::lock_guard lock(mutex_);
    if (draining && end_ && busy_ && source_) return context_->TryCancel();  // somebody does not read
    if (draining) return End(Draining());
    if (source_ && source_->presence() != Presence::kHere) End(Gone());
  }

 private:
  // On the thread that may wait. Nothing else touches the packet meanwhile.
  void Open() {
    auto source = AddSource();
    const std::lock_guard lock(mutex_);
    busy_ = false;
    if (source) source_ = *source;
    if (end_) return Close();
    if (!source) return End(ToStatus(source));
    Answer();
  }

  Result<std::shared_ptr<CalledSource>> AddSource() {
    if (packet_.stream_id().empty())
      return Fail(ErrorCode::kInvalidArgument, "stream_id: wanted one in the first message, got none");
    if (packet_.source().empty()) return Fail(ErrorCode::kInvalidArgument, "source: wanted one in the first message, got none");
    stream_id_ = packet_.stream_id();
    source_name_ = packet_.source();
    return calls_.sidecar().AddCalledSource(stream_id_, source_name_);
  }

  grpc::Status CheckPacket() const {
    if (!packet_.stream_id().empty() && packet_.stream_id() != stream_id_)
      return Wanted("stream_id: wanted that of the first message or none, got another");
    if (!packet_.source().empty() && packet_.source() != source_name_)
      return Wanted("source: wanted that of the first message or none, got another");
    if (packet_.sequence_number() > kMaxSequence)
      return Wanted("sequence_number: wanted 0 to 65535, got " + std::to_string(packet_.sequence_number()));
    if (packet_.opus().size() > kMaxOpusBytes)
      return Wanted("opus: wanted at most 1500 bytes, got " + std::to_string(packet_.opus().size()));
    return grpc::Status::OK;
  }

  // ---- with the lock held
  grpc::Status Gone() const {
    if (source_->presence() == Presence::kElsewhere) return Elsewhere();
    return {StatusCode::FAILED_PRECONDITION, "source '" + source_name_ + "': it was removed, or the stream was closed"};
  }

  void Answer() {
    if (const grpc::Status right = CheckPacket(); !right.ok()) return End(right);
    CalledSource::Answer answer;
    if (!packet_.opus().empty()) {
      const auto* const bytes = reinterpret_cast<const std::uint8_t*>(packet_.opus().data());
      answer = source_->Take({.sequence = static_cast<std::uint16_t>(packet_.sequence_number()),
                              .timestamp = packet_.timestamp(),
                              .opus = {bytes, packet_.opus().size()}});
    }
    if (source_->presence() != Presence::kHere) return End(Gone());  // not told as erased: it is not to be sent unmarked
    slot_.Clear();
    slot_.set_sequence_number(packet_.sequence_number());
    Fill(answer, slot_);
    busy_ = true;
    StartWrite(&slot_);
  }

  // The first reason counts. What is under way is waited for.
  void End(const grpc::Status& status) {
    if (end_) return;
    end_ = status;
    if (!busy_) Close();
  }

  // Once, and the last that is done: the source goes, then the call.
  void Close() {
    calls_.Later([self = shared_from_this(), status = *end_] {
      const auto removed = self->source_
                               ? self->calls_.sidecar().RemoveCalledSource(self->stream_id_, self->source_name_, *self->source_)
                               : Result<void>();
      self->Finish(status.ok() ? ToStatus(removed) : status);
    });
  }

  RelayCalls& calls_;
  const RelayCalls::Place place_;
  grpc::CallbackServerContext* const context_;
  v1::SourcePacket packet_;
  v1::VariantSlot slot_;
  std::string stream_id_;
  std::string source_name_;
  std::mutex mutex_;  // of all that follows
  std::shared_ptr<CalledSource> source_;
  bool busy_ = false;  // Open, or a write, is under way
  std::optional<grpc::Status> end_;
};

// One listener's choices.
class ChoicesCall final : public grpc::ServerWriteReactor<v1::ChoiceBlock>,
                          public RelayCalls::Call,
                          public std::enable_shared_from_this<ChoicesCall> {
 public:
  ChoicesCall(RelayCalls& calls, RelayCalls::Place place, grpc::CallbackServerContext* context, const v1::ChoicesRequest& request)
      : calls_(calls), place_(std::move(place)), context_(context), request_(request) {}

  void Begin() {
    calls_.Enter(shared_from_this());
    calls_.Later([self = shared_from_this()] { self->Open(); });
  }

  void OnWriteDone(bool written) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (end_) {
      Finish(*end_);
    } else if (!written) {
      End(Left());
    }
  }

  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    End(Left());
  }

  void OnDone() override { calls_.Leave(this); }

  void Look(bool draining) override {
    const std::lock_guard lock(mutex_);
    if (draining && end_ && writing_) return context_->TryCancel();  // somebody does not read
    if (draining) return End(Draining());
    if (end_ || !reader_) return;
    const Presence presence = reader_->presence();
    if (presence != Presence::kHere) return End(presence == Presence::kEnded ? grpc::Status::OK : Elsewhere());
    if (!writing_) TellNext();
  }

 private:
  void Open() {
    auto reader = calls_.sidecar().Choices(request_.stream_id(), request_.grant_id(), request_.from_symbol());
    const std::lock_guard lock(mutex_);
    if (end_) return;
    if (!reader) return End(ToStatus(reader));
    reader_ = *std::move(reader);
    TellNext();
  }

  // ---- with the lock held
  void TellNext() {
    const auto block = reader_->Next();
    if (!block) return;
    block_.set_first_symbol(block->first_symbol);
    block_.set_variants(block->variants.data(), block->variants.size());
    writing_ = true;
    StartWrite(&block_);
  }

  // The first reason counts. A write that is under way is waited for.
  void End(const grpc::Status& status) {
    if (end_) return;
    end_ = status;
    if (!writing_) Finish(status);
  }

  RelayCalls& calls_;
  const RelayCalls::Place place_;
  grpc::CallbackServerContext* const context_;
  const v1::ChoicesRequest request_;
  v1::ChoiceBlock block_;
  std::mutex mutex_;  // of all that follows
  std::optional<ChoiceReader> reader_;
  bool writing_ = false;
  std::optional<grpc::Status> end_;
};

// A call that ends as it begins.
template <typename Reactor>
class RefusedCall final : public Reactor {
 public:
  explicit RefusedCall(int max) {
    this->Finish(
        {StatusCode::RESOURCE_EXHAUSTED, "calls: at most " + std::to_string(max) + " of this kind at one time; try again later"});
  }
  void OnDone() override { delete this; }
};

}  // namespace

RelayCalls::RelayCalls(Sidecar& sidecar)
    : sidecar_(sidecar), looker_([this] { LookAfterCalls(); }), worker_([this] { Work(); }) {}

RelayCalls::~RelayCalls() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  looker_.join();
  worker_.join();
}

grpc::ServerBidiReactor<v1::SourcePacket, v1::VariantSlot>* RelayCalls::Variants(grpc::CallbackServerContext* context) {
  auto place = TakePlace(num_variants_, kMaxVariants);
  if (!place) return new RefusedCall<grpc::ServerBidiReactor<v1::SourcePacket, v1::VariantSlot>>(kMaxVariants);
  const auto call = std::make_shared<VariantsCall>(*this, std::move(place), context);
  call->Begin();
  return call.get();
}

grpc::ServerWriteReactor<v1::ChoiceBlock>* RelayCalls::Choices(grpc::CallbackServerContext* context,
                                                               const v1::ChoicesRequest& request) {
  auto place = TakePlace(num_choices_, kMaxChoices);
  if (!place) return new RefusedCall<grpc::ServerWriteReactor<v1::ChoiceBlock>>(kMaxChoices);
  const auto call = std::make_shared<ChoicesCall>(*this, std::move(place), context, request);
  call->Begin();
  return call.get();
}

RelayCalls::Place RelayCalls::TakePlace(std::atomic<int>& taken, int max) {
  Place place(&taken, [](std::atomic<int>* count) { --*count; });
  return ++taken > max ? nullptr : place;
}

void RelayCalls::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
  changed_.notify_all();
}

void RelayCalls::Enter(std::shared_ptr<Call> call) {
  const std::lock_guard lock(mutex_);
  Call* const key = call.get();
  calls_.emplace(key, std::move(call));
  changed_.notify_all();
}

void RelayCalls::Leave(Call* call) {
  std::shared_ptr<Call> gone;  // when the lock is
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(call);
  gone = std::move(found->second);
  calls_.erase(found);
}

void RelayCalls::Later(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  work_.push_back(std::move(work));
  changed_.notify_all();
}

void RelayCalls::LookAfterCalls() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    changed_.wait(lock, [this] { return stopping_ || !calls_.empty(); });
    std::vector<std::shared_ptr<Call>> calls;
    for (const auto& [key, call] : calls_) calls.push_back(call);
    const bool draining = draining_;
    lock.unlock();
    for (const auto& call : calls) call->Look(draining);
    calls.clear();
    std::this_thread::sleep_for(kLookEvery);
    lock.lock();
  }
}

void RelayCalls::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !work_.empty(); });
    if (work_.empty()) return;
    {
      const auto work = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      work();
    }
    lock.lock();
  }
}

}  // namespace earmark
