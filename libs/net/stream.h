// A connection of bytes, over TCP or a Unix socket, plain or in TLS.
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <string>

#include "libs/base/task.h"

namespace aima::net {

using Socket = boost::asio::generic::stream_protocol::socket;

class Stream {
 public:
  using Error = boost::system::error_code;
  using Pieces = std::array<boost::asio::const_buffer, 3>;

  explicit Stream(Socket socket) : socket_(std::move(socket)) {}

  Socket& socket() { return tls_ ? tls_->next_layer() : socket_; }

  // Once the socket is connected, before all else: writes do not block, and small ones are not held back.
  void Prepare();
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
  template <class Handler>
  void WriteSome(boost::asio::const_buffer from, Handler handler) {
    if (tls_) {
      tls_->async_write_some(from, std::move(handler));
    } else {
      socket_.async_write_some(from, std::move(handler));
    }
  }

  // Sends what can be sent at once, without a turn of the loop, and takes it off the pieces; would_block says that
  // WriteSome must be used, which within TLS is always.
  void TryWrite(Pieces& pieces, Error& error);
  size_t TryWrite(boost::asio::const_buffer from, Error& error);

  // All of it.
  Task<Error> Write(Pieces pieces);

  void ShutdownSend();
  void Close();

 private:
  using TlsStream = boost::asio::ssl::stream<Socket>;

  Socket socket_;  // moved from once there is TLS
  std::unique_ptr<TlsStream> tls_;
};

// Who is at the other end.
struct Peer {
  std::string address;  // numeric, without the port; "unix" at a Unix socket
  bool loopback = false;
};
Peer PeerOf(Socket& socket);

// The host and port of "host:port" or "[v6]:port".
struct Address {
  std::string host;
  int port = 0;
};
absl::StatusOr<Address> ParseAddress(const std::string& text);

}  // namespace aima::net
