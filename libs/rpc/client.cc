#include "libs/rpc/client.h"

#include <absl/container/node_hash_map.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <random>

#include "aima/unit/v1/errors.pb.h"
#include "aima/unit/v1/unit.pb.h"
#include "libs/base/waiter.h"
#include "libs/errors/errors.h"
#include "libs/rpc/channels.h"
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

absl::Status NoMessage() { return absl::InternalError("the service sent bytes that are no message"); }

absl::Status GaveUp() { return Error(unit::v1::CANCELLED, "the caller has gone"); }

// A call in flight, unary or streaming. The coroutine that waits for it may be cancelled, which ends the call.
class ClientCall : public Receiver, public std::enable_shared_from_this<ClientCall> {
 public:
  explicit ClientCall(Loop& loop) : loop_(loop) {}

  void Start(Channels& channels, const Target& target, const CallContext& call, const Message& request) {
    domain_ = target.domain;
    stream_ = channels.Open(target.domain, target.path, HeadersOf(call), call.deadline, shared_from_this());
    stream_->Send(request);
    stream_->EndRequests();
  }

  // True when `into` holds the next message, false when the call has ended; nothing if that is not known yet: await
  // Wait then.
  std::optional<bool> Take(Message& into) {
    if (!waiting_.empty()) {
      parsed_ = into.ParseFromString(waiting_.front());
      waiting_.pop_front();
      if (waiting_.empty()) stream_->Pause(false);
      return true;
    }
    if (ending_) return false;
    into_ = &into;
    return std::nullopt;
  }

  auto Wait() {
    return asio::async_initiate<decltype(asio::use_awaitable), void(bool)>(
        [self = shared_from_this()](auto handler) {
          self->reader_.Set(std::move(handler));
          if (auto slot = self->reader_.slot(); slot.is_connected()) {
            slot.assign([weak = std::weak_ptr(self)](asio::cancellation_type) {
              if (auto call = weak.lock()) call->Cancel();
            });
          }
        },
        asio::use_awaitable);
  }

  void Cancel() {
    if (ending_) return;
    ending_ = Ending{GaveUp()};
    into_ = nullptr;
    stream_->Cancel();
    asio::post(loop_, [self = shared_from_this()] { self->reader_.Resume(false); });
  }

  bool parsed() const { return parsed_; }
  const std::string& domain() const { return domain_; }
  const Ending& ending() const { return *ending_; }

  void OnMessage(absl::string_view bytes) override {
    if (!into_) {
      waiting_.emplace_back(bytes);
      stream_->Pause(true);
      return;
    }
    parsed_ = std::exchange(into_, nullptr)->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
    reader_.Resume(true);
  }

  void OnEnd(const Ending& ending) override {
    ending_ = ending;
    into_ = nullptr;
    reader_.Resume(false);
  }

 private:
  Loop& loop_;
  std::string domain_;
  std::shared_ptr<Stream> stream_;
  std::list<std::string> waiting_;   // messages that nobody has asked for yet
  Message* into_ = nullptr;          // where the reader wants the next one
  bool parsed_ = false;
  Waiter<bool> reader_;
  std::optional<Ending> ending_;
};

class Reader : public Client::RawReader {
 public:
  explicit Reader(std::shared_ptr<ClientCall> call) : call_(std::move(call)) {}
  ~Reader() override { call_->Cancel(); }

  Task<absl::StatusOr<bool>> Next(Message& message) override {
    const std::shared_ptr<ClientCall> call = call_;  // the reader may be gone when there is a message
    std::optional<bool> more = call->Take(message);
    if (!more) more = co_await call->Wait();
    if (!*more) {
      if (call->ending().status.ok()) co_return false;
      co_return NameUnreached(call->ending(), call->domain());
    }
    if (!call->parsed()) co_return NoMessage();
    co_return true;
  }

 private:
  const std::shared_ptr<ClientCall> call_;
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
      auto running = std::make_shared<ClientCall>(loop_);
      running->Start(channels_, target, call, request);
      std::optional<bool> more = running->Take(response);
      if (!more) more = co_await running->Wait();
      if (*more) {
        if (!running->parsed()) {
          running->Cancel();
          co_return NoMessage();
        }
        more = running->Take(response);
        if (!more) more = co_await running->Wait();
        if (*more) {  // two answers
          running->Cancel();
          co_return NoMessage();
        }
        if (running->ending().status.ok()) co_return absl::OkStatus();
      }
      const Ending& ending = running->ending();
      if (ending.status.ok()) co_return NoMessage();
      const absl::Status failure = NameUnreached(ending, target.domain);
      const bool lost = !ending.answered && failure.code() == absl::StatusCode::kUnavailable;
      const bool again = lost && (target.repeatable || !ending.reached);
      if (!again || attempt == kAttempts) co_return failure;
      const absl::Duration wait = absl::Milliseconds(50 * attempt + static_cast<int>(jitter_() % 100));
      if (wait > call.TimeLeft()) co_return failure;
      asio::steady_timer timer(loop_, absl::ToChronoMilliseconds(wait));
      co_await timer.async_wait(asio::use_awaitable);
    }
  }

  std::unique_ptr<RawReader> StreamUntyped(const CallContext& call, const Message& request) override {
    const Target& target = TargetOf(*request.GetDescriptor(), /*streaming=*/true);
    auto running = std::make_shared<ClientCall>(loop_);
    running->Start(channels_, target, call, request);
    return std::make_unique<Reader>(std::move(running));
  }

 private:
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

std::unique_ptr<Client> MakeClient(Loop& loop, Channels& channels) {
  return std::make_unique<GrpcClient>(loop, channels);
}

}  // namespace aima::rpc
