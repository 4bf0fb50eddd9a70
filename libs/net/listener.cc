#include "libs/net/listener.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>

#include "libs/base/status_macros.h"

namespace aima::net {

namespace asio = boost::asio;
using asio::ip::tcp;
using Protocol = asio::generic::stream_protocol;

namespace {

constexpr auto kPause = std::chrono::milliseconds(100);
constexpr int kBacklog = 1024;

absl::Status CannotListen(const std::string& address, const std::string& why) {
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address, ": ", why));
}

absl::StatusOr<tcp::endpoint> Resolve(Loop& loop, const std::string& text) {
  ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
  boost::system::error_code error;
  const tcp::endpoint numeric(asio::ip::make_address(address.host, error), static_cast<uint16_t>(address.port));
  if (!error) return numeric;
  tcp::resolver resolver(loop);
  const auto found = resolver.resolve(tcp::v4(), address.host, std::to_string(address.port), error);
  if (error || found.empty()) return CannotListen(text, error.message());
  return found.begin()->endpoint();
}

}  // namespace

absl::StatusOr<std::shared_ptr<asio::ssl::context>> ServerTls(const std::string& certificate_file,
                                                              const std::string& key_file) {
  boost::system::error_code error;
  auto tls = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  tls->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                   asio::ssl::context::no_tlsv1_1);
  tls->use_certificate_chain_file(certificate_file, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat("certificate ", certificate_file, ": ", error.message()));
  tls->use_private_key_file(key_file, asio::ssl::context::pem, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat("private key ", key_file, ": ", error.message()));
  return tls;
}

// Shared with the accept in hand, which outlives a Listener by a turn of the loop.
struct Listener::Acceptor : std::enable_shared_from_this<Acceptor> {
  Acceptor(Loop& loop, Accepted accepted) : socket(loop), pause(loop), accepted(std::move(accepted)) {}

  void Next() {
    socket.async_accept([self = shared_from_this()](boost::system::error_code error, Socket connection) {
      if (!self->socket.is_open()) return;
      if (error) return self->Wait(error);
      self->accepted(std::move(connection));
      if (self->socket.is_open()) self->Next();
    });
  }

  // Out of file descriptors, most likely: some will be closed.
  void Wait(boost::system::error_code error) {
    spdlog::warn("cannot accept a connection: {}", error.message());
    pause.expires_after(kPause);
    pause.async_wait([self = shared_from_this()](boost::system::error_code) {
      if (self->socket.is_open()) self->Next();
    });
  }

  void Close() {
    boost::system::error_code ignored;
    socket.close(ignored);
    pause.cancel();
  }

  asio::basic_socket_acceptor<Protocol> socket;
  asio::steady_timer pause;
  const Accepted accepted;
};

Listener::Listener(Loop& loop, Accepted accepted) : acceptor_(std::make_shared<Acceptor>(loop, std::move(accepted))) {}
Listener::~Listener() { Close(); }
void Listener::Close() { acceptor_->Close(); }

absl::Status Listener::Start(const std::string& address) {
  auto& socket = acceptor_->socket;
  Protocol::endpoint endpoint;
  const bool local = absl::StartsWith(address, "unix:");
  if (local) {
    const std::string path = address.substr(5);
    if (path.size() >= sizeof(sockaddr_un::sun_path)) return CannotListen(address, "the path is too long for a socket");
    ::unlink(path.c_str());
    endpoint = asio::local::stream_protocol::endpoint(path);
  } else {
    ASSIGN_OR_RETURN(endpoint, Resolve(static_cast<Loop&>(socket.get_executor().context()), address));
  }
  boost::system::error_code error;
  socket.open(endpoint.protocol(), error);
  if (!error && !local) socket.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) socket.bind(endpoint, error);
  if (!error) socket.listen(kBacklog, error);
  if (error) {
    Close();
    return CannotListen(address, error.message());
  }
  if (!local) {
    tcp::endpoint bound;
    const auto generic = socket.local_endpoint();
    bound.resize(generic.size());
    memcpy(bound.data(), generic.data(), generic.size());
    port_ = bound.port();
  }
  acceptor_->Next();
  return absl::OkStatus();
}

}  // namespace aima::net
