// One HTTP/2 connection that carries gRPC calls, at either end.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <nghttp2/nghttp2.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/task.h"
#include "libs/net/stream.h"
#include "libs/rpc/stream.h"

namespace aima::rpc {

// What one end allows the other.
struct ConnectionLimits {
  int streams = 1024;                  // at once, of the other end
  size_t message_bytes = 64 << 20;     // of one message
  size_t receiving_bytes = 256 << 20;  // of all messages that are not whole, on all connections of a server
};

// Makes a TLS server's context offer HTTP/2, without which gRPC's clients do not speak.
void OfferHttp2(boost::asio::ssl::context& tls);

// nghttp2 makes and reads the frames; this class moves bytes between it and the socket, and calls between it and
// Streams. All that is sent in one turn of the loop goes out in one write. Used on the loop.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // Says who serves a call that has arrived; null if nobody: the stream has been finished then.
  using Serve = std::function<std::shared_ptr<Receiver>(const std::shared_ptr<Stream>& stream)>;
  using Endpoint = boost::asio::generic::stream_protocol::endpoint;
  using Closed = std::function<void(const std::shared_ptr<Connection>&)>;

  // The server's end of `socket`. `receiving` counts the bytes of messages in the making. `closed` is told once.
  static std::shared_ptr<Connection> Accept(Loop& loop, net::Socket socket, ConnectionLimits limits,
                                            std::shared_ptr<size_t> receiving, std::shared_ptr<boost::asio::ssl::context> tls,
                                            Serve serve, Closed closed);
  // A client's end: connects; calls may be opened at once.
  static std::shared_ptr<Connection> Connect(Loop& loop, const Endpoint& endpoint, ConnectionLimits limits = {});
  ~Connection();

  // Begins a call. Its receiver hears OnEnd exactly once, unless it cancels first, and never before Open returns.
  std::shared_ptr<Stream> Open(const std::string& path, const Headers& headers, absl::Time deadline,
                               std::shared_ptr<Receiver> receiver);
  // False once no more calls can be opened.
  bool open() const { return !closed_ && !going_away_; }

  // Takes no more calls; closes when those in hand are done.
  void GoAway();
  // Ends all calls, and the connection.
  void Close();

  int calls() const { return static_cast<int>(streams_.size()); }
  const net::Peer& peer() const { return peer_; }

 private:
  friend class Stream;
  friend struct Callbacks;
  using Deadlines = std::multimap<absl::Time, Stream*>;

  Connection(Loop& loop, net::Socket socket, ConnectionLimits limits, std::shared_ptr<size_t> receiving, bool server);
  void Begin();  // the connection is there: preface and settings
  void Read();
  void ReadDone(boost::system::error_code error, size_t size);
  // Sends soon, together with what else comes in this turn of the loop.
  void Wake();
  // The same, but waits a little where streams are busy.
  void WakeSoon();
  void Flush();
  void Write();
  void Linger();
  void Hang();
  void Begun(Stream& stream);
  void Forget(int32_t id, uint32_t error_code);
  void End(const absl::Status& why, bool reached);
  void WatchDeadline(Stream& stream);
  void UnwatchDeadline(Stream& stream);
  void ArmTimer();
  void ExpireDue();
  void Submit(Stream& stream);
  void Credit(Stream& stream, size_t size);
  void Reset(Stream& stream, uint32_t error_code);

  Loop& loop_;
  net::Stream socket_;
  const ConnectionLimits limits_;
  const bool server_;
  net::Peer peer_;
  Serve serve_;
  Closed on_closed_;
  nghttp2_session* session_ = nullptr;
  absl::flat_hash_map<int32_t, std::shared_ptr<Stream>> streams_;
  std::vector<std::shared_ptr<Stream>> writable_;  // owed OnWritable
  std::shared_ptr<size_t> receiving_;

  std::string in_;
  std::string out_;
  size_t sent_ = 0;
  bool connected_ = false;
  bool reading_ = false;  // within nghttp2's callbacks
  bool writing_ = false;
  bool wake_posted_ = false;
  bool greeted_ = false;  // the other end has sent its settings
  bool going_away_ = false;
  bool lingering_ = false;  // closed, but for reading what is still on its way
  bool closed_ = false;

  boost::asio::steady_timer gather_timer_;
  bool gathering_ = false;
  std::chrono::steady_clock::time_point flushed_;

  Deadlines deadlines_;
  boost::asio::steady_timer timer_;
  absl::Time timer_at_ = absl::InfiniteFuture();
};

}  // namespace aima::rpc
