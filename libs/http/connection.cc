#include "libs/http/connection.h"

#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <cstring>

namespace aima::http {

namespace asio = boost::asio;
namespace beast_http = boost::beast::http;

namespace {

// Small where little comes, since every stream that waits holds a buffer of its own.
constexpr size_t kReadSize = 4 << 10;
constexpr size_t kBodyReadSize = 64 << 10;
constexpr auto kLinger = std::chrono::seconds(2);
constexpr size_t kMostAhead = 16 << 10;
constexpr auto kWatchAfter = std::chrono::milliseconds(200);
constexpr size_t kBytesPerSecondMin = 16 << 10;
// More than this does not wait for the end of the loop's turn.
constexpr size_t kGatherSize = 64 << 10;

bool Breaks(std::string_view text) { return text.find_first_of(std::string_view("\r\n\0", 3)) != text.npos; }

std::string_view MessageFor(int status) {
  switch (status) {
    case 408: return "the request did not arrive in time";
    case 413: return "the body is larger than this server accepts";
    case 431: return "the header is larger than this server accepts";
    case 500: return "the server has no answer to this request";
    case 503: return "the server has as many connections as it accepts";
    default: return "the request is not well-formed HTTP";
  }
}

}  // namespace

Connection::Connection(ConnectionOwner& owner, net::Socket socket)
    : owner_(owner), stream_(std::move(socket)), peer_(net::PeerOf(stream_.socket())) {
  stream_.Prepare();
}

Task<void> Connection::Run(bool busy) {
  auto self = shared_from_this();
  ExpireIn(owner_.options().header_timeout);
  if (owner_.tls()) {
    if (co_await stream_.AcceptTls(*owner_.tls())) co_return stream_.Close();
  }
  parser_.emplace(owner_.options().max_header_fields);
  if (busy) {
    co_await Refuse(503);
    co_return;
  }
  while (keep_alive_ && !closed_) {
    const Reading read = co_await ReadRequest();
    if (read != Reading::kRequest) break;
    co_await Serve();
    if (cancelled_) break;
  }
  co_await Linger();
}

Task<Connection::Reading> Connection::ReadRequest() {
  parser_.emplace(owner_.options().max_header_fields);
  parser_->header_limit(static_cast<uint32_t>(owner_.options().max_header_bytes));
  parser_->body_limit(owner_.options().max_body_bytes);
  head_checked_ = false;
  received_ = 0;
  ExpireIn(owner_.options().idle_timeout);
  while (true) {
    if (const int wrong = Parse()) {
      co_await Refuse(wrong);
      co_return Reading::kBad;
    }
    if (parser_->is_done()) break;
    if (closed_ || (owner_.draining() && !parser_->got_some())) co_return Reading::kClosed;
    if (parser_->is_header_done() && !head_checked_) {
      head_checked_ = true;
      if (EqualsIgnoringCase(request().headers.Get("expect"), "100-continue")) {
        constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
        (void)co_await Put({asio::buffer(kContinue.data(), kContinue.size())});
      }
    }
    co_await AwaitRead();
    if (timed_out_) {
      if (received_ > 0) co_await Refuse(408);
      co_return Reading::kBad;
    }
  }
  if (const int wrong = CheckHead()) {
    co_await Refuse(wrong);
    co_return Reading::kBad;
  }
  co_return Reading::kRequest;
}

int Connection::Parse() {
  while (parsed_ < filled_ && !parser_->is_done()) {
    if (received_ == 0) began_ = Clock::now();
    beast_http::basic_parser<true>& parser = *parser_;
    Parser<true>::Error error;
    const size_t used = parser.put(asio::buffer(buffer_.data() + parsed_, filled_ - parsed_), error);
    parsed_ += used;
    received_ += used;
    if (error == beast_http::error::need_more) break;
    if (error == beast_http::error::body_limit) return 413;
    if (error == beast_http::error::header_limit) return 431;
    if (error) return 400;
    if (used == 0) break;
  }
  if (filled_ > parsed_ || received_ > 0) {
    if (received_ == 0) received_ = 1;
    // A body may take as long as a slow line needs, and no longer.
    expires_ = began_ + absl::ToChronoMilliseconds(owner_.options().header_timeout) +
               std::chrono::milliseconds(received_ * 1000 / kBytesPerSecondMin);
  }
  if (parsed_ == filled_) parsed_ = filled_ = 0;
  return 0;
}

int Connection::CheckHead() {
  Request& request = parser_->message();
  keep_alive_ = parser_->keep_alive() && !owner_.draining();
  int hosts = 0;
  for (const auto& [name, value] : request.headers) hosts += EqualsIgnoringCase(name, "host");
  if (hosts > 1 || (hosts == 0 && parser_->version() >= 11)) return 400;
  if (request.target.rfind("http://", 0) == 0 || request.target.rfind("https://", 0) == 0) {
    const size_t path = request.target.find('/', request.target.find("//") + 2);
    request.target = path == std::string::npos ? "/" : request.target.substr(path);
  }
  return request.target[0] == '/' || request.target == "*" ? 0 : 400;
}

void Connection::StartRead() {
  if (read_pending_ || closed_) return;
  read_pending_ = true;
  if (parsed_ > 0) {
    memmove(buffer_.data(), buffer_.data() + parsed_, filled_ - parsed_);
    filled_ -= parsed_;
    parsed_ = 0;
  }
  const size_t want = parser_->is_header_done() && !parser_->is_done() ? kBodyReadSize : kReadSize;
  if (filled_ == 0 && buffer_.size() > want) std::string().swap(buffer_);
  if (buffer_.size() < filled_ + want / 4) buffer_.resize(filled_ + want);
  stream_.ReadSome(asio::buffer(buffer_.data() + filled_, buffer_.size() - filled_),
                   [self = shared_from_this()](net::Stream::Error error, size_t size) { self->ReadDone(error, size); });
}

void Connection::ReadDone(net::Stream::Error error, size_t size) {
  read_pending_ = false;
  filled_ += size;
  if (error) closed_ = true;
  if (auto waiter = std::move(read_waiter_)) return std::move(waiter)();
  if (error && serving_) Abort();
}

Task<void> Connection::AwaitRead() {
  StartRead();
  co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(
      [this](auto handler) {
        // Assignment recurses for ever in Boost 1.81: it copies where it should move.
        asio::any_completion_handler<void()>(std::move(handler)).swap(read_waiter_);
      },
      asio::use_awaitable);
}

Task<void> Connection::Serve() {
  answer_ = Answer::kNone;
  status_ = 0;
  bytes_sent_ = 0;
  serving_ = true;
  ends_on_drain_ = false;
  expires_ = Clock::time_point::max();
  began_ = Clock::now();
  bool failed = false;
  try {
    co_await owner_.handler()(*this);
  } catch (const std::exception& exception) {
    failed = !cancelled_;
    if (failed) spdlog::error("the handler of {} threw: {}", request().target, exception.what());
  }
  if (cancelled_) co_return;
  if (answer_ == Answer::kNone) co_await Refuse(500);
  serving_ = false;
  // A stream without its end must not look whole.
  if (answer_ == Answer::kStreaming) {
    (void)co_await Flush();
    keep_alive_ = false;
    stream_.Close();
  }
}

Task<void> Connection::Refuse(int status) {
  keep_alive_ = false;
  answer_ = Answer::kNone;
  Response response;
  response.status = status;
  if (owner_.options().error_response) {
    response = owner_.options().error_response(status, MessageFor(status), parser_->message());
  } else {
    response.headers.Add("content-type", "text/plain");
    response.body = absl::StrCat(std::string(MessageFor(status)), "\n");
  }
  timed_out_ = false;
  (void)co_await Send(std::move(response));
}

Task<void> Connection::Linger() {
  if (cancelled_ || !stream_.socket().is_open()) co_return;
  stream_.ShutdownSend();
  const auto end = Clock::now() + kLinger;
  expires_ = end;
  while (!closed_ && Clock::now() < end && stream_.socket().is_open()) {
    parsed_ = filled_ = 0;
    co_await AwaitRead();
  }
  stream_.Close();
}

std::string Connection::Head(int status, const Headers& headers, std::optional<uint64_t> length) {
  std::string head;
  head.reserve(512);
  absl::StrAppend(&head, parser_->version() >= 11 ? "HTTP/1.1 " : "HTTP/1.0 ", status, " ");
  head.append(ReasonPhrase(status)).append("\r\ndate: ").append(owner_.date()).append("\r\n");
  for (const auto& [name, value] : headers) {
    if (Breaks(name) || Breaks(value)) continue;
    head.append(name).append(": ").append(value).append("\r\n");
  }
  if (length && status != 204 && status != 304) {
    absl::StrAppend(&head, "content-length: ", *length, "\r\n");
  } else if (chunked_) {
    head.append("transfer-encoding: chunked\r\n");
  }
  if (!keep_alive_) {
    head.append("connection: close\r\n");
  } else if (parser_->version() < 11) {
    head.append("connection: keep-alive\r\n");
  }
  return head.append("\r\n");
}

Task<absl::Status> Connection::Put(net::Stream::Pieces pieces) {
  if (cancelled_) co_return absl::CancelledError("the client has gone");
  ExpireIn(owner_.options().idle_timeout);
  const net::Stream::Error error = co_await stream_.Write(pieces);
  expires_ = Clock::time_point::max();
  if (!error) co_return absl::OkStatus();
  keep_alive_ = false;
  stream_.Close();
  co_return absl::CancelledError(absl::StrCat("the client has gone: ", error.message()));
}

Task<absl::Status> Connection::Send(Response response) {
  if (answer_ != Answer::kNone) co_return absl::FailedPreconditionError("this request has an answer already");
  answer_ = Answer::kComplete;
  status_ = response.status;
  chunked_ = false;
  const std::string head = Head(response.status, response.headers, response.body.size());
  const bool body = request().method != "HEAD" && status_ != 204 && status_ != 304;
  bytes_sent_ = body ? response.body.size() : 0;
  co_return co_await Put({asio::buffer(head), asio::buffer(response.body.data(), bytes_sent_)});
}

Task<absl::Status> Connection::StartStream(int status, Headers headers, std::optional<uint64_t> length) {
  if (answer_ != Answer::kNone) co_return absl::FailedPreconditionError("this request has an answer already");
  answer_ = Answer::kStreaming;
  status_ = status;
  left_ = length;
  chunked_ = !length && parser_->version() >= 11;
  if (!length && !chunked_) keep_alive_ = false;
  unsent_ = Head(status, headers, length);
  StartRead();
  FlushSoon();
  co_return absl::OkStatus();
}

Task<absl::Status> Connection::Write(std::string_view bytes) {
  if (answer_ != Answer::kStreaming) co_return absl::FailedPreconditionError("no stream is open");
  if (WriteNow(bytes)) co_return absl::OkStatus();
  co_return co_await Flush();
}

bool Connection::WriteNow(std::string_view bytes) {
  if (answer_ != Answer::kStreaming || cancelled_) return false;
  if (left_) {
    bytes = bytes.substr(0, *left_);
    *left_ -= bytes.size();
  }
  if (bytes.empty() || request().method == "HEAD") return true;
  bytes_sent_ += bytes.size();
  const size_t room = unsent_.size() + bytes.size() + 32;
  if (room > unsent_.capacity()) unsent_.reserve(std::max(room, 2 * unsent_.capacity()));
  if (chunked_) absl::StrAppend(&unsent_, absl::Hex(bytes.size()), "\r\n");
  unsent_.append(bytes);
  if (chunked_) unsent_.append("\r\n");
  if (!sending_.empty()) return false;  // the client is slower than we are
  if (unsent_.size() < kGatherSize) {
    FlushSoon();
    return true;
  }
  SendUnsent();
  return sending_.empty();
}

// What is written during one turn of the loop is one packet: a short answer's head, body and end, or tokens that have
// arrived together.
void Connection::FlushSoon() {
  if (std::exchange(flush_posted_, true)) return;
  asio::post(stream_.socket().get_executor(), [self = shared_from_this()] {
    self->flush_posted_ = false;
    if (self->sending_.empty()) self->SendUnsent();
  });
}

// Gives what waits to the transport; what it does not take at once follows in the background.
void Connection::SendUnsent() {
  if (unsent_.empty() || cancelled_) return;
  net::Stream::Error error;
  const size_t sent = stream_.TryWrite(asio::buffer(unsent_), error);
  if (error && error != asio::error::would_block && error != asio::error::try_again) return LoseClient();
  if (sent == unsent_.size()) {
    if (unsent_.capacity() > kGatherSize) std::string().swap(unsent_);
    return unsent_.clear();
  }
  sending_ = std::exchange(unsent_, {});
  sending_at_ = sent;
  SendRest();
}

void Connection::SendRest() {
  ExpireIn(owner_.options().idle_timeout);
  stream_.WriteSome(asio::buffer(sending_.data() + sending_at_, sending_.size() - sending_at_),
                    [self = shared_from_this()](net::Stream::Error error, size_t size) {
                      self->sending_at_ += size;
                      if (error) self->LoseClient();
                      if (!error && self->sending_at_ < self->sending_.size()) return self->SendRest();
                      std::string().swap(self->sending_);
                      self->expires_ = Clock::time_point::max();
                      if (!error) self->SendUnsent();
                      if (self->sending_.empty()) self->flush_waiter_.Resume();
                    });
}

void Connection::LoseClient() {
  keep_alive_ = false;
  unsent_.clear();
  stream_.Close();  // which ends the read that is pending, and by it the handler
  if (serving_) StartRead();
}

Task<absl::Status> Connection::Flush() {
  if (answer_ == Answer::kNone) co_return absl::FailedPreconditionError("no stream has been started");
  if (sending_.empty()) SendUnsent();
  if (!sending_.empty()) {
    co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(
        [this](auto handler) { flush_waiter_.Set(std::move(handler)); }, asio::use_awaitable);
  }
  if (cancelled_ || !stream_.socket().is_open()) co_return absl::CancelledError("the client has gone");
  co_return absl::OkStatus();
}

Task<absl::Status> Connection::Finish() {
  if (answer_ != Answer::kStreaming) co_return absl::FailedPreconditionError("no stream has been started");
  if (left_.value_or(0) > 0 && request().method != "HEAD") {
    co_return absl::FailedPreconditionError(absl::StrCat("the answer lacks ", *left_, " bytes of its length"));
  }
  answer_ = Answer::kComplete;
  if (chunked_ && request().method != "HEAD") unsent_.append("0\r\n\r\n");
  co_return co_await Flush();
}

void Connection::Tick(Clock::time_point now) {
  // What is read ahead tells whether the client is still there; it is kept for the next request, so there is an end to it.
  if (serving_ && now - began_ > kWatchAfter && filled_ - parsed_ < kMostAhead) StartRead();
  if (now < expires_) return;
  expires_ = Clock::time_point::max();
  if (serving_) return Abort();
  // The read that is pending ends by it, and its coroutine goes on.
  timed_out_ = true;
  if (received_ > 0 && read_waiter_) {
    net::Stream::Error ignored;
    stream_.socket().cancel(ignored);
  } else {
    stream_.Close();
  }
}

void Connection::Drain() {
  keep_alive_ = false;
  if (serving_ && ends_on_drain_) return Abort();
  if (!serving_ && received_ == 0) stream_.Close();
}

void Connection::Abort() {
  if (cancelled_) return;
  cancelled_ = true;
  auto self = shared_from_this();
  stream_.Close();
  cancel_.emit(asio::cancellation_type::terminal);
}

void Connection::Abandon() {
  Abort();
  asio::any_completion_handler<void()>().swap(read_waiter_);
  flush_waiter_ = {};
}

}  // namespace aima::http
