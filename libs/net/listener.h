// Accepts connections at an address.
#pragma once

#include <absl/status/statusor.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "libs/net/stream.h"

namespace aima::net {

// A TLS server's context, from PEM files: the certificate with its chain, and its key. The error says which is bad.
absl::StatusOr<std::shared_ptr<boost::asio::ssl::context>> ServerTls(const std::string& certificate_file,
                                                                     const std::string& key_file);

// Listens until it is closed or destroyed. When the process has no descriptors left it waits for some, and goes on.
// Used on the loop.
class Listener {
 public:
  using Accepted = std::function<void(Socket socket)>;

  Listener(Loop& loop, Accepted accepted);
  ~Listener();

  // "127.0.0.1:8080", "[::1]:8080", "localhost:8080" or "unix:/path/to/socket", whose file is made anew. The error
  // says why it cannot listen there.
  absl::Status Start(const std::string& address);
  void Close();
  // The port that was bound, where 0 was asked for.
  int port() const { return port_; }

 private:
  struct Acceptor;

  std::shared_ptr<Acceptor> acceptor_;
  int port_ = 0;
};

}  // namespace aima::net
