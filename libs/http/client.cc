#include "libs/http/client.h"

#include <absl/strings/cord.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstring>
#include <iterator>
#include <map>
#include <vector>

#include "libs/base/status_macros.h"
#include "libs/http/parser.h"
#include "libs/http/unsent.h"
#include "libs/net/stream.h"

namespace aima::http {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
// Reads begin small, since every stream that waits holds a buffer of its own, and grow while they are filled.
constexpr size_t kFirstReadSize = 4 << 10;
constexpr size_t kReadSize = 64 << 10;
constexpr size_t kIdleMax = 32;  // per endpoint
constexpr auto kIdleTime = std::chrono::seconds(60);
constexpr int kFieldsMax = 256;
constexpr char kUnsent[] = "aima/unsent";

std::string NameOf(const Endpoint& endpoint) {
  const bool v6 = endpoint.host.find(':') != std::string::npos;
  return absl::StrCat(endpoint.tls ? "https://" : "", v6 ? "[" : "", endpoint.host, v6 ? "]" : "", ":", endpoint.port);
}

bool IsOurs(std::string_view name) {
  return EqualsIgnoringCase(name, "connection") || EqualsIgnoringCase(name, "content-length") ||
         EqualsIgnoringCase(name, "transfer-encoding");
}

std::string HeadOf(const Endpoint& endpoint, const Request& request) {
  std::string head;
  head.reserve(512);
  absl::StrAppend(&head, request.method, " ", request.target, " HTTP/1.1\r\n");
  if (!request.headers.Find("host")) {
    Endpoint plain = endpoint;
    plain.tls = false;
    absl::StrAppend(&head, "host: ", NameOf(plain), "\r\n");
  }
  for (const auto& [name, value] : request.headers) {
    if (!IsOurs(name)) absl::StrAppend(&head, name, ": ", value, "\r\n");
  }
  if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
    absl::StrAppend(&head, "content-length: ", request.body.size(), "\r\n");
  }
  return head.append("\r\n");
}

// A request must not be able to smuggle another one.
absl::Status Check(const Request& request) {
  bool bad = request.target.empty() || request.target.find_first_of(" \r\n") != std::string::npos ||
             request.method.find_first_of(" \r\n") != std::string::npos;
  for (const auto& [name, value] : request.headers) {
    bad = bad || name.find_first_of(": \r\n") != std::string::npos || value.find_first_of("\r\n") != std::string::npos;
  }
  return bad ? absl::InvalidArgumentError("a request line or header holds characters that end it") : absl::OkStatus();
}

struct Connection {
  Connection(Loop& loop, std::string name) : stream(net::Socket(loop)), resolver(loop), timer(loop), name(std::move(name)) {}

  net::Stream stream;
  tcp::resolver resolver;
  asio::steady_timer timer;
  const std::string name;
  std::string certificate;  // that its server had to show
  std::string buffer;
  size_t last_read = 0;  // bytes that the last read gave
  size_t filled = 0;
  bool reused = false;
  bool timed_out = false;
  int use = 0;  // tells the timer of this use from that of an earlier one
  Clock::time_point idle_since;
};

// Ends what the connection does when the deadline passes.
void SetDeadline(const std::shared_ptr<Connection>& connection, absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return;
  const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
  connection->timer.expires_after(absl::ToChronoMilliseconds(std::min(left, absl::Hours(24 * 365))));
  connection->timer.async_wait([weak = std::weak_ptr(connection), use = connection->use](boost::system::error_code error) {
    auto expired = weak.lock();
    if (error || !expired || expired->use != use) return;
    expired->timed_out = true;
    expired->resolver.cancel();
    expired->stream.Close();
  });
}

absl::Status Failed(const Connection& connection, std::string_view what, const std::string& why) {
  if (connection.timed_out) return absl::DeadlineExceededError(absl::StrCat(connection.name, " did not answer in time"));
  return absl::UnavailableError(absl::StrCat(connection.name, " ", absl::string_view(what.data(), what.size()), ": ", why));
}

// What the servers at an endpoint have to show to be believed.
class Trust {
 public:
  Trust() : context_(asio::ssl::context::tls_client) {
    boost::system::error_code ignored;
    context_.set_default_verify_paths(ignored);
    context_.set_verify_mode(asio::ssl::verify_peer);
  }

  // This very certificate. Its key is proved by the handshake, so neither names nor authorities matter.
  explicit Trust(const std::string& file) : Trust() {
    if (FILE* pem = std::fopen(file.c_str(), "r")) {
      certificate_.reset(PEM_read_X509(pem, nullptr, nullptr, nullptr));
      std::fclose(pem);
    }
    const auto is_it = [](X509_STORE_CTX* shown, void* wanted) {
      return wanted && X509_cmp(X509_STORE_CTX_get0_cert(shown), static_cast<X509*>(wanted)) == 0 ? 1 : 0;
    };
    SSL_CTX_set_cert_verify_callback(context_.native_handle(), is_it, certificate_.get());
  }

  asio::ssl::context& context() { return context_; }

 private:
  asio::ssl::context context_;
  std::unique_ptr<X509, decltype(&X509_free)> certificate_{nullptr, X509_free};
};

}  // namespace

class Client::Pool {
 public:
  Pool(Loop& loop, AddressCheck check) : loop_(loop), check_(std::move(check)) {}

  // An idle connection, or one that is still to be connected.
  std::shared_ptr<Connection> Take(const Endpoint& endpoint, bool fresh) {
    const std::string name = NameOf(endpoint);
    auto& idle = idle_[name];
    while (!fresh && !idle.empty()) {
      auto connection = std::move(idle.back());
      idle.pop_back();
      if (!IsQuiet(*connection) || connection->certificate != endpoint.certificate) continue;
      connection->reused = true;
      ++connection->use;
      return connection;
    }
    return std::make_shared<Connection>(loop_, name);
  }

  void Put(std::shared_ptr<Connection> connection) {
    ++connection->use;
    connection->timer.cancel();
    connection->idle_since = Clock::now();
    connection->filled = 0;
    auto& idle = idle_[connection->name];
    if (idle.size() < kIdleMax) idle.push_back(std::move(connection));
    const auto oldest = Clock::now() - kIdleTime;
    for (auto entry = idle_.begin(); entry != idle_.end();) {
      std::erase_if(entry->second, [&](const auto& one) { return one->idle_since < oldest; });
      entry = entry->second.empty() ? idle_.erase(entry) : std::next(entry);
    }
  }

  Task<absl::Status> Connect(Connection& connection, const Endpoint& endpoint) {
    net::Socket& socket = connection.stream.socket();
    boost::system::error_code error;
    std::vector<tcp::endpoint> places;
    const auto address = asio::ip::make_address(endpoint.host, error);
    if (!error) {
      places.emplace_back(address, static_cast<uint16_t>(endpoint.port));
    } else {
      auto [unknown, found] = co_await connection.resolver.async_resolve(endpoint.host, std::to_string(endpoint.port), kTuple);
      if (unknown || connection.timed_out) co_return Failed(connection, "cannot be found", unknown.message());
      for (const auto& entry : found) places.push_back(entry.endpoint());
    }
    if (check_) {
      absl::Status refused;
      std::erase_if(places, [&](const tcp::endpoint& place) {
        const absl::Status allowed = check_(endpoint, place.address());
        if (!allowed.ok()) refused = allowed;
        return !allowed.ok();
      });
      if (places.empty() && !refused.ok()) co_return refused;
    }
    for (const tcp::endpoint& place : places) {
      boost::system::error_code ignored;
      socket.close(ignored);
      auto [failure] = co_await socket.async_connect(place, kTuple);
      error = failure;
      if (!error || connection.timed_out) break;
    }
    if (error) co_return Failed(connection, "cannot be reached", error.message());
    connection.stream.Prepare();
    if (endpoint.tls) {
      error = co_await connection.stream.ConnectTls(TrustFor(endpoint).context(), endpoint.host);
      connection.certificate = endpoint.certificate;
      if (error) co_return Failed(connection, "cannot be reached over TLS", error.message());
    }
    co_return absl::OkStatus();
  }

 private:
  // False if the server closed it, or sent what nobody asked for.
  static bool IsQuiet(Connection& connection) {
    if (Clock::now() - connection.idle_since > kIdleTime) return false;
    net::Socket& socket = connection.stream.socket();
    char byte = 0;
    return recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }

  Trust& TrustFor(const Endpoint& endpoint) {
    std::unique_ptr<Trust>& trust = trust_[endpoint.certificate];
    if (!trust) {
      trust = endpoint.certificate.empty() ? std::make_unique<Trust>() : std::make_unique<Trust>(endpoint.certificate);
    }
    return *trust;
  }

  Loop& loop_;
  const AddressCheck check_;
  std::map<std::string, std::vector<std::shared_ptr<Connection>>> idle_;
  std::map<std::string, std::unique_ptr<Trust>> trust_;  // by the certificate asked for
};

class ClientStream : public ResponseStream {
 public:
  using Pool = Client::Pool;

  ClientStream(std::shared_ptr<Pool> pool, std::shared_ptr<Connection> connection, bool head_only,
               std::optional<size_t> max_body)
      : pool_(std::move(pool)), connection_(std::move(connection)), head_only_(head_only), max_body_(max_body) {}

  ~ClientStream() override {
    if (!connection_) return;
    ++connection_->use;
    connection_->timer.cancel();
    connection_->stream.Close();
  }

  int status() const override { return parser_->message().status; }
  const Headers& headers() const override { return parser_->message().headers; }
  void SetDeadline(absl::Time deadline) override {
    if (!connection_ || connection_->timed_out) return;
    ++connection_->use;
    connection_->timer.cancel();
    http::SetDeadline(connection_, deadline);
  }
  Response TakeResponse() { return std::move(parser_->message()); }

  // Sends the request and reads the head of the answer. `answered` tells whether any byte of it came.
  Task<absl::Status> Begin(const Endpoint& endpoint, const Request& request, bool& answered) {
    answered = false;
    if (!connection_->reused) {
      absl::Status connected = co_await pool_->Connect(*connection_, endpoint);
      if (!connected.ok()) {
        connected.SetPayload(kUnsent, absl::Cord());
        co_return connected;
      }
    }
    const std::string head = HeadOf(endpoint, request);
    const auto written = co_await connection_->stream.Write({asio::buffer(head), asio::buffer(request.body)});
    // A server that refuses a large body answers before it has read it: the answer counts.
    if (written && (connection_->timed_out || connection_->reused)) {
      co_return Failed(*connection_, "broke off", written.message());
    }
    do {
      NewParser();
      while (!parser_->is_header_done()) {
        const absl::Status read = co_await More();
        answered = answered || connection_->filled > 0 || parser_->got_some();
        CO_RETURN_IF_ERROR(read);
      }
    } while (parser_->message().status / 100 == 1);
    co_return absl::OkStatus();
  }

  Task<absl::Status> ReadAll() {
    while (!parser_->is_done()) CO_RETURN_IF_ERROR(co_await More());
    Release();
    co_return absl::OkStatus();
  }

  Task<absl::StatusOr<std::optional<std::string>>> Next() override {
    while (parser_->body().empty()) {
      if (parser_->is_done()) {
        Release();
        co_return std::optional<std::string>();
      }
      CO_RETURN_IF_ERROR(co_await More());
    }
    std::string bytes;
    bytes.swap(parser_->body());
    co_return std::optional<std::string>(std::move(bytes));
  }

 private:
  void NewParser() {
    parser_.emplace(kFieldsMax);
    parser_->header_limit(64 << 10);
    if (max_body_) {
      parser_->body_limit(*max_body_);
    } else {
      parser_->body_limit(boost::none);
    }
    parser_->skip(head_only_);
  }

  // Parses what is there, or else what comes next.
  Task<absl::Status> More() {
    if (!connection_) co_return absl::FailedPreconditionError("the answer has ended");
    if (connection_->filled > 0) {
      bool used = false;
      CO_RETURN_IF_ERROR(Parse(used));
      if (used) co_return absl::OkStatus();
    }
    std::string& buffer = connection_->buffer;
    const size_t want = std::clamp(2 * connection_->last_read, kFirstReadSize, kReadSize);
    if (buffer.size() < connection_->filled + want / 2) buffer.resize(connection_->filled + want);
    const auto space = asio::buffer(buffer.data() + connection_->filled, buffer.size() - connection_->filled);
    auto [error, size] = co_await asio::async_initiate<decltype(kTuple), void(net::Stream::Error, size_t)>(
        [this, space](auto handler) { connection_->stream.ReadSome(space, std::move(handler)); }, kTuple);
    connection_->filled += size;
    connection_->last_read = size;
    if (!error) {
      bool used = false;
      co_return Parse(used);
    }
    if (error == asio::error::eof && !connection_->timed_out && parser_->got_some()) {
      Parser<false>::Error incomplete;
      parser_->put_eof(incomplete);
      if (!incomplete) co_return absl::OkStatus();
    }
    co_return Failed(*connection_, "broke off", error.message());
  }

  absl::Status Parse(bool& used) {
    Connection& connection = *connection_;
    size_t parsed = 0;
    Parser<false>::Error error;
    boost::beast::http::basic_parser<false>& parser = *parser_;
    while (parsed < connection.filled && !parser_->is_done() && !error) {
      const bool had_header = parser_->is_header_done();
      const size_t size = parser.put(asio::buffer(connection.buffer.data() + parsed, connection.filled - parsed), error);
      parsed += size;
      // An interim answer may follow the head at once with the final one.
      if (size == 0 || (!had_header && parser_->is_header_done())) break;
    }
    if (parsed > 0) {
      connection.filled -= parsed;
      memmove(connection.buffer.data(), connection.buffer.data() + parsed, connection.filled);
      used = true;
    }
    if (error == boost::beast::http::error::need_more || !error) return absl::OkStatus();
    if (error == boost::beast::http::error::body_limit) {
      return absl::ResourceExhaustedError(absl::StrCat(connection.name, " sends more than is accepted"));
    }
    return Failed(connection, "does not speak HTTP", error.message());
  }

  // Keeps the connection for the next request, if that is possible.
  void Release() {
    if (!connection_) return;
    if (parser_->keep_alive() && connection_->filled == 0 && !connection_->timed_out) {
      pool_->Put(std::move(connection_));
    } else {
      connection_->timer.cancel();
      connection_->stream.Close();
    }
    connection_.reset();
  }

  std::shared_ptr<Pool> pool_;
  std::shared_ptr<Connection> connection_;
  const bool head_only_;
  const std::optional<size_t> max_body_;
  mutable std::optional<Parser<false>> parser_;
};

namespace {

Task<absl::StatusOr<std::unique_ptr<ClientStream>>> Begin(std::shared_ptr<ClientStream::Pool> pool, const Endpoint& endpoint,
                                                          const Request& request, absl::Time deadline,
                                                          std::optional<size_t> max_body) {
  CO_RETURN_IF_ERROR(Check(request));
  // What asks for a connection of its own is never sent twice.
  const bool own = EqualsIgnoringCase(request.headers.Get("connection"), "close");
  for (bool fresh = own;; fresh = true) {
    auto connection = pool->Take(endpoint, fresh);
    const bool reused = connection->reused;
    SetDeadline(connection, deadline);
    auto stream = std::make_unique<ClientStream>(pool, connection, request.method == "HEAD", max_body);
    bool answered = false;
    absl::Status begun = co_await stream->Begin(endpoint, request, answered);
    if (begun.ok()) co_return std::move(stream);
    if (!reused || answered || connection->timed_out) co_return begun;
  }
}

}  // namespace

bool NothingWasSent(const absl::Status& status) { return status.GetPayload(kUnsent).has_value(); }

Client::Client(Loop& loop, AddressCheck check) : pool_(std::make_shared<Pool>(loop, std::move(check))) {}
Client::~Client() = default;

Task<absl::StatusOr<Response>> Client::Send(Endpoint endpoint, Request request, absl::Time deadline, size_t max_body) {
  CO_ASSIGN_OR_RETURN(auto stream, co_await Begin(pool_, endpoint, request, deadline, max_body));
  CO_RETURN_IF_ERROR(co_await stream->ReadAll());
  co_return stream->TakeResponse();
}

Task<absl::StatusOr<std::unique_ptr<ResponseStream>>> Client::Open(Endpoint endpoint, Request request,
                                                                   absl::Time deadline) {
  CO_ASSIGN_OR_RETURN(auto stream, co_await Begin(pool_, endpoint, request, deadline, std::nullopt));
  co_return std::unique_ptr<ResponseStream>(std::move(stream));
}

}  // namespace aima::http
