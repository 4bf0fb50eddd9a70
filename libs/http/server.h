// HTTP/1.1 server on the event loop.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "libs/base/task.h"
#include "libs/http/message.h"

namespace aima::http {

// One request and its answer. The handler answers with Send, or with StartStream, Write … and Finish.
//
// When the client goes away, the handler is cancelled: the operation that it awaits ends, and with it the handler.
// What must happen in any case belongs into destructors.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual Request& request() = 0;
  // Address of the peer, such as 127.0.0.1.
  virtual const std::string& peer() const = 0;
  virtual bool peer_is_loopback() const = 0;

  // The whole answer. For HEAD the body is left out and its length kept.
  virtual Task<absl::Status> Send(Response response) = 0;

  // An answer piece by piece. What is written goes out when the loop's turn ends or the answer does, so that pieces
  // that belong together travel together. A Write returns at once unless the client is slower than that; errors mean
  // that the client has gone. The client of an answer with a `length` knows how much is to come: no more is sent, and
  // with less Finish fails.
  virtual Task<absl::Status> StartStream(int status, Headers headers, std::optional<uint64_t> length = std::nullopt) = 0;
  virtual Task<absl::Status> Write(std::string_view bytes) = 0;
  // The same in two halves, for what is written often: after false comes Flush, which waits until the transport has
  // taken all.
  virtual bool WriteNow(std::string_view bytes) = 0;
  virtual Task<absl::Status> Flush() = 0;
  virtual Task<absl::Status> Finish() = 0;

  // Says that this answer has no end of its own: the server's Shutdown ends it at once rather than wait for it.
  virtual void EndOnDrain() {}

  // True once an answer has begun, and what it was.
  virtual bool started() const = 0;
  virtual int status() const = 0;
  // Bytes of body sent so far.
  virtual size_t bytes_sent() const = 0;
};

using Handler = std::function<Task<void>(Exchange&)>;

struct ServerOptions {
  std::string address = "127.0.0.1:0";  // "host:port" or "[v6]:port"; port 0 is any
  size_t max_header_bytes = 16 << 10;
  int max_header_fields = 64;
  size_t max_body_bytes = 10 << 20;
  absl::Duration header_timeout = absl::Seconds(10);  // from the first byte of a request to the end of its body
  absl::Duration idle_timeout = absl::Seconds(75);    // between requests, and without progress of a write
  int max_connections = 4096;
  // PEM files; both or neither.
  std::string tls_cert;
  std::string tls_key;
  // Makes the answer to a request that never reaches the handler: 400, 408, 413, 431, 503. `request` is what has been
  // read of it; a Request as it is made if that is nothing.
  std::function<Response(int status, std::string_view message, const Request& request)> error_response;
};

// Malformed requests are answered and their connection closed; so is a body that is announced to be too large,
// before it is read.
class Server {
 public:
  Server(Loop& loop, ServerOptions options, Handler handler);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Starts to accept. The error names the address and says why it cannot be had.
  absl::Status Start();
  // The port that was given, once started.
  int port() const;
  int connections() const;

  // Accepts no more, closes idle connections, waits for running handlers until `deadline`, then cancels them. A stream
  // that is cut off has no final chunk: its client sees that it is not whole.
  Task<void> Shutdown(absl::Time deadline);

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace aima::http
