// One gRPC call on one HTTP/2 stream, seen from either end. Everything happens on the loop.
#pragma once

#include <absl/status/status.h>
#include <absl/strings/string_view.h>
#include <absl/time/time.h>
#include <google/protobuf/message.h>

#include <map>
#include <memory>
#include <string>

#include "libs/net/stream.h"
#include "libs/rpc/headers.h"

namespace aima::rpc {

class Connection;

// How a call ended.
struct Ending {
  absl::Status status;
  Headers trailers;
  // False if the other end has certainly not begun with it, so that it may be sent again.
  bool reached = true;
  // The other end gave this status; else it is what became of the connection or of our patience.
  bool answered = false;
};

// Whoever takes part in a call learns what the other end does. Held by the stream until its last word.
class Receiver {
 public:
  virtual ~Receiver() = default;

  // At the caller: the metadata with which the answer begins.
  virtual void OnHeaders(const Headers& headers) {}
  // The bytes of one message; they are there during this call only.
  virtual void OnMessage(absl::string_view bytes) = 0;
  // At the server: the caller sends no more messages.
  virtual void OnHalfClose() {}
  // There is room for more bytes, after Send has said that there is none.
  virtual void OnWritable() {}
  // At the server: the deadline has passed. (A caller's call ends then.)
  virtual void OnDeadline() {}
  // The last word. At the caller how the call ended; at the server only that the caller has gone before the answer was
  // whole.
  virtual void OnEnd(const Ending& ending) = 0;
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  Stream(Connection& connection, std::shared_ptr<size_t> receiving, bool server)
      : connection_(&connection), receiving_(std::move(receiving)), server_(server) {}
  ~Stream() { *receiving_ -= in_.size(); }

  // At the server: what the caller sent. `path` is "/package.Service/Method".
  const std::string& path() const { return path_; }
  const Headers& headers() const { return headers_; }
  // InfiniteFuture if the caller named none.
  absl::Time deadline() const { return deadline_; }
  const net::Peer& peer() const;

  // At the server: metadata before the first message. Without a call of it the answer has none.
  void SendHeaders(Headers headers);
  // Sends one message. False if much waits to be sent: go on after OnWritable.
  bool Send(const google::protobuf::Message& message);
  bool Send(absl::string_view bytes);
  bool has_room() const;
  // For tests of the other end: promises a message of `size` bytes and sends only these.
  void SendUnfinished(absl::string_view bytes, size_t size);

  // Lets messages between the first and the last wait a few milliseconds for those of other streams.
  void Gather() { gather_ = true; }
  // At the caller: there are no more requests.
  void EndRequests();
  // At the server: ends the call. The receiver hears no more.
  void Finish(const absl::Status& status, Headers trailers = {});
  // Gives up. The receiver hears no more; the other end learns it.
  void Cancel();

  // While paused, the other end is allowed to send one window of bytes and no more; what comes is still told.
  void Pause(bool paused);
  // Moves the deadline of a call at the server.
  void SetDeadline(absl::Time deadline);

 private:
  friend class Connection;
  friend struct Callbacks;

  void BeginMessage(size_t size);
  void Receive(const uint8_t* data, size_t size);
  void EndWith(const absl::Status& status, bool reached, bool answered = false);
  // Ends the call at both ends for what the other end has sent.
  void Refuse(const absl::Status& status);
  size_t Pending() const { return out_.size() - sent_; }

  Connection* connection_;  // null once there is nothing more to be sent or received
  const std::shared_ptr<size_t> receiving_;  // bytes of messages that are not whole, here and elsewhere
  const bool server_;
  int32_t id_ = 0;
  std::shared_ptr<Receiver> receiver_;

  std::string path_;
  Headers headers_;   // received first
  Headers trailers_;  // received last
  bool got_headers_ = false;
  size_t header_bytes_ = 0;  // of both
  absl::Time deadline_ = absl::InfiniteFuture();
  std::multimap<absl::Time, Stream*>::iterator deadline_entry_;
  bool has_deadline_entry_ = false;

  std::string out_;  // framed messages; [sent_, end) waits
  size_t sent_ = 0;
  Headers initial_;   // of the answer
  Headers closing_;   // trailers of the answer
  bool begun_ = false;     // HEADERS have been submitted
  bool ended_ = false;     // no more will be put into out_
  bool deferred_ = false;  // nghttp2 waits for more bytes
  bool full_ = false;      // OnWritable is owed
  bool gather_ = false;
  bool remote_ended_ = false;
  bool on_wire_ = false;  // the request's headers have been sent

  std::string in_;  // a message that is not whole yet, with its prefix
  bool paused_ = false;
  size_t withheld_ = 0;  // received bytes for which the other end has not been given room again
};

}  // namespace aima::rpc
