// A connection of the HTTP server, with or without TLS, whose every phase ends in time: whoever sends half a request holds a thread for seconds.
//
//   handshake, head of a request    kHeadTime each, the first head's with the wait for it
//   between requests                what set_keep_alive_timeout says
//   body                            kBodyTime from the end of the head on; a handler that is fed by it may ask for more (MoreBody), one that
//                                   has its answer wants no more of it than a moment's (EnoughBody)
//   answer                          kWriteTime for each piece of it
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>

namespace earmark::server {

class HttpConnection final : public httplib::Stream {
 public:
  static constexpr std::chrono::milliseconds kHeadTime{3000};
  static constexpr std::chrono::milliseconds kBodyTime{10'000};
  static constexpr std::chrono::milliseconds kWriteTime{5000};
  static constexpr std::chrono::milliseconds kMoment{500};

  // Takes the socket, and closes it in the end. `tls`: null for plain HTTP. For one thread.
  HttpConnection(socket_t socket, SSL_CTX* tls);
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;
  // Says goodbye; where the client is still sending, after it had a moment to read the answer.
  ~HttpConnection() override;

  // False: no TLS came about.
  bool ShakeHands();
  // Waits for the first byte of a request, and begins to count its head's time. False: none came.
  bool AwaitRequest(std::chrono::milliseconds patience);
  // Something was not read or written as it should have been, so that nothing can follow.
  bool has_failed() const { return has_failed_; }

  // Of the connection that this thread serves, if it serves one: its request's head has been read; and its body goes on to be of use.
  static void HeadIsRead();
  static void MoreBody();
  static void EnoughBody();
  // … and nothing can follow the answer, since nobody has read the body.
  static void Abandon();

  // For httplib.
  bool is_readable() const override;
  // False, too, where the client has gone.
  bool is_writable() const override;
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;

  bool Wait(short events, Clock::time_point until) const;
  // Waits for what OpenSSL wants after `result`; false: it is over.
  bool WaitForTls(int result, Clock::time_point until);
  ssize_t ReadSome(char* to, std::size_t size);
  void LetAnswerArrive();

  const socket_t socket_;
  SSL* tls_ = nullptr;
  Clock::time_point read_until_;
  bool has_failed_ = false;
  std::array<char, 4096> buffer_{};  // httplib reads heads byte by byte
  std::size_t buffer_begin_ = 0;
  std::size_t buffer_end_ = 0;
};

// httplib's Server or SSLServer, on such connections.
template <typename Base>
class BoundedServer final : public Base {
 public:
  using Base::Base;

 private:
  static SSL_CTX* ContextOf(const httplib::SSLServer& server) { return server.ssl_context(); }
  static SSL_CTX* ContextOf(const httplib::Server&) { return nullptr; }

  bool process_and_close_socket(socket_t socket) override {
    HttpConnection connection(socket, ContextOf(*this));
    if (!connection.ShakeHands()) return false;
    std::chrono::milliseconds patience = HttpConnection::kHeadTime;
    for (auto left = this->keep_alive_max_count_; left > 0 && this->svr_sock_ != INVALID_SOCKET; --left) {
      if (!connection.AwaitRequest(patience)) break;
      patience = std::chrono::seconds(this->keep_alive_timeout_sec_);
      bool closed = false;
      const bool served = this->process_request(connection, left == 1, closed, {});
      if (!served || closed || connection.has_failed()) break;
    }
    return true;
  }
};

}  // namespace earmark::server
