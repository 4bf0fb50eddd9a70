// The gRPC server of a process: every bound rpc, served by coroutines on the process's loop.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/status/status.h>

#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/net/listener.h"
#include "libs/rpc/connection.h"
#include "libs/runtime/method.h"

namespace aima::runtime {

// How many calls are served at once. More are refused with OVERLOADED, at once, rather than queued.
struct Limits {
  int unary = 1024;
  int streams = 4096;
};

// Wraps every unit's handler; sees the call, runs `next`, may answer in its place.
using Middleware = std::function<Task<absl::Status>(CallContext& call, const Method& method,
                                                    const google::protobuf::Message& request,
                                                    google::protobuf::Message* response,
                                                    std::function<Task<absl::Status>()> next)>;

// Decides about a call before anything else is done for it, and fills in who calls: what the caller's headers say of that
// counts only where there is no admission. An error ends the call.
using Admission = std::function<absl::Status(const rpc::Stream& stream, CallContext& call)>;

// Serves rpcs that are not bound; returns null for those that it does not know either.
using Fallback = std::function<std::shared_ptr<rpc::Receiver>(const std::shared_ptr<rpc::Stream>& stream)>;

class ServerCall;

// Serves unary and server-streaming rpcs by name, whatever their types. Everything happens on the loop; an rpc that is
// not bound answers UNIMPLEMENTED. Bind everything before Start.
class Server : public RpcBinder {
 public:
  Server(Loop& loop, Limits limits);
  ~Server();

  // A handler for an rpc that is not there, or that has one already, ends the process with the rpc's name.
  void BindUnary(const std::string& service, const google::protobuf::Descriptor* request,
                 const google::protobuf::Message& response, UnaryHandler handler) override;
  void BindStream(const std::string& service, const google::protobuf::Descriptor* request,
                  const google::protobuf::Message& response, StreamHandler handler) override;
  bool IsBound(const std::string& path) const { return methods_.count(path) > 0; }
  void SetMiddleware(Middleware middleware) { middleware_ = std::move(middleware); }

  void SetAdmission(Admission admission) { admission_ = std::move(admission); }
  void SetFallback(Fallback fallback) { fallback_ = std::move(fallback); }
  // What reflection tells, instead of the bound services and the program's own descriptors.
  void SetReflection(const google::protobuf::DescriptorPool& pool, std::vector<std::string> services);

  // Full names of the proto services that have bound rpcs, reflection included.
  std::vector<std::string> Services() const;

  // Listens on `address` ("unix:/…" or "127.0.0.1:50051"). The error says why it cannot.
  absl::Status Start(const std::string& address, std::shared_ptr<boost::asio::ssl::context> tls = nullptr);
  // Ends the streams of queries (subscriptions, watches), which end by themselves only when their caller leaves.
  void EndQueryStreams();
  // Refuses new calls, waits until the running ones are done or `deadline` has passed, then cuts them off. Handlers have
  // ended when it returns, all but those that do not end within two seconds of being told to: whatever they use may be
  // destroyed then.
  Task<void> Shutdown(absl::Time deadline);

 private:
  friend class ServerCall;
  void Accept(net::Socket socket);
  std::shared_ptr<rpc::Receiver> Serve(const std::shared_ptr<rpc::Stream>& stream);
  void Bind(const std::string& service, Method method, const google::protobuf::Descriptor* request);
  int InFlight() const { return unary_in_flight_ + streams_in_flight_ + protocol_in_flight_; }

  Loop& loop_;
  const Limits limits_;
  Middleware middleware_;
  Admission admission_;
  Fallback fallback_;
  const google::protobuf::DescriptorPool* reflection_pool_ = google::protobuf::DescriptorPool::generated_pool();
  std::vector<std::string> reflected_;
  absl::flat_hash_map<std::string, Method> methods_;  // by path; not changed after Start
  int unary_in_flight_ = 0;
  int streams_in_flight_ = 0;
  int protocol_in_flight_ = 0;  // of health
  bool ending_ = false;                              // accepts no more streams of queries
  absl::flat_hash_set<ServerCall*> query_streams_;
  std::shared_ptr<boost::asio::ssl::context> tls_;
  std::unique_ptr<net::Listener> listener_;
  absl::flat_hash_set<std::shared_ptr<rpc::Connection>> connections_;
  std::shared_ptr<size_t> receiving_ = std::make_shared<size_t>(0);
  boost::asio::steady_timer empty_;    // cancelled when the last connection ends
  boost::asio::steady_timer unwound_;  // cancelled when the last handler has ended
};

}  // namespace aima::runtime
