// A TCP connection, plain or in TLS. Private to libs/http.
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <string>

#include "libs/base/task.h"

namespace aima::http {

class Stream {
 public:
  using Socket = boost::asio::ip::tcp::socket;
  using Error = boost::system::error_code;
  using Pieces = std::array<boost::asio::const_buffer, 3>;

  explicit Stream(Socket socket) : socket_(std::move(socket)) {}

  Socket& socket() { return tls_ ? tls_->next_layer() : socket_; }

  // Before anything else is sent or received. `host` is checked against the server's certificate.
  Task<Error> AcceptTls(boost::asio::ssl::context& context);
  Task<Error> ConnectTls(boost::asio::ssl::context& context, const std::string& host);

  // Calls back with (Error, size_t). One read and one write at a time.
  template <class Handler>
  void ReadSome(boost::asio::mutable_buffer into, Handler handler) {
    if (tls_) {
      tls_->async_read_some(into, std::move(handler));
    } else {
      socket_.async_read_some(into, std::move(handler));
    }
  }

  // All of it.
  Task<Error> Write(Pieces pieces);

  void ShutdownSend();
  void Close();

 private:
  using TlsStream = boost::asio::ssl::stream<Socket>;

  Socket socket_;  // moved from once there is TLS
  std::unique_ptr<TlsStream> tls_;
};

// The host and port of "host:port" or "[v6]:port".
struct Address {
  std::string host;
  int port = 0;
};
absl::StatusOr<Address> ParseAddress(const std::string& text);

}  // namespace aima::http
