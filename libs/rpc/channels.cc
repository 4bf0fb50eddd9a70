#include "libs/rpc/channels.h"

#include <absl/strings/str_cat.h>

#include <boost/asio/local/stream_protocol.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"

namespace aima::rpc {

std::string Channels::AddressOf(std::string_view run_dir, std::string_view domain) {
  return "unix:" + std::string(run_dir) + "/" + std::string(domain) + ".sock";
}

Channels::~Channels() {
  for (auto& [domain, connection] : connections_) connection->Close();
}

std::shared_ptr<Stream> Channels::Open(const std::string& domain, const std::string& path, const Headers& headers,
                                       absl::Time deadline, std::shared_ptr<Receiver> receiver) {
  std::shared_ptr<Connection>& connection = connections_[domain];
  if (!connection || !connection->open()) {
    const std::string socket = AddressOf(run_dir_, domain).substr(sizeof("unix:") - 1);
    connection = Connection::Connect(loop_, boost::asio::local::stream_protocol::endpoint(socket));
  }
  return connection->Open(path, headers, deadline, std::move(receiver));
}

absl::Status NameUnreached(const Ending& ending, const std::string& domain) {
  if (ending.answered || ending.status.code() != absl::StatusCode::kUnavailable) return ending.status;
  return Error(unit::v1::UNAVAILABLE, absl::StrCat("the ", domain, " service cannot be reached"), {{"service", domain}});
}

}  // namespace aima::rpc
