#include "libs/http/server.h"

#include <absl/container/flat_hash_set.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>

#include "libs/base/status_macros.h"
#include "libs/http/connection.h"

namespace aima::http {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr auto kTick = std::chrono::milliseconds(250);

absl::Status CannotListen(const std::string& address, const std::string& why) {
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address, ": ", why));
}

}  // namespace

class Server::Impl : public ConnectionOwner, public std::enable_shared_from_this<Impl> {
 public:
  Impl(Loop& loop, ServerOptions options, Handler handler)
      : loop_(loop), options_(std::move(options)), handler_(std::move(handler)), acceptor_(loop), timer_(loop), empty_(loop) {}

  const ServerOptions& options() const override { return options_; }
  const Handler& handler() const override { return handler_; }
  asio::ssl::context* tls() override { return tls_ ? &*tls_ : nullptr; }
  bool draining() const override { return draining_; }
  const std::string& date() override {
    const absl::Time now = absl::Now();
    if (now - date_time_ >= absl::Seconds(1)) {
      date_ = absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", now, absl::UTCTimeZone());
      date_time_ = now;
    }
    return date_;
  }

  absl::Status Start() {
    RETURN_IF_ERROR(SetUpTls());
    ASSIGN_OR_RETURN(const Address address, ParseAddress(options_.address));
    boost::system::error_code error;
    tcp::endpoint endpoint(asio::ip::make_address(address.host, error), static_cast<uint16_t>(address.port));
    if (error) {
      tcp::resolver resolver(loop_);
      const auto found = resolver.resolve(tcp::v4(), address.host, std::to_string(address.port), error);
      if (error || found.empty()) return CannotListen(options_.address, error.message());
      endpoint = found.begin()->endpoint();
    }
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(1024, error);
    if (error) {
      boost::system::error_code ignored;
      acceptor_.close(ignored);
      return CannotListen(options_.address, error.message());
    }
    port_ = acceptor_.local_endpoint().port();
    asio::co_spawn(loop_, Accept(), [self = shared_from_this()](std::exception_ptr) {});
    return absl::OkStatus();
  }

  int port() const { return port_; }
  int connections() const { return static_cast<int>(connections_.size()); }

  Task<void> Shutdown(absl::Time deadline) {
    auto self = shared_from_this();
    Stop();
    for (const auto& connection : Snapshot()) connection->Drain();
    empty_.expires_after(absl::ToChronoMilliseconds(std::max(deadline - absl::Now(), absl::ZeroDuration())));
    if (!connections_.empty()) (void)co_await empty_.async_wait(kTuple);
    for (const auto& connection : Snapshot()) connection->Abort();
    empty_.expires_after(std::chrono::seconds(2));
    if (!connections_.empty()) (void)co_await empty_.async_wait(kTuple);
  }

  void Stop() {
    draining_ = true;
    boost::system::error_code ignored;
    acceptor_.close(ignored);
  }

  void Abandon() {
    Stop();
    for (const auto& connection : Snapshot()) connection->Abandon();
    timer_.cancel();
  }

 private:
  absl::Status SetUpTls() {
    if (options_.tls_cert.empty() && options_.tls_key.empty()) return absl::OkStatus();
    boost::system::error_code error;
    tls_.emplace(asio::ssl::context::tls_server);
    tls_->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                      asio::ssl::context::no_tlsv1_1);
    tls_->use_certificate_chain_file(options_.tls_cert, error);
    if (error) return absl::InvalidArgumentError(absl::StrCat("certificate ", options_.tls_cert, ": ", error.message()));
    tls_->use_private_key_file(options_.tls_key, asio::ssl::context::pem, error);
    if (error) return absl::InvalidArgumentError(absl::StrCat("private key ", options_.tls_key, ": ", error.message()));
    return absl::OkStatus();
  }

  Task<void> Accept() {
    auto self = shared_from_this();
    while (!draining_) {
      auto [error, socket] = co_await acceptor_.async_accept(kTuple);
      if (error == asio::error::operation_aborted || draining_) break;
      if (error) {
        // Out of file descriptors, most likely: some will be closed.
        spdlog::warn("cannot accept a connection: {}", error.message());
        asio::steady_timer pause(loop_, std::chrono::milliseconds(100));
        (void)co_await pause.async_wait(kTuple);
        continue;
      }
      auto connection = std::make_shared<Connection>(*this, std::move(socket));
      const bool busy = static_cast<int>(connections_.size()) >= options_.max_connections;
      connections_.insert(connection);
      if (connections_.size() == 1 && !ticking_) Tick();
      asio::co_spawn(loop_, connection->Run(busy),
                     asio::bind_cancellation_slot(connection->slot(), [self, connection](std::exception_ptr) {
                       connection->Abort();
                       self->connections_.erase(connection);
                       if (self->connections_.empty()) self->empty_.cancel();
                     }));
    }
  }

  // Runs while there are connections.
  void Tick() {
    ticking_ = true;
    timer_.expires_after(kTick);
    timer_.async_wait([weak = weak_from_this()](boost::system::error_code) {
      auto self = weak.lock();
      if (!self) return;
      self->ticking_ = false;
      if (self->connections_.empty()) return;
      const auto now = Clock::now();
      for (const auto& connection : self->Snapshot()) connection->Tick(now);
      self->Tick();
    });
  }

  std::vector<std::shared_ptr<Connection>> Snapshot() const { return {connections_.begin(), connections_.end()}; }

  Loop& loop_;
  const ServerOptions options_;
  const Handler handler_;
  tcp::acceptor acceptor_;
  asio::steady_timer timer_;
  asio::steady_timer empty_;  // cancelled when the last connection ends
  std::optional<asio::ssl::context> tls_;
  absl::flat_hash_set<std::shared_ptr<Connection>> connections_;
  int port_ = 0;
  bool draining_ = false;
  bool ticking_ = false;
  std::string date_;
  absl::Time date_time_ = absl::InfinitePast();
};

Server::Server(Loop& loop, ServerOptions options, Handler handler)
    : impl_(std::make_shared<Impl>(loop, std::move(options), std::move(handler))) {}
Server::~Server() { impl_->Abandon(); }
absl::Status Server::Start() { return impl_->Start(); }
int Server::port() const { return impl_->port(); }
int Server::connections() const { return impl_->connections(); }
Task<void> Server::Shutdown(absl::Time deadline) { co_await impl_->Shutdown(deadline); }

}  // namespace aima::http
