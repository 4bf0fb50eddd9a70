#include "libs/runtime/server.h"

#include <absl/strings/str_cat.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/post.hpp>
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

std::string MetadataOf(const grpc::GenericCallbackServerContext& context, const char* name) {
  const auto found = context.client_metadata().find(name);
  return found == context.client_metadata().end() ? "" : std::string(found->second.data(), found->second.size());
}

// The value of the request's idempotency_key field; empty if it has none.
std::string IdempotencyKeyOf(const Message& request) {
  const auto* field = request.GetDescriptor()->FindFieldByName("idempotency_key");
  return field && field->type() == google::protobuf::FieldDescriptor::TYPE_STRING
             ? request.GetReflection()->GetString(request, field)
             : "";
}

}  // namespace

// One call. gRPC holds it until OnDone, the loop until its coroutine has ended.
class ServerCall : public grpc::ServerGenericBidiReactor,
                   public StreamWriter<Message>,
                   public std::enable_shared_from_this<ServerCall> {
 public:
  ServerCall(Server& server, const Method& method, grpc::GenericCallbackServerContext& context)
      : server_(server), method_(method), context_(context) {}

  void Begin() {
    self_ = shared_from_this();
    StartRead(&buffer_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "the call brings no request"));
    asio::post(server_.loop_, [self = shared_from_this()] { self->Admit(); });
  }

  void OnWriteDone(bool ok) override {
    asio::post(server_.loop_, [self = shared_from_this(), ok] {
      self->write_waiter_.Resume(ok);
    });
  }

  void OnCancel() override {
    asio::post(server_.loop_, [self = shared_from_this()] {
      self->cancelled_ = true;
      self->cancel_.emit(asio::cancellation_type::terminal);
    });
  }

  void OnDone() override { self_.reset(); }

  // Ends a stream for which the process does not wait.
  void Cut() {
    cut_ = true;
    cancel_.emit(asio::cancellation_type::terminal);
  }

  // StreamWriter: hands one message to gRPC and waits until it is taken.
  Task<absl::Status> Write(const Message& message) override {
    if (cancelled_) co_return Gone();
    if (!rpc::Serialize(message, buffer_)) co_return absl::InternalError("the message cannot be serialized");
    const bool ok = co_await asio::async_initiate<decltype(asio::use_awaitable), void(bool)>(
        [this](auto handler) {
          write_waiter_.Set(std::move(handler));
          StartWrite(&buffer_);
        },
        asio::use_awaitable);
    if (ok) co_return absl::OkStatus();
    co_return Gone();
  }

 private:
  static absl::Status Stopping() { return Error(unit::v1::UNAVAILABLE, "the service is stopping"); }
  bool QueryStream() const { return method_.stream && method_.options.kind() != unit::v1::COMMAND; }
  static absl::Status Gone() { return Error(unit::v1::CANCELLED, "the caller has gone"); }

  int& InFlight() { return method_.stream ? server_.streams_in_flight_ : server_.unary_in_flight_; }
  int Limit() const { return method_.stream ? server_.limits_.streams : server_.limits_.unary; }

  void Admit() {
    if (server_.admission_) {
      if (absl::Status refused = server_.admission_(context_, call_); !refused.ok()) return Finish(rpc::ToGrpc(refused));
    }
    if (InFlight() >= Limit()) {
      return Finish(rpc::ToGrpc(Error(unit::v1::OVERLOADED, absl::StrCat("already serving ", Limit(), " calls"))));
    }
    if (QueryStream()) {
      if (server_.ending_) return Finish(rpc::ToGrpc(Stopping()));
      server_.query_streams_.insert(this);
    }
    ++InFlight();
    asio::co_spawn(server_.loop_, Run(),
                   asio::bind_cancellation_slot(
                       cancel_.slot(), [self = shared_from_this()](std::exception_ptr error, absl::Status status) {
                         --self->InFlight();
                         self->server_.query_streams_.erase(self.get());
                         self->deadline_timer_.reset();
                         self->End(error ? self->Thrown(error) : status);
                       }));
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
    request_.reset(method_.request->New());
    if (!rpc::Parse(buffer_, *request_)) co_return InvalidInput("", "the request cannot be parsed");
    SetContext();
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
    call_.trace_id = MetadataOf(context_, rpc::kTraceHeader);
    call_.request_id = MetadataOf(context_, rpc::kRequestHeader);
    if (call_.principal.empty()) call_.principal = MetadataOf(context_, rpc::kPrincipalHeader);
    if (call_.request_id.empty()) call_.request_id = NewId("req_");
    if (call_.trace_id.empty()) call_.trace_id = call_.request_id;
    call_.idempotency_key = IdempotencyKeyOf(*request_);
    call_.deadline = absl::FromChrono(context_.deadline());
    const int timeout = method_.options.timeout_ms() ? method_.options.timeout_ms() : 30'000;
    if (context_.deadline() == std::chrono::system_clock::time_point::max() && !method_.unit.empty()) {
      call_.deadline = absl::Now() + absl::Milliseconds(timeout);
      deadline_timer_ = std::make_unique<asio::steady_timer>(server_.loop_, std::chrono::milliseconds(timeout));
      deadline_timer_->async_wait([weak = weak_from_this()](boost::system::error_code error) {
        auto self = weak.lock();
        if (error || !self) return;
        self->deadline_passed_ = true;
        self->cancel_.emit(asio::cancellation_type::terminal);
      });
    }
  }

  void End(const absl::Status& status) {
    if (status.ok() && response_) {
      if (!rpc::Serialize(*response_, buffer_)) {
        return Finish(grpc::Status(grpc::StatusCode::INTERNAL, "the response cannot be serialized"));
      }
      return StartWriteAndFinish(&buffer_, {}, grpc::Status::OK);
    }
    Finish(rpc::ToGrpc(status));
  }

  Server& server_;
  const Method& method_;
  grpc::GenericCallbackServerContext& context_;
  std::shared_ptr<ServerCall> self_;
  grpc::ByteBuffer buffer_;  // the request, then each response
  std::unique_ptr<Message> request_;
  std::unique_ptr<Message> response_;
  CallContext call_;
  asio::cancellation_signal cancel_;
  Waiter<bool> write_waiter_;
  std::unique_ptr<asio::steady_timer> deadline_timer_;
  bool cancelled_ = false;
  bool deadline_passed_ = false;
  bool cut_ = false;
};

namespace {

// Answers a call to an rpc that is not there.
class Refusal : public grpc::ServerGenericBidiReactor {
 public:
  explicit Refusal(const std::string& path) {
    Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, absl::StrCat("there is no rpc ", path)));
  }
  void OnDone() override { delete this; }
};

}  // namespace

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
  const std::string path = rpc::PathOf(*method.descriptor);
  methods_[path] = std::move(method);
}

std::vector<std::string> Server::Services() const {
  std::set<std::string> names = {"grpc.reflection.v1.ServerReflection"};
  for (const auto& [path, method] : methods_) names.insert(method.descriptor->service()->full_name());
  return {names.begin(), names.end()};
}

grpc::ServerGenericBidiReactor* Server::CreateReactor(grpc::GenericCallbackServerContext* context) {
  const auto found = methods_.find(context->method());
  if (found != methods_.end()) {
    auto call = std::make_shared<ServerCall>(*this, found->second, *context);
    call->Begin();
    return call.get();
  }
  if (IsReflection(context->method())) {
    return NewReflectionCall(*reflection_pool_, reflected_.empty() ? Services() : reflected_);
  }
  if (grpc::ServerGenericBidiReactor* forwarded = fallback_ ? fallback_(context) : nullptr) return forwarded;
  return new Refusal(context->method());
}

void Server::SetReflection(const google::protobuf::DescriptorPool& pool, std::vector<std::string> services) {
  reflection_pool_ = &pool;
  reflected_ = std::move(services);
}

absl::Status Server::Start(const std::string& address, const std::optional<Tls>& tls) {
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  if (tls) {
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({tls->private_key, tls->certificate_chain});
    credentials = grpc::SslServerCredentials(options);
  }
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address, credentials, &port);
  builder.RegisterCallbackGenericService(this);
  builder.SetMaxReceiveMessageSize(64 << 20);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, limits_.unary + limits_.streams);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  server_ = builder.BuildAndStart();
  if (!server_ || port == 0) return absl::UnavailableError(absl::StrCat("cannot listen on ", address));
  return absl::OkStatus();
}

void Server::EndQueryStreams() {
  ending_ = true;
  std::vector<std::shared_ptr<ServerCall>> streams;
  for (ServerCall* call : query_streams_) streams.push_back(call->shared_from_this());
  for (auto& call : streams) call->Cut();
}

void Server::Shutdown(absl::Time deadline) {
  if (server_) server_->Shutdown(absl::ToChronoTime(deadline));
}

}  // namespace aima::runtime
