#include "libs/runtime/server.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <set>
#include <utility>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/base/waiter.h"
#include "libs/errors/errors.h"
#include "libs/rpc/wire.h"
#include "libs/runtime/reflection.h"
#include "libs/unit/catalogue.h"
#include "libs/unit/rules.h"

namespace aima::runtime {

namespace asio = boost::asio;
using google::protobuf::Message;

namespace {

constexpr int kMaxConnections = 4096;
constexpr int kMaxProtocolCalls = 512;
constexpr auto kUnwindTime = std::chrono::seconds(2);
constexpr absl::Duration kRequestTime = absl::Seconds(30);  // from the headers to the request, where the caller names none

std::string HeaderOf(const rpc::Stream& stream, absl::string_view name) {
  const std::string* value = rpc::Find(stream.headers(), name);
  return value ? *value : "";
}

// The value of the request's idempotency_key field; empty if it has none.
std::string IdempotencyKeyOf(const Message& request) {
  const auto* field = request.GetDescriptor()->FindFieldByName("idempotency_key");
  return field && field->type() == google::protobuf::FieldDescriptor::TYPE_STRING
             ? request.GetReflection()->GetString(request, field)
             : "";
}

}  // namespace

// One call. Its stream holds it until the last word, the loop until its coroutine has ended.
class ServerCall : public rpc::Receiver,
                   public StreamWriter<Message>,
                   public std::enable_shared_from_this<ServerCall> {
 public:
  ServerCall(Server& server, const Method& method, std::shared_ptr<rpc::Stream> stream)
      : server_(server), method_(method), stream_(std::move(stream)) {
    if (stream_->deadline() != absl::InfiniteFuture()) return;
    own_deadline_ = true;
    stream_->SetDeadline(absl::Now() + kRequestTime);
  }

  void OnMessage(absl::string_view bytes) override {
    if (request_) return;  // there is one request
    request_.reset(method_.request->New());
    if (!request_->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return stream_->Finish(InvalidInput("", "the request cannot be parsed"));
    }
    Begin();
  }

  void OnHalfClose() override {
    if (!request_) stream_->Finish(absl::InvalidArgumentError("the call brings no request"));
  }

  void OnWritable() override { room_.Resume(); }

  void OnDeadline() override {
    deadline_passed_ = true;
    if (!request_) return stream_->Finish(Error(unit::v1::DEADLINE_EXCEEDED, "no request came before the deadline"));
    Interrupt();
  }

  void OnEnd(const rpc::Ending&) override {
    cancelled_ = true;
    Interrupt();
  }

  // Ends a stream for which the process does not wait.
  void Cut() {
    cut_ = true;
    Interrupt();
  }

  // StreamWriter: waits while much is still to be sent.
  Task<absl::Status> Write(const Message& message) override {
    if (cancelled_) co_return Gone();
    if (!stream_->Send(message)) {
      co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(
          [this](auto handler) { room_.Set(std::move(handler)); }, asio::use_awaitable);
      if (cancelled_) co_return Gone();
    }
    co_return absl::OkStatus();
  }

 private:
  static absl::Status Stopping() { return Error(unit::v1::UNAVAILABLE, "the service is stopping"); }
  bool QueryStream() const { return method_.stream && method_.options.kind() != unit::v1::COMMAND; }
  static absl::Status Gone() { return Error(unit::v1::CANCELLED, "the caller has gone"); }

  // Health's watches are open to everyone and last as long as they like: they must not take the places of others.
  int& InFlight() {
    if (method_.protocol) return server_.protocol_in_flight_;
    return method_.stream ? server_.streams_in_flight_ : server_.unary_in_flight_;
  }
  int Limit() const {
    if (method_.protocol) return kMaxProtocolCalls;
    return method_.stream ? server_.limits_.streams : server_.limits_.unary;
  }

  // Ends the handler, also where it waits for room.
  void Interrupt() {
    cancel_.emit(asio::cancellation_type::terminal);
    room_.Resume();
  }

  void Begin() {
    if (InFlight() >= Limit()) {
      return stream_->Finish(Error(unit::v1::OVERLOADED, absl::StrCat("already serving ", Limit(), " calls")));
    }
    if (QueryStream()) {
      if (server_.ending_) return stream_->Finish(Stopping());
      server_.query_streams_.insert(this);
    }
    // Tokens and progress are many and small, and nobody sees a few milliseconds in them.
    if (method_.stream && method_.options.kind() == unit::v1::COMMAND) stream_->Gather();
    ++InFlight();
    SetContext();
    asio::co_spawn(server_.loop_, Run(),
                   asio::bind_cancellation_slot(
                       cancel_.slot(), [self = shared_from_this()](std::exception_ptr error, absl::Status status) {
                         --self->InFlight();
                         if (self->server_.InFlight() == 0) self->server_.unwound_.cancel();
                         if (self->QueryStream()) self->server_.query_streams_.erase(self.get());
                         self->End(error ? self->Thrown(error) : self->Returned(status));
                       }));
  }

  // A handler that ended because its time was over may have taken that for its caller's leaving.
  absl::Status Returned(const absl::Status& status) const {
    const bool late = deadline_passed_ && !cancelled_ && status.code() == absl::StatusCode::kCancelled;
    return late ? Error(unit::v1::DEADLINE_EXCEEDED, "not done before the deadline") : status;
  }

  // What became of a handler that threw: it was cancelled, or it has a defect.
  absl::Status Thrown(std::exception_ptr error) {
    if (deadline_passed_) return Error(unit::v1::DEADLINE_EXCEEDED, "not done before the deadline");
    if (cancelled_) return Gone();
    if (cut_) return Stopping();
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& exception) {
      spdlog::error("{} threw: {}", method_.unit, exception.what());
    } catch (...) {
      spdlog::error("{} threw", method_.unit);
    }
    return Error(unit::v1::INTERNAL_ERROR, absl::StrCat(method_.unit, " failed unexpectedly"));
  }

  Task<absl::Status> Run() {
    if (method_.stream) {
      co_return co_await Within(nullptr, [this]() { return method_.stream(call_, *request_, *this); });
    }
    response_.reset(method_.response->New());
    co_return co_await Within(response_.get(), [this]() { return method_.unary(call_, *request_, *response_); });
  }

  Task<absl::Status> Within(Message* response, std::function<Task<absl::Status>()> handler) {
    if (method_.unit.empty()) co_return co_await handler();
    if (!server_.middleware_) co_return co_await Checked(std::move(handler));
    co_return co_await server_.middleware_(call_, method_, *request_, response, [this, handler]() { return Checked(handler); });
  }

  Task<absl::Status> Checked(std::function<Task<absl::Status>()> handler) {
    ApplyDefaults(*request_);
    if (std::vector<FieldViolation> broken = BrokenRules(*request_); !broken.empty()) {
      co_return InvalidInput(std::move(broken));
    }
    co_return co_await handler();
  }

  void SetContext() {
    call_.unit = method_.unit;
    call_.trace_id = HeaderOf(*stream_, rpc::kTraceHeader);
    call_.request_id = HeaderOf(*stream_, rpc::kRequestHeader);
    // Services believe each other. Where callers are admitted, nobody says who he is by himself.
    if (!server_.admission_) call_.principal = HeaderOf(*stream_, rpc::kPrincipalHeader);
    if (call_.request_id.empty()) call_.request_id = call_.trace_id.empty() ? NewId("req_") : call_.trace_id;
    if (call_.trace_id.empty()) call_.trace_id = call_.request_id;
    call_.idempotency_key = IdempotencyKeyOf(*request_);
    if (own_deadline_) {
      const int timeout = method_.options.timeout_ms() ? method_.options.timeout_ms() : 30'000;
      stream_->SetDeadline(method_.unit.empty() ? absl::InfiniteFuture() : absl::Now() + absl::Milliseconds(timeout));
    }
    call_.deadline = stream_->deadline();
  }

  void End(const absl::Status& status) {
    if (status.ok() && response_) stream_->Send(*response_);
    stream_->Finish(status);
  }

  Server& server_;
  const Method& method_;
  const std::shared_ptr<rpc::Stream> stream_;
  std::unique_ptr<Message> request_;
  std::unique_ptr<Message> response_;
  CallContext call_;
  asio::cancellation_signal cancel_;
  Waiter<> room_;
  bool own_deadline_ = false;  // the caller names none
  bool cancelled_ = false;
  bool deadline_passed_ = false;
  bool cut_ = false;

  friend class Server;
};

Server::Server(Loop& loop, Limits limits) : loop_(loop), limits_(limits), empty_(loop), unwound_(loop) {}

Server::~Server() {
  listener_.reset();
  for (const auto& connection : std::exchange(connections_, {})) connection->Close();
}

void Server::BindUnary(const std::string& service, const google::protobuf::Descriptor* request,
                            const Message& response, UnaryHandler handler) {
  Method method;
  method.response = &response;
  method.unary = std::move(handler);
  Bind(service, std::move(method), request);
}

void Server::BindStream(const std::string& service, const google::protobuf::Descriptor* request,
                             const Message& response, StreamHandler handler) {
  Method method;
  method.response = &response;
  method.stream = std::move(handler);
  Bind(service, std::move(method), request);
}

void Server::Bind(const std::string& service, Method method, const google::protobuf::Descriptor* request) {
  method.request = google::protobuf::MessageFactory::generated_factory()->GetPrototype(request);
  const auto* descriptor = request->file()->pool()->FindServiceByName(service);
  for (int i = 0; descriptor && i < descriptor->method_count(); ++i) {
    const auto* candidate = descriptor->method(i);
    if (candidate->input_type() == request && candidate->server_streaming() == (method.stream != nullptr)) {
      method.descriptor = candidate;
      break;
    }
  }
  if (!method.descriptor) {
    spdlog::critical("{} has no rpc that takes {}", service, request->full_name());
    std::abort();
  }
  if (IsBound(rpc::PathOf(*method.descriptor))) {
    spdlog::critical("{} is bound twice", rpc::PathOf(*method.descriptor));
    std::abort();
  }
  if (method.descriptor->options().HasExtension(unit::v1::unit)) {
    method.options = UnitOptions(*method.descriptor);
    method.unit = UnitName(*method.descriptor);
  }
  method.protocol = absl::StartsWith(service, "grpc.");
  const std::string path = rpc::PathOf(*method.descriptor);
  methods_[path] = std::move(method);
}

std::vector<std::string> Server::Services() const {
  std::set<std::string> names = {"grpc.reflection.v1.ServerReflection"};
  for (const auto& [path, method] : methods_) names.insert(method.descriptor->service()->full_name());
  return {names.begin(), names.end()};
}

std::shared_ptr<rpc::Receiver> Server::Serve(const std::shared_ptr<rpc::Stream>& stream) {
  const auto found = methods_.find(stream->path());
  if (found != methods_.end()) {
    auto call = std::make_shared<ServerCall>(*this, found->second, stream);
    if (admission_) {
      if (absl::Status refused = admission_(*stream, call->call_); !refused.ok()) {
        stream->Finish(refused);
        return nullptr;
      }
    }
    return call;
  }
  if (IsReflection(stream->path())) {
    CallContext call;
    if (absl::Status refused = admission_ ? admission_(*stream, call) : absl::OkStatus(); !refused.ok()) {
      stream->Finish(refused);
      return nullptr;
    }
    return NewReflectionCall(stream, *reflection_pool_, reflected_.empty() ? Services() : reflected_);
  }
  if (auto forwarded = fallback_ ? fallback_(stream) : nullptr) return forwarded;
  stream->Finish(absl::UnimplementedError(absl::StrCat("there is no rpc ", stream->path())));
  return nullptr;
}

void Server::SetReflection(const google::protobuf::DescriptorPool& pool, std::vector<std::string> services) {
  reflection_pool_ = &pool;
  reflected_ = std::move(services);
}

absl::Status Server::Start(const std::string& address, std::shared_ptr<asio::ssl::context> tls) {
  tls_ = std::move(tls);
  if (tls_) rpc::OfferHttp2(*tls_);
  listener_ = std::make_unique<net::Listener>(loop_, [this](net::Socket socket) { Accept(std::move(socket)); });
  return listener_->Start(address);
}

void Server::Accept(net::Socket socket) {
  if (connections_.size() >= kMaxConnections) return;  // closes it
  rpc::ConnectionLimits limits;
  limits.streams = limits_.unary + limits_.streams;
  auto connection = rpc::Connection::Accept(
      loop_, std::move(socket), limits, receiving_, tls_,
      [this](const std::shared_ptr<rpc::Stream>& stream) { return Serve(stream); },
      [this](const std::shared_ptr<rpc::Connection>& connection) {
        connections_.erase(connection);
        if (connections_.empty()) empty_.cancel();
      });
  if (connection->open()) connections_.insert(std::move(connection));  // else the caller has gone already
}

void Server::EndQueryStreams() {
  ending_ = true;
  std::vector<std::shared_ptr<ServerCall>> streams;
  for (ServerCall* call : query_streams_) streams.push_back(call->shared_from_this());
  for (auto& call : streams) call->Cut();
}

Task<void> Server::Shutdown(absl::Time deadline) {
  if (!listener_) co_return;
  listener_->Close();
  const auto open = connections_;  // each that ends takes itself out
  for (const auto& connection : open) connection->GoAway();
  empty_.expires_after(absl::ToChronoMilliseconds(std::max(deadline - absl::Now(), absl::ZeroDuration())));
  if (!connections_.empty()) co_await empty_.async_wait(asio::as_tuple(asio::use_awaitable));
  const auto late = connections_;
  for (const auto& connection : late) connection->Close();
  // A handler whose caller has gone was told to end, and ends in a later turn of the loop.
  unwound_.expires_after(kUnwindTime);
  if (InFlight() > 0) co_await unwound_.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace aima::runtime
