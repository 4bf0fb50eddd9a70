// HTTP/1.1 client on the event loop.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <boost/asio/ip/address.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "libs/base/task.h"
#include "libs/http/message.h"

namespace aima::http {

// Where a server listens.
struct Endpoint {
  std::string host;  // name or address
  int port = 80;
  bool tls = false;
  // PEM file of the only certificate that the server may show, whatever names it bears; empty is any for `host` that an
  // authority of the system vouches for.
  std::string certificate;
};

// An answer read as it arrives. Must not outlive the client. Destroying it before its end closes the connection,
// which tells the server to stop working.
class ResponseStream {
 public:
  virtual ~ResponseStream() = default;

  virtual int status() const = 0;
  virtual const Headers& headers() const = 0;

  // The bytes of the body that have arrived, at least one; waits for them. nullopt at the end of a whole answer, an
  // error if the connection ends before that or the deadline passes.
  virtual Task<absl::StatusOr<std::optional<std::string>>> Next() = 0;

  // Replaces the deadline of the stream, also for a Next that is waiting. What has passed already ends it.
  virtual void SetDeadline(absl::Time deadline) = 0;
};

// Decides whether a connection to an endpoint may go to this address, which its name was resolved to.
using AddressCheck = std::function<absl::Status(const Endpoint&, const boost::asio::ip::address&)>;

// Keeps connections open and uses them again. A request on a connection that was open already and ends before the
// first byte of an answer is sent again on a fresh one: servers close idle connections when they like.
//
// Fails with UNAVAILABLE if the server cannot be reached or breaks off, DEADLINE_EXCEEDED, or RESOURCE_EXHAUSTED if a
// body is larger than allowed; the text names the endpoint. Any status that the server sends is a success here.
class Client {
 public:
  // Without a check, connections go everywhere. A refusal is the error of the request.
  explicit Client(Loop& loop, AddressCheck check = nullptr);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The whole answer.
  Task<absl::StatusOr<Response>> Send(Endpoint endpoint, Request request, absl::Time deadline,
                                      size_t max_body = 64 << 20);

  // Returns when the head of the answer is there. The deadline is that of the whole stream.
  Task<absl::StatusOr<std::unique_ptr<ResponseStream>>> Open(Endpoint endpoint, Request request, absl::Time deadline);

 private:
  friend class ClientStream;
  class Pool;

  std::shared_ptr<Pool> pool_;
};

}  // namespace aima::http
