// Receives what services say about themselves, by the protocol of systemd's sd_notify.
#pragma once

#include <absl/status/statusor.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "libs/base/task.h"

namespace aima::cli {

// One datagram.
struct Notification {
  int pid = 0;                                // of the sender, vouched for by the kernel
  std::map<std::string, std::string> values;  // READY → 1, STATUS → waiting for PostgreSQL
};

class NotifySocket {
 public:
  // Replaces what is at `path`.
  static absl::StatusOr<std::unique_ptr<NotifySocket>> Open(Loop& loop, const std::string& path);
  ~NotifySocket();

  // A datagram that is there already.
  std::optional<Notification> TryNext();
  // The next datagram. Fails once Close has been called.
  Task<absl::StatusOr<Notification>> Next();
  void Close();

 private:
  NotifySocket(Loop& loop, int fd, std::string path) : socket_(loop, fd), path_(std::move(path)) {}

  boost::asio::posix::stream_descriptor socket_;
  const std::string path_;
};

}  // namespace aima::cli
