#include "services/decode/clip_socket.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace earmark::decode {
namespace {

// A message of one byte, with room for two descriptors.
class DescriptorMessage {
 public:
  DescriptorMessage() {
    message_.msg_iov = &piece_;
    message_.msg_iovlen = 1;
    message_.msg_control = control_.data();
    message_.msg_controllen = control_.size();
  }
  DescriptorMessage(const DescriptorMessage&) = delete;
  DescriptorMessage& operator=(const DescriptorMessage&) = delete;

  void Put(const std::array<int, 2>& descriptors) {
    cmsghdr* const header = CMSG_FIRSTHDR(&message_);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptors);
    std::memcpy(CMSG_DATA(header), descriptors.data(), sizeof descriptors);
  }
  std::optional<std::array<int, 2>> Take() {
    const cmsghdr* const header = CMSG_FIRSTHDR(&message_);
    std::array<int, 2> descriptors{};
    if (header == nullptr || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof descriptors))
      return std::nullopt;
    std::memcpy(descriptors.data(), CMSG_DATA(header), sizeof descriptors);
    return descriptors;
  }
  msghdr* get() { return &message_; }

 private:
  char byte_ = 'c';
  iovec piece_{.iov_base = &byte_, .iov_len = 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control_{};
  msghdr message_{};
};

}  // namespace

bool SendClip(int socket, int clip_fd, int pipe_fd) {
  DescriptorMessage message;
  message.Put({clip_fd, pipe_fd});
  return ::sendmsg(socket, message.get(), MSG_NOSIGNAL) == 1;
}

std::optional<ClipToDecode> ReceiveClip(int socket) {
  DescriptorMessage message;
  ssize_t got = 0;
  while ((got = ::recvmsg(socket, message.get(), MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  const auto descriptors = got == 1 ? message.Take() : std::nullopt;
  if (!descriptors) return std::nullopt;
  return ClipToDecode{.clip = FileHandle((*descriptors)[0]), .pipe = FileHandle((*descriptors)[1])};
}

}  // namespace earmark::decode
