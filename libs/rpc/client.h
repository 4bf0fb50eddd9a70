// Calls other services. Domain code sees messages and statuses only.
#pragma once

#include <absl/status/statusor.h>
#include <google/protobuf/message.h>

#include <memory>

#include "libs/base/call_context.h"
#include "libs/base/status_macros.h"
#include "libs/base/stream.h"
#include "libs/base/task.h"

namespace aima::rpc {

class Channels;

// Calls units by their request type: every request message belongs to exactly one unit, whose package names the
// service's process; a unit's unary and streaming forms may share it. Deadline, trace and principal travel along. A call
// that has not reached the service is tried again (3 attempts in all); one that may have reached it only if it is a
// QUERY or an idempotent COMMAND.
class Client {
 public:
  virtual ~Client() = default;

  template <class Response, class Request>
  Task<absl::StatusOr<Response>> Call(const CallContext& call, const Request& request) {
    Response response;
    CO_RETURN_IF_ERROR(co_await CallUntyped(call, request, response));
    co_return response;
  }

  // Opens a server stream. The reader must not outlive the client.
  template <class Response, class Request>
  std::unique_ptr<StreamReader<Response>> Stream(const CallContext& call, const Request& request) {
    return std::make_unique<TypedReader<Response>>(StreamUntyped(call, request));
  }

  // One stream of serialized messages.
  class RawReader {
   public:
    virtual ~RawReader() = default;
    // Reads into `message`; false at the end of the stream.
    virtual Task<absl::StatusOr<bool>> Next(google::protobuf::Message& message) = 0;
  };

  // The same for messages whose types are known at run time only; the responses may be of any pool.
  virtual Task<absl::Status> CallUntyped(const CallContext& call, const google::protobuf::Message& request,
                                         google::protobuf::Message& response) = 0;
  // Calls an rpc that several processes offer (health, runtime) on the process of `domain`.
  virtual Task<absl::Status> CallDomain(const std::string& domain, const CallContext& call,
                                        const google::protobuf::Message& request,
                                        google::protobuf::Message& response) = 0;
  virtual std::unique_ptr<RawReader> StreamUntyped(const CallContext& call,
                                                   const google::protobuf::Message& request) = 0;

 private:
  template <class T>
  class TypedReader : public StreamReader<T> {
   public:
    explicit TypedReader(std::unique_ptr<RawReader> raw) : raw_(std::move(raw)) {}
    Task<absl::StatusOr<std::optional<T>>> Next() override {
      T message;
      CO_ASSIGN_OR_RETURN(const bool more, co_await raw_->Next(message));
      if (!more) co_return std::optional<T>();
      co_return std::optional<T>(std::move(message));
    }

   private:
    std::unique_ptr<RawReader> raw_;
  };
};

// Calls are made and answered on `loop`. `channels` must outlive the client.
std::unique_ptr<Client> MakeClient(Loop& loop, Channels& channels);

}  // namespace aima::rpc
