#include "services/cli/notify_socket.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/redirect_error.hpp>
#include <cstring>

namespace aima::cli {
namespace {

// Splits VAR=value lines.
std::map<std::string, std::string> Values(absl::string_view text) {
  std::map<std::string, std::string> values;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> entry = absl::StrSplit(line, absl::MaxSplits('=', 1));
    values[entry.first] = entry.second;
  }
  return values;
}

// Reads one datagram with its sender; false if there is none.
bool Receive(int fd, Notification& out) {
  char text[4096];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  iovec part = {text, sizeof text};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t size = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (size < 0) return false;
  out = {};
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
    ucred sender;
    std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
    out.pid = sender.pid;
  }
  out.values = Values(absl::string_view(text, static_cast<size_t>(size)));
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<NotifySocket>> NotifySocket::Open(Loop& loop, const std::string& path) {
  sockaddr_un address = {};
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(path + " is too long for a socket");
  }
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  unlink(path.c_str());
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
      bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    const std::string reason = std::strerror(errno);
    if (fd >= 0) close(fd);
    return absl::InternalError(absl::StrCat("cannot make the socket ", path, ": ", reason));
  }
  return std::unique_ptr<NotifySocket>(new NotifySocket(loop, fd, path));
}

NotifySocket::~NotifySocket() { unlink(path_.c_str()); }

void NotifySocket::Close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

std::optional<Notification> NotifySocket::TryNext() {
  Notification notification;
  if (!socket_.is_open() || !Receive(socket_.native_handle(), notification)) return std::nullopt;
  return notification;
}

Task<absl::StatusOr<Notification>> NotifySocket::Next() {
  while (socket_.is_open()) {
    if (std::optional<Notification> notification = TryNext()) co_return *std::move(notification);
    boost::system::error_code error;
    co_await socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                boost::asio::redirect_error(boost::asio::use_awaitable, error));
    if (error) break;
  }
  co_return absl::CancelledError("closed");
}

}  // namespace aima::cli
