#include "libs/runtime/pass_through.h"

#include <absl/strings/match.h>

#include <memory>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/rpc/wire.h"

namespace aima::runtime {
namespace {

// Metadata that belongs to a hop or to the caller's key, and what only we may set.
bool StaysHere(absl::string_view name) {
  return rpc::IsReserved(name) || absl::StartsWith(name, "aima-") || name == "authorization" || name == "x-api-key";
}

rpc::Headers Forwarded(const rpc::Headers& headers) {
  rpc::Headers kept;
  for (const auto& header : headers) {
    if (!StaysHere(header.first)) kept.push_back(header);
  }
  return kept;
}

// One call, with a stream on the caller's side and one on the service's. Every rpc is treated as a stream of both, of
// which a unary one is the shortest. The halves hold each other until one of the streams has had its last word.
struct ForwardedCall {
  std::shared_ptr<rpc::Stream> caller;
  std::shared_ptr<rpc::Stream> service;
};

// What comes from the service goes to the caller.
class FromService : public rpc::Receiver {
 public:
  FromService(std::shared_ptr<ForwardedCall> call, std::string domain) : call_(std::move(call)), domain_(std::move(domain)) {}

  void OnHeaders(const rpc::Headers& headers) override {
    if (rpc::Headers kept = Forwarded(headers); !kept.empty()) call_->caller->SendHeaders(std::move(kept));
  }
  void OnMessage(absl::string_view bytes) override {
    if (!call_->caller->Send(bytes)) call_->service->Pause(true);
  }
  void OnWritable() override { call_->caller->Pause(false); }
  void OnEnd(const rpc::Ending& ending) override {
    call_->caller->Finish(rpc::NameUnreached(ending, domain_), Forwarded(ending.trailers));
  }

 private:
  const std::shared_ptr<ForwardedCall> call_;
  const std::string domain_;
};

// What comes from the caller goes to the service.
class FromCaller : public rpc::Receiver {
 public:
  explicit FromCaller(std::shared_ptr<ForwardedCall> call) : call_(std::move(call)) {}

  void OnMessage(absl::string_view bytes) override {
    if (!call_->service->Send(bytes)) call_->caller->Pause(true);
  }
  void OnHalfClose() override { call_->service->EndRequests(); }
  void OnWritable() override { call_->service->Pause(false); }
  void OnDeadline() override {
    call_->service->Cancel();
    call_->caller->Finish(Error(unit::v1::DEADLINE_EXCEEDED, "not done before the deadline"));
  }
  void OnEnd(const rpc::Ending&) override { call_->service->Cancel(); }

 private:
  const std::shared_ptr<ForwardedCall> call_;
};

}  // namespace

void PassThrough::Offer(const google::protobuf::MethodDescriptor& method, std::string domain) {
  domains_[rpc::PathOf(method)] = std::move(domain);
}

std::shared_ptr<rpc::Receiver> PassThrough::Serve(const std::shared_ptr<rpc::Stream>& stream) {
  const auto found = domains_.find(stream->path());
  if (found == domains_.end()) return nullptr;
  CallContext context;
  auto call = std::make_shared<ForwardedCall>();
  call->caller = stream;
  auto from_caller = std::make_shared<FromCaller>(call);
  if (absl::Status refused = admission_(*stream, context); !refused.ok()) {
    stream->Finish(refused);
    return from_caller;
  }
  rpc::Headers headers = Forwarded(stream->headers());
  for (auto& header : rpc::HeadersOf(context)) headers.push_back(std::move(header));
  call->service = channels_.Open(found->second, stream->path(), headers, stream->deadline(),
                                 std::make_shared<FromService>(call, found->second));
  return from_caller;
}

}  // namespace aima::runtime
