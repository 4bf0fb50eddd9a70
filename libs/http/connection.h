// One connection of a server. Private to libs/http.
#pragma once

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "libs/base/waiter.h"
#include "libs/http/parser.h"
#include "libs/http/server.h"
#include "libs/net/stream.h"

namespace aima::http {

using Clock = std::chrono::steady_clock;

// What a connection needs of its server.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  virtual const ServerOptions& options() const = 0;
  virtual const Handler& handler() const = 0;
  virtual boost::asio::ssl::context* tls() = 0;
  virtual bool draining() const = 0;
  // The value of a Date header.
  virtual const std::string& date() = 0;
};

// Reads requests, runs the handler, writes answers. Timeouts have no timers of their own: the server ticks.
class Connection : public Exchange, public std::enable_shared_from_this<Connection> {
 public:
  Connection(ConnectionOwner& owner, net::Socket socket);

  // Serves until the connection ends. `busy` servers only refuse.
  Task<void> Run(bool busy);
  boost::asio::cancellation_slot slot() { return cancel_.slot(); }

  // Called several times per second.
  void Tick(Clock::time_point now);
  // The server stops: close if no request is being served, else after it.
  void Drain();
  // Ends everything at once.
  void Abort();
  // The same, for a loop that may not run any more: also lets go of a coroutine that waits for the client.
  void Abandon();

  Request& request() override { return parser_->message(); }
  const std::string& peer() const override { return peer_.address; }
  bool peer_is_loopback() const override { return peer_.loopback; }
  Task<absl::Status> Send(Response response) override;
  Task<absl::Status> StartStream(int status, Headers headers, std::optional<uint64_t> length) override;
  Task<absl::Status> Write(std::string_view bytes) override;
  bool WriteNow(std::string_view bytes) override;
  Task<absl::Status> Flush() override;
  Task<absl::Status> Finish() override;
  void EndOnDrain() override { ends_on_drain_ = true; }
  bool started() const override { return answer_ != Answer::kNone; }
  int status() const override { return status_; }
  size_t bytes_sent() const override { return bytes_sent_; }

 private:
  enum class Answer { kNone, kStreaming, kComplete };
  enum class Reading { kRequest, kBad, kClosed };

  Task<Reading> ReadRequest();
  // Checks what is there of a request; 0 if nothing is wrong, else the status to answer.
  int Parse();
  int CheckHead();
  // Reads once more into the buffer, in the background; a client that goes away meanwhile ends the handler.
  void StartRead();
  void ReadDone(net::Stream::Error error, size_t size);
  Task<void> AwaitRead();
  Task<void> Serve();
  Task<void> Refuse(int status);
  // Lets the client read our answer: closing with unread bytes would reset the connection.
  Task<void> Linger();
  Task<absl::Status> Put(net::Stream::Pieces pieces);
  void FlushSoon();
  void SendUnsent();
  void SendRest();
  void LoseClient();
  std::string Head(int status, const Headers& headers, std::optional<uint64_t> length);
  void ExpireIn(absl::Duration time) { expires_ = Clock::now() + absl::ToChronoMilliseconds(time); }

  ConnectionOwner& owner_;
  net::Stream stream_;
  const net::Peer peer_;
  boost::asio::cancellation_signal cancel_;

  std::string buffer_;   // received and not yet parsed: [parsed_, filled_)
  size_t parsed_ = 0;
  size_t filled_ = 0;
  bool read_pending_ = false;
  bool closed_ = false;  // the client sends no more
  boost::asio::any_completion_handler<void()> read_waiter_;

  std::optional<Parser<true>> parser_;
  bool head_checked_ = false;
  bool keep_alive_ = true;
  bool serving_ = false;
  bool ends_on_drain_ = false;
  bool cancelled_ = false;
  bool timed_out_ = false;
  Clock::time_point expires_ = Clock::time_point::max();
  Clock::time_point began_;
  size_t received_ = 0;  // bytes of this request

  Answer answer_ = Answer::kNone;
  bool chunked_ = false;
  std::optional<uint64_t> left_;  // of a stream whose length is told
  int status_ = 0;
  size_t bytes_sent_ = 0;
  std::string unsent_;   // of a stream: waits for the end of the loop's turn, or for what is being sent
  std::string sending_;  // what the transport did not take at once, from sending_at_ on
  size_t sending_at_ = 0;
  bool flush_posted_ = false;
  Waiter<> flush_waiter_;  // for both to be empty
};

}  // namespace aima::http
