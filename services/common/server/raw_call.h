// One call over a channel whose method is known at run time alone. For the HTTP gateway.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

namespace earmark::server {

// Any kind of call: write one message or many, then WritesDone, then read one or many, then Finish. For one thread. Destroying an
// unfinished call cancels it.
class RawCall {
 public:
  enum class ReadState {
    kMessage,     // message() holds it
    kNothingYet,  // ask again
    kEnd,         // no more will come; Finish tells why
  };

  // `method`: /earmark.v1.Relay/Grant. `authorization` travels as metadata of that name unless it is empty;
  // one that is no printable ASCII goes as another, which is no token either.
  RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method, const std::string& authorization);
  RawCall(const RawCall&) = delete;
  RawCall& operator=(const RawCall&) = delete;
  ~RawCall();

  // Blocks until the transport took the message, serialised. False: the call has ended; Finish tells why.
  bool Write(const std::string& message);
  void WritesDone();
  // Waits for the next message, at most so long.
  ReadState Read(std::chrono::milliseconds patience);
  std::string message() const;
  // The status of the call. After it, nothing else may be called.
  grpc::Status Finish();

 private:
  bool Wait();

  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  grpc::ByteBuffer incoming_;
  bool reading_ = false;
  bool finished_ = false;
};

}  // namespace earmark::server
