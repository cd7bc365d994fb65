#include "services/common/server/raw_call.h"

#include <algorithm>
#include <vector>

namespace earmark::server {

// Only one operation is ever under way, so a tag has nothing to tell apart.
static void* const kTag = nullptr;

// What gRPC takes as the value of a header; at anything else it aborts the process.
static bool IsHeaderText(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

RawCall::RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method, const std::string& authorization) {
  if (!authorization.empty())
    context_.AddMetadata("authorization", IsHeaderText(authorization) ? authorization : "no header of HTTP");
  stream_ = grpc::GenericStub(channel).PrepareCall(&context_, method, &queue_);
  stream_->StartCall(kTag);
  Wait();
}

RawCall::~RawCall() {
  if (!finished_) {
    context_.TryCancel();
    if (reading_) Wait();
    reading_ = false;
    Finish();
  }
  queue_.Shutdown();
  Wait();
}

bool RawCall::Wait() {
  void* tag = nullptr;
  bool ok = false;
  return queue_.Next(&tag, &ok) && ok;
}

bool RawCall::Write(const std::string& message) {
  const grpc::Slice slice(message);
  stream_->Write(grpc::ByteBuffer(&slice, 1), kTag);
  return Wait();
}

void RawCall::WritesDone() {
  stream_->WritesDone(kTag);
  Wait();
}

RawCall::ReadState RawCall::Read(std::chrono::milliseconds patience) {
  if (!reading_) stream_->Read(&incoming_, kTag);
  reading_ = true;
  void* tag = nullptr;
  bool ok = false;
  if (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + patience) == grpc::CompletionQueue::TIMEOUT)
    return ReadState::kNothingYet;
  reading_ = false;
  return ok ? ReadState::kMessage : ReadState::kEnd;
}

std::string RawCall::message() const {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!incoming_.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

grpc::Status RawCall::Finish() {
  grpc::Status status;
  stream_->Finish(&status, kTag);
  Wait();
  finished_ = true;
  return status;
}

}  // namespace earmark::server
