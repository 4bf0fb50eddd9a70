// Connections to the other processes of this machine.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "libs/base/task.h"
#include "libs/rpc/connection.h"

namespace aima::rpc {

// One connection per domain, over the Unix socket <run_dir>/<domain>.sock, made when it is needed and anew when it is
// lost. Used on the loop.
class Channels {
 public:
  Channels(Loop& loop, std::string run_dir) : loop_(loop), run_dir_(std::move(run_dir)) {}
  ~Channels();

  // Begins a call; see Connection::Open.
  std::shared_ptr<Stream> Open(const std::string& domain, const std::string& path, const Headers& headers,
                               absl::Time deadline, std::shared_ptr<Receiver> receiver);

  // The address at which a domain serves, as gRPC writes it.
  static std::string AddressOf(std::string_view run_dir, std::string_view domain);

 private:
  Loop& loop_;
  const std::string run_dir_;
  std::map<std::string, std::shared_ptr<Connection>, std::less<>> connections_;
};

// A call that failed because the process could not be reached says which service it is that people miss.
absl::Status NameUnreached(const Ending& ending, const std::string& domain);

}  // namespace aima::rpc
