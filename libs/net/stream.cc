#include "libs/net/stream.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <netinet/tcp.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/write.hpp>

namespace aima::net {

namespace asio = boost::asio;

namespace {
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
}

Task<Stream::Error> Stream::AcceptTls(asio::ssl::context& context) {
  tls_ = std::make_unique<TlsStream>(std::move(socket_), context);
  auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::server, kTuple);
  co_return error;
}

Task<Stream::Error> Stream::ConnectTls(asio::ssl::context& context, const std::string& host) {
  tls_ = std::make_unique<TlsStream>(std::move(socket_), context);
  SSL_set_tlsext_host_name(tls_->native_handle(), host.c_str());
  tls_->set_verify_callback(asio::ssl::host_name_verification(host));
  auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::client, kTuple);
  co_return error;
}

Task<Stream::Error> Stream::Write(Pieces pieces) {
  if (tls_) {
    auto [error, size] = co_await asio::async_write(*tls_, pieces, kTuple);
    co_return error;
  }
  // Most of the time the socket takes it all at once, which saves a turn of the loop.
  Error error;
  TryWrite(pieces, error);
  if (error && error != asio::error::would_block && error != asio::error::try_again) co_return error;
  if (asio::buffer_size(pieces) == 0) co_return Error();
  auto [late, size] = co_await asio::async_write(socket_, pieces, kTuple);
  co_return late;
}

void Stream::TryWrite(Pieces& pieces, Error& error) {
  if (tls_) {
    error = asio::error::would_block;
    return;
  }
  size_t sent = socket_.write_some(pieces, error);
  for (asio::const_buffer& piece : pieces) {
    const size_t part = std::min(sent, piece.size());
    piece += part;
    sent -= part;
  }
}

size_t Stream::TryWrite(asio::const_buffer from, Error& error) {
  if (tls_) {
    error = asio::error::would_block;
    return 0;
  }
  return socket_.write_some(from, error);
}

void Stream::Prepare() {
  Error ignored;
  socket().non_blocking(true, ignored);
  const auto local = socket().local_endpoint(ignored);
  if (local.protocol().family() == AF_UNIX) return;
  socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  // A machine that has vanished is noticed within two minutes.
  socket().set_option(asio::socket_base::keep_alive(true), ignored);
  socket().set_option(asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPIDLE>(60), ignored);
  socket().set_option(asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPINTVL>(20), ignored);
  socket().set_option(asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPCNT>(3), ignored);
}

void Stream::ShutdownSend() {
  Error ignored;
  socket().shutdown(Socket::shutdown_send, ignored);
}

void Stream::Close() {
  Error ignored;
  socket().close(ignored);
}

Peer PeerOf(Socket& socket) {
  Stream::Error error;
  const auto remote = socket.remote_endpoint(error);
  if (error) return {};
  if (remote.protocol().family() == AF_UNIX) return {"unix", true};
  asio::ip::tcp::endpoint endpoint;
  endpoint.resize(remote.size());
  memcpy(endpoint.data(), remote.data(), remote.size());
  auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return {address.to_string(), address.is_loopback()};
}

absl::StatusOr<Address> ParseAddress(const std::string& text) {
  Address address;
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || !absl::SimpleAtoi(text.substr(colon + 1), &address.port) || address.port < 0 ||
      address.port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not host:port"));
  }
  address.host = text.substr(0, colon);
  if (address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']') {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  if (address.host.empty()) address.host = "0.0.0.0";
  return address;
}

}  // namespace aima::net
