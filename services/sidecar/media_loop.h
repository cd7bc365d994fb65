// The media thread: waits for RTP on the ports of all sources and lets each do its work.
//
// Control threads add and remove sources; the thread itself waits for nothing but packets and its own clock.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "dsp/core/published.h"
#include "dsp/core/result.h"
#include "services/sidecar/live_source.h"

namespace earmark {

class MediaLoop {
 public:
  // kResourceExhausted: the system gives no thread or descriptor.
  static Result<std::unique_ptr<MediaLoop>> Start();
  ~MediaLoop();

  // Control threads. A number for Remove.
  std::int64_t Add(std::shared_ptr<LiveSource> source);
  // When it returns, the media thread does not touch the source any more.
  void Remove(std::int64_t source);

 private:
  using Sources = std::map<std::int64_t, std::shared_ptr<LiveSource>>;

  MediaLoop(int epoll_fd, UdpSocket v4, UdpSocket v6);
  void Run() noexcept;
  void Publish(std::shared_ptr<const Sources> sources);

  const int epoll_fd_;
  UdpSocket v4_;
  UdpSocket v6_;
  std::mutex mutex_;  // of control threads among themselves
  std::int64_t last_source_ = 0;
  std::shared_ptr<const Sources> sources_;
  Published<Sources> published_;
  Published<Sources>::Reader reader_;  // the thread's
  std::atomic<std::uint64_t> num_rounds_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace earmark
