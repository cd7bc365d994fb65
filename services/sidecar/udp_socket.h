// A UDP socket that closes itself.
#pragma once

#include <string>
#include <utility>

#include "dsp/core/result.h"

namespace earmark {

class UdpSocket {
 public:
  UdpSocket() = default;
  UdpSocket(UdpSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UdpSocket& operator=(UdpSocket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UdpSocket();

  // Bound to `host`, an address in digits, and `port`, or to any free one for 0. Never blocks. kAlreadyExists: the port is in use;
  // kInvalidArgument: no address of this machine.
  static Result<UdpSocket> Bind(const std::string& host, int port);
  // For sending to any address of the family, AF_INET or AF_INET6. kUnavailable: the machine does not have it.
  static Result<UdpSocket> ForSending(int family);

  int fd() const { return fd_; }
  int port() const;  // that it is bound to

 private:
  explicit UdpSocket(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace earmark
