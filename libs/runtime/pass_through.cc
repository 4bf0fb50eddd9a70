#include "libs/runtime/pass_through.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/client_callback.h>

#include <boost/asio/post.hpp>
#include <memory>
#include <mutex>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/rpc/wire.h"

namespace aima::runtime {

namespace asio = boost::asio;

namespace {

// Metadata that belongs to a hop or to the caller's key, and what only we may set.
bool StaysHere(absl::string_view name) {
  return absl::StartsWith(name, ":") || absl::StartsWith(name, "grpc-") || absl::StartsWith(name, "aima-") ||
         name == "authorization" || name == "x-api-key" || name == "user-agent" || name == "content-type" ||
         name == "te";
}

}  // namespace

// One call: a reactor on the caller's side and one on the service's, each waking the other. Both sides hold it until
// gRPC is done with them. Every rpc is treated as a stream, of which a unary one is the shortest.
class ForwardedCall : public grpc::ServerGenericBidiReactor, public std::enable_shared_from_this<ForwardedCall> {
 public:
  ForwardedCall(PassThrough& owner, std::string domain, grpc::GenericCallbackServerContext& context)
      : owner_(owner), domain_(std::move(domain)), context_(context), upstream_(*this) {}

  void Begin() {
    self_ = shared_from_this();
    asio::post(owner_.loop_, [self = shared_from_this()] { self->Admit(); });
  }

  // The caller's side.
  void OnReadDone(bool ok) override {
    std::lock_guard lock(mutex_);
    if (!upstream_open_) return;
    if (ok) {
      upstream_.StartWrite(&request_);
    } else {
      upstream_.StartWritesDone();
      CloseUpstream();
    }
  }
  void OnWriteDone(bool ok) override {
    if (ok) {
      upstream_.StartRead(&response_);
    } else {
      upstream_.context.TryCancel();
    }
  }
  void OnCancel() override { upstream_.context.TryCancel(); }
  void OnDone() override { auto last = std::move(self_); }

 private:
  // The service's side.
  class Upstream : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
   public:
    explicit Upstream(ForwardedCall& call) : call_(call) {}

    void OnWriteDone(bool ok) override {
      if (ok) {
        call_.StartRead(&call_.request_);
      } else {
        End();
      }
    }
    void OnReadDone(bool ok) override {
      if (ok) {
        call_.StartWrite(&call_.response_);
      } else {
        End();
      }
    }
    void OnDone(const grpc::Status& status) override {
      call_.Finish(call_.Named(status));
      auto last = std::move(call_.upstream_self_);
    }
    // Writes are started from the other side's callbacks; without the hold gRPC could be done before one of them.
    void Hold() { AddHold(); }
    void Release() { RemoveHold(); }

    grpc::ClientContext context;

   private:
    // The service takes no more requests.
    void End() {
      std::lock_guard lock(call_.mutex_);
      if (call_.upstream_open_) call_.CloseUpstream();
    }

    ForwardedCall& call_;
  };

  // With mutex_ held.
  void CloseUpstream() {
    upstream_open_ = false;
    upstream_.Release();
  }

  void Admit() {
    CallContext call;
    if (absl::Status refused = owner_.admission_(context_, call); !refused.ok()) return Finish(rpc::ToGrpc(refused));
    for (const auto& [name, value] : context_.client_metadata()) {
      const absl::string_view key(name.data(), name.size());
      if (!StaysHere(key)) upstream_.context.AddMetadata(std::string(key), std::string(value.data(), value.size()));
    }
    rpc::Propagate(call, upstream_.context);
    if (context_.deadline() != std::chrono::system_clock::time_point::max()) {
      upstream_.context.set_deadline(context_.deadline());
    }
    channel_ = owner_.channels_.To(domain_);
    upstream_self_ = shared_from_this();
    grpc::GenericStub(channel_).PrepareBidiStreamingCall(&upstream_.context, context_.method(), {}, &upstream_);
    upstream_open_ = true;
    upstream_.Hold();
    upstream_.StartRead(&response_);
    upstream_.StartCall();
    StartRead(&request_);
  }

  grpc::Status Named(const grpc::Status& status) const {
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE || !status.error_details().empty()) return status;
    return rpc::ToGrpc(Error(unit::v1::UNAVAILABLE, absl::StrCat("the ", domain_, " service cannot be reached"),
                             {{"service", domain_}}));
  }

  PassThrough& owner_;
  const std::string domain_;
  grpc::GenericCallbackServerContext& context_;
  std::shared_ptr<grpc::Channel> channel_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  Upstream upstream_;
  std::mutex mutex_;
  bool upstream_open_ = false;                    // guarded by mutex_: requests may be written
  std::shared_ptr<ForwardedCall> self_;           // until the caller's side is done
  std::shared_ptr<ForwardedCall> upstream_self_;  // until the service's side is done
};

void PassThrough::Offer(const google::protobuf::MethodDescriptor& method, std::string domain) {
  domains_[rpc::PathOf(method)] = std::move(domain);
}

grpc::ServerGenericBidiReactor* PassThrough::CreateReactor(grpc::GenericCallbackServerContext* context) {
  const auto found = domains_.find(context->method());
  if (found == domains_.end()) return nullptr;
  auto call = std::make_shared<ForwardedCall>(*this, found->second, *context);
  call->Begin();
  return call.get();
}

}  // namespace aima::runtime
