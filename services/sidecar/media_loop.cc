#include "services/sidecar/media_loop.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

namespace earmark {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kTick{20};

}  // namespace

Result<std::unique_ptr<MediaLoop>> MediaLoop::Start() {
  auto v4 = UdpSocket::ForSending(AF_INET);
  if (!v4) return Pass(v4);
  auto v6 = UdpSocket::ForSending(AF_INET6);
  const int epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0)
    return Fail(ErrorCode::kResourceExhausted, "cannot wait for packets: " + std::generic_category().message(errno));
  return std::unique_ptr<MediaLoop>(new MediaLoop(epoll_fd, std::move(*v4), v6 ? std::move(*v6) : UdpSocket()));
}

MediaLoop::MediaLoop(int epoll_fd, UdpSocket v4, UdpSocket v6)
    : epoll_fd_(epoll_fd),
      v4_(std::move(v4)),
      v6_(std::move(v6)),
      sources_(std::make_shared<const Sources>()),
      published_(sources_),
      reader_(published_),
      thread_([this] { Run(); }) {}

MediaLoop::~MediaLoop() {
  stopping_ = true;
  thread_.join();
  ::close(epoll_fd_);
}

std::int64_t MediaLoop::Add(std::shared_ptr<LiveSource> source) {
  const std::lock_guard lock(mutex_);
  const std::int64_t number = ++last_source_;
  const int socket = source->receiving_socket();
  auto sources = std::make_shared<Sources>(*sources_);
  sources->emplace(number, std::move(source));
  Publish(std::move(sources));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<std::uint64_t>(number);
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, socket, &event);
  return number;
}

void MediaLoop::Remove(std::int64_t source) {
  const std::lock_guard lock(mutex_);
  const auto found = sources_->find(source);
  if (found == sources_->end()) return;
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, found->second->receiving_socket(), nullptr);
  auto sources = std::make_shared<Sources>(*sources_);
  sources->erase(source);
  Publish(std::move(sources));
  // A round that began before may still be at it; the one after it looks at the new list.
  const std::uint64_t now = num_rounds_.load();
  while (num_rounds_.load() < now + 2 && !stopping_) std::this_thread::sleep_for(milliseconds(1));
}

void MediaLoop::Publish(std::shared_ptr<const Sources> sources) {
  sources_ = sources;
  published_.Publish(std::move(sources));
}

void MediaLoop::Run() noexcept {
  Outlet outlet{.v4_socket = v4_.fd(), .v6_socket = v6_.fd()};
  std::array<epoll_event, 64> events;
  auto next_tick = steady_clock::now() + kTick;
  while (!stopping_) {
    const auto until_tick = std::chrono::ceil<milliseconds>(next_tick - steady_clock::now()).count();
    const int num_events = ::epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()),
                                        static_cast<int>(std::max<std::int64_t>(0, until_tick)));
    const Sources& sources = reader_.Look();
    for (int i = 0; i < num_events; ++i) {
      const auto found = sources.find(static_cast<std::int64_t>(events[static_cast<std::size_t>(i)].data.u64));
      if (found != sources.end()) found->second->Receive(outlet);
    }
    if (steady_clock::now() >= next_tick) {
      for (const auto& [number, source] : sources) source->Tick(outlet);
      next_tick = std::max(next_tick + kTick, steady_clock::now());
    }
    num_rounds_.fetch_add(1);
  }
}

}  // namespace earmark
