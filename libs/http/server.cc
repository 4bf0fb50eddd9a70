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
#include "libs/net/listener.h"

namespace aima::http {

namespace asio = boost::asio;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr auto kTick = std::chrono::milliseconds(250);

}  // namespace

class Server::Impl : public ConnectionOwner, public std::enable_shared_from_this<Impl> {
 public:
  Impl(Loop& loop, ServerOptions options, Handler handler)
      : loop_(loop), options_(std::move(options)), handler_(std::move(handler)), timer_(loop), empty_(loop) {}

  const ServerOptions& options() const override { return options_; }
  const Handler& handler() const override { return handler_; }
  asio::ssl::context* tls() override { return tls_.get(); }
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
    if (!options_.tls_cert.empty() || !options_.tls_key.empty()) {
      ASSIGN_OR_RETURN(tls_, net::ServerTls(options_.tls_cert, options_.tls_key));
    }
    listener_.emplace(loop_, [this](net::Socket socket) { Accept(std::move(socket)); });
    return listener_->Start(options_.address);
  }

  int port() const { return listener_ ? listener_->port() : 0; }
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
    if (listener_) listener_->Close();
  }

  void Abandon() {
    Stop();
    for (const auto& connection : Snapshot()) connection->Abandon();
    timer_.cancel();
  }

 private:
  void Accept(net::Socket socket) {
    auto connection = std::make_shared<Connection>(*this, std::move(socket));
    const bool busy = static_cast<int>(connections_.size()) >= options_.max_connections;
    connections_.insert(connection);
    if (connections_.size() == 1 && !ticking_) Tick();
    asio::co_spawn(loop_, connection->Run(busy),
                   asio::bind_cancellation_slot(
                       connection->slot(), [self = shared_from_this(), connection](std::exception_ptr) {
                         connection->Abort();
                         self->connections_.erase(connection);
                         if (self->connections_.empty()) self->empty_.cancel();
                       }));
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
  asio::steady_timer timer_;
  asio::steady_timer empty_;  // cancelled when the last connection ends
  std::shared_ptr<asio::ssl::context> tls_;
  std::optional<net::Listener> listener_;
  absl::flat_hash_set<std::shared_ptr<Connection>> connections_;
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
