#include "libs/rpc/grpc_client.h"

#include <absl/container/node_hash_map.h>
#include <absl/strings/str_cat.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/client_callback.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/post.hpp>
#include <random>

#include "aima/unit/v1/errors.pb.h"
#include "aima/unit/v1/unit.pb.h"
#include "libs/base/waiter.h"
#include "libs/errors/errors.h"
#include "libs/rpc/wire.h"
#include "libs/unit/catalogue.h"

namespace aima::rpc {
namespace {

namespace asio = boost::asio;
using google::protobuf::Descriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

constexpr int kAttempts = 3;

// The rpc that takes `request` as its input, in its unary or its streaming form; null if there is none.
const MethodDescriptor* FindMethod(const Descriptor& request, bool streaming) {
  const google::protobuf::FileDescriptor& file = *request.file();
  for (int i = 0; i < file.service_count(); ++i) {
    for (int j = 0; j < file.service(i)->method_count(); ++j) {
      const MethodDescriptor* method = file.service(i)->method(j);
      if (method->input_type() == &request && method->server_streaming() == streaming) return method;
    }
  }
  return nullptr;
}

struct Target {
  std::string domain;
  std::string path;
  bool repeatable = false;
};

absl::Status Describe(const grpc::Status& status, const Target& target) {
  absl::Status described = FromGrpc(status);
  // gRPC's own text names a socket; people know services.
  if (described.code() == absl::StatusCode::kUnavailable && status.error_details().empty()) {
    return Error(unit::v1::UNAVAILABLE, absl::StrCat("the ", target.domain, " service cannot be reached"),
                 {{"service", target.domain}});
  }
  return described;
}

// A unary call in flight. Shared, because gRPC finishes with it after a cancelled caller has gone.
struct UnaryCall {
  grpc::ClientContext context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
};

// A stream in flight. gRPC holds it until OnDone; the reader holds it until it is destroyed.
class StreamCall : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                   public std::enable_shared_from_this<StreamCall> {
 public:
  StreamCall(Loop& loop) : loop_(loop) {}

  void Start(std::shared_ptr<grpc::Channel> channel, const std::string& path) {
    self_ = shared_from_this();
    channel_ = std::move(channel);
    grpc::GenericStub stub(channel_);
    stub.PrepareBidiStreamingCall(&context, path, {}, this);
    StartWriteLast(&request, {});
    AddHold();  // reads start from outside gRPC's callbacks
    StartCall();
  }

  // True when `response` holds the next message, false when the stream has ended with `status`.
  Task<bool> Read() {
    if (done_) co_return false;
    co_return co_await asio::async_initiate<decltype(asio::use_awaitable), void(bool)>(
        [this](auto handler) {
          waiter_.Set(std::move(handler));
          if (auto slot = waiter_.slot(); slot.is_connected()) {
            slot.assign([weak = weak_from_this()](asio::cancellation_type) {
              if (auto call = weak.lock()) call->context.TryCancel();
            });
          }
          StartRead(&response);
        },
        asio::use_awaitable);
  }

  void Abandon() {
    context.TryCancel();
    Release();
  }

  void OnReadDone(bool ok) override {
    // After a failed read the end follows in OnDone.
    asio::post(loop_, [self = shared_from_this(), ok] {
      if (ok) {
        self->waiter_.Resume(true);
      } else {
        self->Release();
      }
    });
  }

  void OnDone(const grpc::Status& ended) override {
    asio::post(loop_, [self = std::move(self_), ended] {
      self->status = ended;
      self->done_ = true;
      self->waiter_.Resume(false);
    });
  }

  grpc::ClientContext context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;
  grpc::Status status;

 private:
  void Release() {
    if (std::exchange(released_, true)) return;
    RemoveHold();
  }

  Loop& loop_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<StreamCall> self_;
  Waiter<bool> waiter_;
  bool released_ = false;
  bool done_ = false;
};

class GrpcReader : public Client::RawReader {
 public:
  GrpcReader(std::shared_ptr<StreamCall> call, Target target) : call_(std::move(call)), target_(std::move(target)) {}
  ~GrpcReader() override { call_->Abandon(); }

  Task<absl::StatusOr<bool>> Next(Message& message) override {
    const std::shared_ptr<StreamCall> call = call_;
    const bool more = co_await call->Read();
    if (!more) {
      if (call->status.ok()) co_return false;
      co_return Describe(call->status, target_);
    }
    if (!Parse(call->response, message)) co_return absl::InternalError("the service sent bytes that are no message");
    co_return true;
  }

 private:
  std::shared_ptr<StreamCall> call_;
  Target target_;
};

class GrpcClient : public Client {
 public:
  GrpcClient(Loop& loop, Channels& channels) : loop_(loop), channels_(channels) {}

  Task<absl::Status> CallUntyped(const CallContext& call, const Message& request, Message& response) override {
    return Send(TargetOf(*request.GetDescriptor()), call, request, response);
  }

  Task<absl::Status> CallDomain(const std::string& domain, const CallContext& call, const Message& request,
                                Message& response) override {
    Target target = TargetOf(*request.GetDescriptor());
    target.domain = domain;
    co_return co_await Send(target, call, request, response);
  }

  // `target` must live as long as the call.
  Task<absl::Status> Send(const Target& target, const CallContext& call, const Message& request, Message& response) {
    for (int attempt = 1;; ++attempt) {
      auto state = std::make_shared<UnaryCall>();
      if (!Serialize(request, state->request)) co_return absl::InternalError("the request cannot be serialized");
      Propagate(call, state->context);
      const grpc::Status status = co_await SendOnce(state, target);
      if (status.ok()) {
        if (Parse(state->response, response)) co_return absl::OkStatus();
        co_return absl::InternalError("the service sent bytes that are no message");
      }
      const absl::Status failure = Describe(status, target);
      if (!target.repeatable || attempt == kAttempts || failure.code() != absl::StatusCode::kUnavailable) {
        co_return failure;
      }
      const absl::Duration wait = absl::Milliseconds(50 * attempt + static_cast<int>(jitter_() % 100));
      if (wait > call.TimeLeft()) co_return failure;
      asio::steady_timer timer(loop_, absl::ToChronoMilliseconds(wait));
      co_await timer.async_wait(asio::use_awaitable);
    }
  }

  std::unique_ptr<RawReader> StreamUntyped(const CallContext& call, const Message& request) override {
    const Target& target = TargetOf(*request.GetDescriptor(), /*streaming=*/true);
    auto stream = std::make_shared<StreamCall>(loop_);
    Serialize(request, stream->request);
    Propagate(call, stream->context);
    stream->Start(channels_.To(target.domain), target.path);
    return std::make_unique<GrpcReader>(std::move(stream), target);
  }

 private:
  Task<grpc::Status> SendOnce(std::shared_ptr<UnaryCall> state, const Target& target) {
    co_return co_await asio::async_initiate<decltype(asio::use_awaitable), void(grpc::Status)>(
        [&, state](auto handler) {
          auto waiter = std::make_shared<Waiter<grpc::Status>>();
          waiter->Set(std::move(handler));
          if (auto slot = waiter->slot(); slot.is_connected()) {
            slot.assign([weak = std::weak_ptr(state)](asio::cancellation_type) {
              if (auto running = weak.lock()) running->context.TryCancel();
            });
          }
          grpc::GenericStub stub(channels_.To(target.domain));
          stub.UnaryCall(&state->context, target.path, {}, &state->request, &state->response,
                         [&loop = loop_, state, waiter](grpc::Status status) {
                           asio::post(loop, [state, waiter, status = std::move(status)] {
                             waiter->Resume(status);
                           });
                         });
        },
        asio::use_awaitable);
  }

  const Target& TargetOf(const Descriptor& request, bool streaming = false) {
    Target& target = targets_[{&request, streaming}];
    if (target.path.empty()) {
      if (const MethodDescriptor* method = FindMethod(request, streaming)) {
        const unit::v1::Unit options = UnitOptions(*method);
        target.domain = DomainOf(*request.file());
        target.path = PathOf(*method);
        target.repeatable = options.kind() == unit::v1::QUERY || options.idempotent();
      }
    }
    return target;
  }

  Loop& loop_;
  Channels& channels_;
  absl::node_hash_map<std::pair<const Descriptor*, bool>, Target> targets_;  // references stay valid
  std::minstd_rand jitter_{std::random_device{}()};
};

}  // namespace

std::unique_ptr<Client> MakeGrpcClient(Loop& loop, Channels& channels) {
  return std::make_unique<GrpcClient>(loop, channels);
}

}  // namespace aima::rpc
