#include "libs/rpc/connection.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/strip.h>
#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <exception>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/rpc/frames.h"

namespace aima::rpc {

namespace asio = boost::asio;

namespace {

constexpr size_t kReadBytes = 64 << 10;
constexpr size_t kWriteBytes = 256 << 10;
constexpr size_t kConnectionWindow = 16 << 20;
constexpr size_t kMaxQueuedFrames = 20'000;            // that the other end makes us send and does not read
// While streams that gather are busy, what they say waits for so long, which saves both ends most of their wake-ups; a
// stream's first and last messages, and whatever comes after a pause, go out at once.
constexpr auto kGatherTime = std::chrono::milliseconds(4);
constexpr size_t kGatherBytes = 16 << 10;
constexpr int kFlushRounds = 8;                        // before others have their turn
constexpr absl::Duration kGreetingTime = absl::Seconds(10);

absl::Status ResetStatus(uint32_t error_code) {
  switch (error_code) {
    case NGHTTP2_NO_ERROR:
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_INTERNAL_ERROR:
      return absl::InternalError("the call ended without a status");
    case NGHTTP2_CANCEL: return Error(unit::v1::CANCELLED, "the other end has cancelled the call");
    case NGHTTP2_ENHANCE_YOUR_CALM: return Error(unit::v1::OVERLOADED, "the other end is overloaded");
    default: return absl::UnavailableError("the other end has refused the call");
  }
}

bool IsGrpc(absl::string_view content_type) {
  constexpr absl::string_view kGrpc = "application/grpc";
  if (!absl::ConsumePrefix(&content_type, kGrpc)) return false;
  return content_type.empty() || content_type[0] == '+' || content_type[0] == ';';
}

}  // namespace

void OfferHttp2(asio::ssl::context& tls) {
  SSL_CTX_set_alpn_select_cb(
      tls.native_handle(),
      [](SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered, unsigned int length, void*) {
        static constexpr unsigned char kOurs[] = {2, 'h', '2'};
        const int found = SSL_select_next_proto(const_cast<unsigned char**>(chosen), size, kOurs, sizeof kOurs, offered, length);
        return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
      },
      nullptr);
}

Connection::Connection(Loop& loop, net::Socket socket, ConnectionLimits limits, std::shared_ptr<size_t> receiving, bool server)
    : loop_(loop), socket_(std::move(socket)), limits_(limits), server_(server), receiving_(std::move(receiving)), gather_timer_(loop), timer_(loop) {
  nghttp2_session_callbacks* callbacks = MakeCallbacks();
  nghttp2_option* options = nullptr;
  nghttp2_option_new(&options);
  nghttp2_option_set_no_auto_window_update(options, 1);
  nghttp2_option_set_no_closed_streams(options, 1);
  // Among our own processes one connection carries the calls, and the changes of mind, of many callers.
  if (net::PeerOf(socket_.socket()).address == "unix") nghttp2_option_set_stream_reset_rate_limit(options, 1'000'000, 1'000'000);
  if (server) {
    nghttp2_session_server_new2(&session_, callbacks, this, options);
  } else {
    nghttp2_session_client_new2(&session_, callbacks, this, options);
  }
  nghttp2_option_del(options);
  nghttp2_session_callbacks_del(callbacks);
  const std::vector<nghttp2_settings_entry> settings = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, static_cast<uint32_t>(server ? limits.streams : 0)},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kMaxHeaderBytes},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size() - (server ? 1 : 0));
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow);
  in_.resize(kReadBytes);
}

Connection::~Connection() {
  for (auto& [id, stream] : streams_) stream->connection_ = nullptr;
  nghttp2_session_del(session_);
}

std::shared_ptr<Connection> Connection::Accept(Loop& loop, net::Socket socket, ConnectionLimits limits,
                                               std::shared_ptr<size_t> receiving,
                                               std::shared_ptr<asio::ssl::context> tls, Serve serve, Closed closed) {
  std::shared_ptr<Connection> connection(new Connection(loop, std::move(socket), limits, std::move(receiving), true));
  connection->peer_ = net::PeerOf(connection->socket_.socket());
  connection->serve_ = std::move(serve);
  connection->on_closed_ = std::move(closed);
  // Whoever connects and says nothing is not waited for.
  connection->deadlines_.emplace(absl::Now() + kGreetingTime, nullptr);
  connection->ArmTimer();
  if (tls) {
    asio::co_spawn(loop, [](std::shared_ptr<Connection> self, std::shared_ptr<asio::ssl::context> tls) -> Task<void> {
      if (co_await self->socket_.AcceptTls(*tls)) {
        self->End(absl::UnavailableError("no TLS"), false);
      } else {
        self->Begin();
      }
    }(connection, std::move(tls)), asio::detached);
  } else {
    connection->Begin();
  }
  return connection;
}

std::shared_ptr<Connection> Connection::Connect(Loop& loop, const Endpoint& endpoint, ConnectionLimits limits) {
  std::shared_ptr<Connection> connection(
      new Connection(loop, net::Socket(loop), limits, std::make_shared<size_t>(0), false));
  connection->socket_.socket().async_connect(endpoint, [connection](boost::system::error_code error) {
    if (connection->closed_) return;
    if (error) return connection->End(absl::UnavailableError(error.message()), false);
    connection->Begin();
  });
  return connection;
}

void Connection::Begin() {
  if (closed_) return;
  connected_ = true;
  socket_.Prepare();
  Flush();
  Read();
}

void Connection::Read() {
  if (closed_ && !lingering_) return;
  socket_.ReadSome(asio::buffer(in_), [self = shared_from_this()](boost::system::error_code error, size_t size) {
    self->ReadDone(error, size);
  });
}

void Connection::ReadDone(boost::system::error_code error, size_t size) {
  if (closed_ && (error || !lingering_)) return Hang();
  if (closed_) return Read();
  if (error) return End(absl::UnavailableError("the connection was lost"), true);
  reading_ = true;
  const ssize_t taken = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(in_.data()), size);
  reading_ = false;
  if (taken < 0) {
    Flush();  // says what was wrong
    return End(absl::UnavailableError("the connection broke the protocol"), true);
  }
  Flush();
  if (!closed_ && nghttp2_session_get_outbound_queue_size(session_) > kMaxQueuedFrames) {
    return End(absl::UnavailableError("the other end does not read"), true);
  }
  Read();
}

void Connection::Wake() {
  if (reading_ || writing_ || wake_posted_ || closed_) return;  // whoever reads or writes flushes afterwards
  wake_posted_ = true;
  asio::post(loop_, [self = shared_from_this()] {
    self->wake_posted_ = false;
    self->Flush();
  });
}

void Connection::WakeSoon() {
  if (reading_ || writing_ || wake_posted_ || gathering_ || closed_) return;
  if (std::chrono::steady_clock::now() - flushed_ >= kGatherTime) return Wake();
  gathering_ = true;
  gather_timer_.expires_at(flushed_ + kGatherTime);
  gather_timer_.async_wait([weak = weak_from_this()](boost::system::error_code) {
    const auto self = weak.lock();
    if (!self) return;
    self->gathering_ = false;
    self->Flush();
  });
}

void Connection::Flush() {
  if (writing_ || closed_ || !connected_) return;
  writing_ = true;  // receivers that are told of room must not come back here
  for (int round = 0; !closed_; ++round) {
    if (round == kFlushRounds) {
      writing_ = false;
      return Wake();
    }
    while (out_.size() < kWriteBytes) {
      const uint8_t* data = nullptr;
      const ssize_t size = nghttp2_session_mem_send(session_, &data);
      if (size <= 0) break;
      out_.append(reinterpret_cast<const char*>(data), size);
    }
    for (const auto& stream : std::exchange(writable_, {})) {
      if (const auto receiver = stream->receiver_) receiver->OnWritable();
    }
    if (out_.empty()) break;
    flushed_ = std::chrono::steady_clock::now();
    boost::system::error_code error;
    sent_ += socket_.TryWrite(asio::buffer(out_.data() + sent_, out_.size() - sent_), error);
    if (sent_ == out_.size()) {
      out_.clear();
      sent_ = 0;
      continue;
    }
    if (error && error != asio::error::would_block && error != asio::error::try_again) {
      writing_ = false;
      return End(absl::UnavailableError("the connection was lost"), true);
    }
    return Write();
  }
  writing_ = false;
  if (!closed_ && !nghttp2_session_want_read(session_) && !nghttp2_session_want_write(session_)) {
    Linger();
  }
}

// Both ends have said all. What the other end has sent meanwhile is read: with unread bytes, closing would take back
// what it has not read yet.
void Connection::Linger() {
  lingering_ = true;
  End(absl::UnavailableError("the connection was closed"), true);
  socket_.ShutdownSend();
  timer_.expires_after(std::chrono::seconds(1));
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code) {
    if (const auto self = weak.lock()) self->Hang();
  });
}

void Connection::Hang() {
  lingering_ = false;
  timer_.cancel();
  socket_.Close();
}

void Connection::Write() {
  socket_.WriteSome(asio::buffer(out_.data() + sent_, out_.size() - sent_),
                    [self = shared_from_this()](boost::system::error_code error, size_t size) {
                      if (self->closed_) return;
                      if (error) return self->End(absl::UnavailableError("the connection was lost"), true);
                      self->sent_ += size;
                      if (self->sent_ < self->out_.size()) return self->Write();
                      self->out_.clear();
                      self->sent_ = 0;
                      self->writing_ = false;
                      self->Flush();
                    });
}

// A call has arrived at the server.
void Connection::Begun(Stream& stream) {
  const std::string* type = Find(stream.headers_, "content-type");
  const std::string* method = Find(stream.headers_, ":method");
  if (!type || !IsGrpc(*type) || !method || *method != "POST") {
    const std::vector<nghttp2_nv> fields = {Field(":status", !method || *method != "POST" ? "405" : "415")};
    nghttp2_submit_response(session_, stream.id_, fields.data(), fields.size(), nullptr);
    stream.ended_ = stream.begun_ = true;
    return Wake();
  }
  if (const std::string* timeout = Find(stream.headers_, "grpc-timeout")) {
    const std::optional<absl::Duration> left = ParseTimeout(*timeout);
    if (!left) return stream.Finish(InvalidInput("grpc-timeout", "is not a number with a unit, such as 15S"));
    stream.deadline_ = absl::Now() + *left;
    WatchDeadline(stream);
  }
  const auto self = stream.shared_from_this();
  auto receiver = serve_(self);
  if (!stream.ended_) stream.receiver_ = std::move(receiver);
}

std::shared_ptr<Stream> Connection::Open(const std::string& path, const Headers& headers, absl::Time deadline,
                                         std::shared_ptr<Receiver> receiver) {
  auto stream = std::make_shared<Stream>(*this, receiving_, /*server=*/false);
  stream->receiver_ = std::move(receiver);
  std::vector<nghttp2_nv> fields = {Field(":method", "POST"),    Field(":scheme", "http"),
                                    Field(":path", path),        Field(":authority", "localhost"),
                                    Field("te", "trailers"),     Field("content-type", "application/grpc"),
                                    Field("user-agent", "aima")};
  std::string timeout;
  if (deadline != absl::InfiniteFuture()) {
    timeout = FormatTimeout(deadline - absl::Now());
    fields.push_back(Field("grpc-timeout", timeout, Index::kNo));
  }
  AppendFields(headers, fields);
  nghttp2_data_provider provider{{}, ProvideBytes};
  stream->id_ = open() ? nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(), &provider, nullptr) : -1;
  if (stream->id_ < 0) {
    going_away_ = true;  // out of stream numbers, if it was open
    stream->connection_ = nullptr;
    asio::post(loop_, [stream] { stream->EndWith(absl::UnavailableError("the connection was closed"), false); });
    return stream;
  }
  stream->begun_ = true;
  stream->deadline_ = deadline;
  streams_[stream->id_] = stream;
  WatchDeadline(*stream);
  Wake();
  return stream;
}

// Tells nghttp2 that a stream has something to send.
void Connection::Submit(Stream& stream) {
  if (!stream.begun_) {
    stream.begun_ = true;
    std::vector<nghttp2_nv> fields = {Field(":status", "200"), Field("content-type", "application/grpc")};
    AppendFields(stream.initial_, fields);
    if (stream.ended_ && stream.Pending() == 0) {
      AppendFields(stream.closing_, fields);
      nghttp2_submit_response(session_, stream.id_, fields.data(), fields.size(), nullptr);
    } else {
      nghttp2_data_provider provider{{}, ProvideBytes};
      nghttp2_submit_response(session_, stream.id_, fields.data(), fields.size(), &provider);
    }
  } else {
    if (std::exchange(stream.deferred_, false)) nghttp2_session_resume_data(session_, stream.id_);
    if (stream.gather_ && !stream.ended_ && stream.Pending() < kGatherBytes) return WakeSoon();
  }
  Wake();
}

void Connection::Credit(Stream& stream, size_t size) {
  nghttp2_session_consume_stream(session_, stream.id_, size);
  Wake();
}

void Connection::Reset(Stream& stream, uint32_t error_code) {
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.id_, error_code);
  Wake();
}

void Connection::Forget(int32_t id, uint32_t error_code) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  const auto stream = std::move(found->second);
  streams_.erase(found);
  UnwatchDeadline(*stream);
  stream->connection_ = nullptr;
  if (!stream->receiver_) return;  // it has heard its last word, as after most calls
  if (stream->server_) {
    stream->EndWith(Error(unit::v1::CANCELLED, "the caller has gone"), true);
  } else {
    stream->EndWith(ResetStatus(error_code), stream->on_wire_ && error_code != NGHTTP2_REFUSED_STREAM);
  }
}

void Connection::GoAway() {
  if (closed_ || std::exchange(going_away_, true)) return;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                        nullptr, 0);
  Wake();
}

void Connection::Close() { End(Error(unit::v1::UNAVAILABLE, "the connection was closed"), true); }

void Connection::End(const absl::Status& why, bool reached) {
  if (std::exchange(closed_, true)) return;
  const auto self = shared_from_this();
  timer_.cancel();
  gather_timer_.cancel();
  if (!lingering_) socket_.Close();
  deadlines_.clear();
  const auto ended = std::exchange(streams_, {});
  for (auto& [id, stream] : ended) {  // all of them, before any receiver runs and looks at another
    stream->connection_ = nullptr;
    stream->has_deadline_entry_ = false;
  }
  for (auto& [id, stream] : ended) {
    stream->EndWith(server_ ? Error(unit::v1::CANCELLED, "the caller has gone") : why, reached && stream->on_wire_);
  }
  if (const auto closed = std::exchange(on_closed_, nullptr)) closed(self);
}

void Connection::WatchDeadline(Stream& stream) {
  if (stream.deadline_ == absl::InfiniteFuture() || stream.has_deadline_entry_) return;
  stream.deadline_entry_ = deadlines_.emplace(stream.deadline_, &stream);
  stream.has_deadline_entry_ = true;
  ArmTimer();
}

void Connection::UnwatchDeadline(Stream& stream) {
  if (!std::exchange(stream.has_deadline_entry_, false)) return;
  deadlines_.erase(stream.deadline_entry_);  // the timer may fire for nothing, which is cheaper than moving it
}

void Connection::ArmTimer() {
  if (deadlines_.empty() || closed_ || deadlines_.begin()->first >= timer_at_) return;
  timer_at_ = deadlines_.begin()->first;
  // Far deadlines are looked at again; near ones are rounded up, for the timer must not be early.
  const absl::Duration wait = std::clamp(timer_at_ - absl::Now(), absl::ZeroDuration(), absl::Duration(absl::Hours(24)));
  timer_.expires_after(absl::ToChronoNanoseconds(wait) + std::chrono::microseconds(100));
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    const auto self = weak.lock();
    if (error || !self || self->closed_) return;
    self->timer_at_ = absl::InfiniteFuture();
    self->ExpireDue();
  });
}

void Connection::ExpireDue() {
  const absl::Time now = absl::Now();
  while (!closed_ && !deadlines_.empty() && deadlines_.begin()->first <= now) {
    Stream* due = deadlines_.begin()->second;
    deadlines_.erase(deadlines_.begin());
    if (!due) {
      if (!greeted_) return Close();
      continue;
    }
    const auto stream = due->shared_from_this();
    stream->has_deadline_entry_ = false;
    if (server_ && stream->ended_) {
      Reset(*stream, NGHTTP2_CANCEL);  // the caller does not take the answer
    } else if (server_) {
      if (const auto receiver = stream->receiver_) receiver->OnDeadline();
    } else {
      stream->Refuse(Error(unit::v1::DEADLINE_EXCEEDED, "not done before the deadline"));
    }
  }
  ArmTimer();
}

}  // namespace aima::rpc
