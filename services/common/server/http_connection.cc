#include "services/common/server/http_connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace earmark::server {
namespace {

thread_local HttpConnection* current = nullptr;

void AddressOf(int (*name_of)(int, sockaddr*, socklen_t*), int socket, std::string& ip, int& port) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  char host[NI_MAXHOST] = "";
  char service[NI_MAXSERV] = "";
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  if (name_of(socket, any, &length) != 0 ||
      ::getnameinfo(any, length, host, sizeof host, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return;
  ip = host;
  port = std::atoi(service);
}

}  // namespace

HttpConnection::HttpConnection(socket_t socket, SSL_CTX* tls) : socket_(socket), read_until_(Clock::now() + kHeadTime) {
  ::fcntl(socket_, F_SETFL, ::fcntl(socket_, F_GETFL) | O_NONBLOCK);
  if (tls != nullptr) {
    tls_ = SSL_new(tls);
    has_failed_ = tls_ == nullptr || SSL_set_fd(tls_, socket_) != 1;
  }
  current = this;
}

HttpConnection::~HttpConnection() {
  current = nullptr;
  if (tls_ != nullptr && !has_failed_) SSL_shutdown(tls_);
  LetAnswerArrive();
  SSL_free(tls_);
  ::close(socket_);
}

// A socket that is closed with bytes unread takes the answer with it that the client has not read yet.
void HttpConnection::LetAnswerArrive() {
  ::shutdown(socket_, SHUT_WR);
  if (!has_failed_) return;
  const auto until = Clock::now() + kMoment;
  while (Wait(POLLIN, until) && ::recv(socket_, buffer_.data(), buffer_.size(), 0) > 0) {
  }
}

bool HttpConnection::Wait(short events, Clock::time_point until) const {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return false;
    struct pollfd polled {
      socket_, events, 0
    };
    const int ready = ::poll(&polled, 1, static_cast<int>(left));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

bool HttpConnection::WaitForTls(int result, Clock::time_point until) {
  switch (SSL_get_error(tls_, result)) {
    case SSL_ERROR_WANT_READ:
      return Wait(POLLIN, until);
    case SSL_ERROR_WANT_WRITE:
      return Wait(POLLOUT, until);
    default:
      return false;
  }
}

bool HttpConnection::ShakeHands() {
  if (tls_ == nullptr) return !has_failed_;
  for (;;) {
    ERR_clear_error();
    const int result = SSL_accept(tls_);
    if (result == 1) break;
    if (has_failed_ || !WaitForTls(result, read_until_)) {
      has_failed_ = true;
      return false;
    }
  }
  read_until_ = Clock::now() + kHeadTime;
  return true;
}

bool HttpConnection::AwaitRequest(std::chrono::milliseconds patience) {
  const bool is_there = buffer_begin_ < buffer_end_ || (tls_ != nullptr && SSL_pending(tls_) > 0);
  if (!is_there && !Wait(POLLIN, Clock::now() + patience)) return false;
  read_until_ = Clock::now() + kHeadTime;
  return true;
}

void HttpConnection::HeadIsRead() {
  if (current != nullptr) current->read_until_ = Clock::now() + kBodyTime;
}

void HttpConnection::MoreBody() { HeadIsRead(); }

void HttpConnection::EnoughBody() {
  if (current != nullptr) current->read_until_ = std::min(current->read_until_, Clock::now() + kMoment);
}

void HttpConnection::Abandon() {
  if (current != nullptr) current->has_failed_ = true;
}

bool HttpConnection::is_readable() const {
  return buffer_begin_ < buffer_end_ || (tls_ != nullptr && SSL_pending(tls_) > 0) || Wait(POLLIN, read_until_);
}

bool HttpConnection::is_writable() const {
  struct pollfd polled {
    socket_, POLLRDHUP, 0
  };
  return ::poll(&polled, 1, 0) == 0 && Wait(POLLOUT, Clock::now() + kWriteTime);
}

ssize_t HttpConnection::ReadSome(char* to, std::size_t size) {
  for (;;) {
    if (Clock::now() >= read_until_) return -1;
    if (tls_ == nullptr) {
      const ssize_t got = ::recv(socket_, to, size, 0);
      if (got >= 0) return got;
      if (errno != EINTR && (errno != EAGAIN || !Wait(POLLIN, read_until_))) return -1;
      continue;
    }
    ERR_clear_error();
    std::size_t got = 0;
    const int result = SSL_read_ex(tls_, to, size, &got);
    if (result == 1) return static_cast<ssize_t>(got);
    if (SSL_get_error(tls_, result) == SSL_ERROR_ZERO_RETURN) return 0;
    if (!WaitForTls(result, read_until_)) return -1;
  }
}

ssize_t HttpConnection::read(char* to, size_t size) {
  if (has_failed_) return -1;
  if (buffer_begin_ == buffer_end_) {
    const bool is_large = size >= buffer_.size();
    const ssize_t got = is_large ? ReadSome(to, size) : ReadSome(buffer_.data(), buffer_.size());
    has_failed_ = got <= 0;
    if (is_large || got <= 0) return got;
    buffer_begin_ = 0;
    buffer_end_ = static_cast<std::size_t>(got);
  }
  const std::size_t count = std::min(size, buffer_end_ - buffer_begin_);
  std::memcpy(to, buffer_.data() + buffer_begin_, count);
  buffer_begin_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t HttpConnection::write(const char* from, size_t size) {
  const auto until = Clock::now() + kWriteTime;
  for (;;) {
    if (tls_ == nullptr) {
      const ssize_t sent = ::send(socket_, from, size, MSG_NOSIGNAL);
      if (sent >= 0) return sent;
      if (errno == EINTR || (errno == EAGAIN && Wait(POLLOUT, until))) continue;
    } else {
      ERR_clear_error();
      std::size_t sent = 0;
      const int result = SSL_write_ex(tls_, from, size, &sent);
      if (result == 1) return static_cast<ssize_t>(sent);
      if (WaitForTls(result, until)) continue;
    }
    has_failed_ = true;
    return -1;
  }
}

void HttpConnection::get_remote_ip_and_port(std::string& ip, int& port) const { AddressOf(&::getpeername, socket_, ip, port); }
void HttpConnection::get_local_ip_and_port(std::string& ip, int& port) const { AddressOf(&::getsockname, socket_, ip, port); }

}  // namespace earmark::server
