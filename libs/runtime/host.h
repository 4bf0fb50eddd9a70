// What a service's main.cc wires together. See services/resource/main.cc for a whole one.
#pragma once

#include <absl/status/status.h>
#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "aima/config/v1/config.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/stream.h"
#include "libs/base/task.h"
#include "libs/events/outbox.h"
#include "libs/events/subscriber.h"
#include "libs/pg/database.h"
#include "libs/rpc/client.h"

namespace aima::runtime {

// A unit's implementation with its types erased.
using UnaryHandler = std::function<Task<absl::Status>(CallContext&, google::protobuf::Message& request,
                                                      google::protobuf::Message& response)>;
using StreamHandler =
    std::function<Task<absl::Status>(CallContext&, const google::protobuf::Message& request,
                                     StreamWriter<google::protobuf::Message>& out)>;

// Takes handlers for the rpcs of proto services.
class RpcBinder {
 public:
  virtual ~RpcBinder() = default;
  virtual void BindUnary(const std::string& service, const google::protobuf::Descriptor* request,
                         const google::protobuf::Message& response_prototype, UnaryHandler handler) = 0;
  virtual void BindStream(const std::string& service, const google::protobuf::Descriptor* request,
                          const google::protobuf::Message& response_prototype, StreamHandler handler) = 0;
};

// Binds the rpcs of one proto service to member functions. The request type tells which rpc a function serves; an
// rpc that is left unbound, or bound twice, ends the process at start with its name.
class ServiceBinder {
 public:
  ServiceBinder(RpcBinder& binder, std::string service) : binder_(binder), service_(std::move(service)) {}

  // Task<absl::StatusOr<Response>> Units::Method(CallContext&, const Request&), where the request may also be taken by
  // value by a method that keeps what is in it, or for a streaming rpc
  // Task<absl::Status> Units::Method(CallContext&, const Request&, StreamWriter<Response>&).
  template <auto method, class Units>
  ServiceBinder& Bind(Units& units) {
    BindMember(units, method);
    return *this;
  }

 private:
  template <class Units, class Request, class Response>
  void BindMember(Units& units, Task<absl::StatusOr<Response>> (Units::*method)(CallContext&, const Request&));
  template <class Units, class Request, class Response>
  void BindMember(Units& units, Task<absl::StatusOr<Response>> (Units::*method)(CallContext&, Request));
  template <class Units, class Request, class Response>
  void BindMember(Units& units,
                  Task<absl::Status> (Units::*method)(CallContext&, const Request&, StreamWriter<Response>&));

  RpcBinder& binder_;
  std::string service_;
};

// The process around a service: its loop, its configuration and its connections to everything else. Objects given
// to Own live as long as the host and are destroyed in reverse order.
class Host : public RpcBinder {
 public:
  virtual Loop& loop() = 0;
  virtual const config::v1::Config& config() const = 0;
  // Absolute directories: everything AIMA makes on this machine; files that it ships (share/aima).
  virtual const std::string& data_dir() const = 0;
  virtual const std::string& share_dir() const = 0;

  // Made at first use. Pg() is migrated, connected and in the schema of this domain.
  virtual pg::Database& Pg() = 0;
  virtual events::Outbox& Outbox() = 0;
  virtual events::Subscriber& Events() = 0;
  virtual rpc::Client& Rpc() = 0;

  // A call context for work that no caller waits for.
  virtual CallContext BackgroundCall(std::string_view what) = 0;

  // Runs in the background. When the process ends, and what was given to OnDrain is done, the task is told to end, by
  // cancellation of what it awaits, and has two seconds for that while everything is still there.
  virtual void Spawn(Task<void> task) = 0;
  // Runs when the process has stopped accepting calls, before background work is told to end and connections close.
  virtual void OnDrain(std::function<Task<void>()> work) = 0;

  ServiceBinder Serve(std::string service) { return ServiceBinder(*this, std::move(service)); }

  template <class T, class... Args>
  T& Own(Args&&... args) {
    auto owned = std::make_shared<T>(std::forward<Args>(args)...);
    T& object = *owned;
    owned_.push_back(std::move(owned));
    return object;
  }

 protected:
  void DestroyOwned() {
    while (!owned_.empty()) owned_.pop_back();
  }

 private:
  std::vector<std::shared_ptr<void>> owned_;
};

// The whole of a service's main: reads flags and configuration, makes the host, runs `wire` (which binds units and
// may await what must be ready before serving), serves on the domain's Unix socket until SIGTERM, drains, and
// returns the exit status.
int Main(int argc, char** argv, std::string_view domain, std::function<Task<absl::Status>(Host&)> wire);

// Implementation.

template <class Units, class Request, class Response>
void ServiceBinder::BindMember(Units& units,
                               Task<absl::StatusOr<Response>> (Units::*method)(CallContext&, const Request&)) {
  binder_.BindUnary(service_, Request::descriptor(), Response::default_instance(),
                  [&units, method](CallContext& call, google::protobuf::Message& request,
                                   google::protobuf::Message& response) -> Task<absl::Status> {
                    absl::StatusOr<Response> result =
                        co_await (units.*method)(call, static_cast<const Request&>(request));
                    if (!result.ok()) co_return result.status();
                    static_cast<Response&>(response) = *std::move(result);
                    co_return absl::OkStatus();
                  });
}

template <class Units, class Request, class Response>
void ServiceBinder::BindMember(Units& units, Task<absl::StatusOr<Response>> (Units::*method)(CallContext&, Request)) {
  binder_.BindUnary(service_, Request::descriptor(), Response::default_instance(),
                  [&units, method](CallContext& call, google::protobuf::Message& request,
                                   google::protobuf::Message& response) -> Task<absl::Status> {
                    absl::StatusOr<Response> result =
                        co_await (units.*method)(call, std::move(static_cast<Request&>(request)));
                    if (!result.ok()) co_return result.status();
                    static_cast<Response&>(response) = *std::move(result);
                    co_return absl::OkStatus();
                  });
}

template <class Units, class Request, class Response>
void ServiceBinder::BindMember(Units& units, Task<absl::Status> (Units::*method)(CallContext&, const Request&,
                                                                                 StreamWriter<Response>&)) {
  // Narrows the untyped writer to the type that the unit writes.
  class Writer : public StreamWriter<Response> {
   public:
    explicit Writer(StreamWriter<google::protobuf::Message>& out) : out_(out) {}
    Task<absl::Status> Write(const Response& message) override { return out_.Write(message); }

   private:
    StreamWriter<google::protobuf::Message>& out_;
  };
  binder_.BindStream(service_, Request::descriptor(), Response::default_instance(),
                   [&units, method](CallContext& call, const google::protobuf::Message& request,
                                    StreamWriter<google::protobuf::Message>& out) -> Task<absl::Status> {
                     Writer writer(out);
                     co_return co_await (units.*method)(call, static_cast<const Request&>(request), writer);
                   });
}

}  // namespace aima::runtime
