#include "libs/pg/connection.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/strip.h>
#include <libpq-fe.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <random>
#include <utility>

#include "libs/errors/errors.h"
#include "libs/pg/sql_status.h"

namespace aima::pg {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

constexpr auto kFirstPause = 10ms;
constexpr auto kLongestPause = 2000ms;
constexpr auto kAttemptLimit = 5s;  // libpq's connect_timeout does not hold for asynchronous connections
constexpr auto kPatience = 2s;      // how long calls wait for the first attempt

std::chrono::milliseconds Jittered(std::chrono::milliseconds pause) {
  static std::minstd_rand random(std::random_device{}());
  return pause / 2 + std::chrono::milliseconds(random() % (pause.count() / 2 + 1));
}

// libpq's first line says what happened; the others are hints.
std::string FirstLine(absl::string_view message) {
  message = absl::StripAsciiWhitespace(message);
  return std::string(message.substr(0, message.find('\n')));
}

// The `options` that the connection string itself brings, which ours would replace.
std::string OptionsOf(const std::string& url) {
  std::string found;
  PQconninfoOption* parsed = PQconninfoParse(url.c_str(), nullptr);
  for (PQconninfoOption* option = parsed; option && option->keyword; ++option) {
    if (std::string_view(option->keyword) == "options" && option->val) found = option->val;
  }
  PQconninfoFree(parsed);
  return found;
}

}  // namespace

Connection::Connection(Loop& loop, const Options& options, bool read_only, std::function<void()> on_state)
    : loop_(loop),
      options_(options),
      read_only_(read_only),
      on_state_(std::move(on_state)),
      socket_(loop),
      pause_(loop),
      patience_(loop) {}

Connection::~Connection() { Disconnect(); }

void Connection::Start() { asio::co_spawn(loop_, Connect(shared_from_this()), asio::detached); }

void Connection::Close() {
  closed_ = true;
  on_state_ = nullptr;
  pause_.cancel();
  patience_.cancel();
  Disconnect();
  batches_.clear();
  state_ = State::kDown;
}

void Connection::SetState(State state) {
  if (state_ == state) return;
  state_ = state;
  if (on_state_) on_state_();
}

void Connection::Disconnect() {
  if (socket_.is_open()) socket_.release();  // libpq closes it
  if (conn_) PQfinish(conn_);
  conn_ = nullptr;
  awaiting_writable_ = false;
  prepared_.clear();
}

// `self` keeps this object while the coroutine lives.
Task<void> Connection::Connect(std::shared_ptr<Connection> self) {
  auto pause = kFirstPause;
  patience_.expires_after(kPatience);
  patience_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    auto self = weak.lock();
    if (!error && self && !self->closed_ && self->state_ == State::kConnecting) self->SetState(State::kDown);
  });
  while (!closed_) {
    std::string error = co_await Attempt();
    if (closed_) co_return;
    ++attempts_;
    if (error.empty()) break;
    Disconnect();
    why_ = std::move(error);
    SetState(State::kDown);
    pause_.expires_after(Jittered(pause));
    co_await pause_.async_wait(kAwait);
    pause = std::min<std::chrono::milliseconds>(pause * 2, kLongestPause);
  }
  if (closed_) co_return;
  patience_.cancel();
  ++epoch_;
  AwaitReadable();
  SetState(State::kReady);
}

std::string Connection::StartAttempt() {
  std::string options = absl::StrCat(
      OptionsOf(options_.url), " -c search_path=", options_.schema, " -c timezone=UTC -c datestyle=ISO",
      " -c statement_timeout=", absl::ToInt64Milliseconds(options_.statement_timeout),
      // A statement that waits for a lock holds up all that come after it on its connection.
      " -c lock_timeout=5000 -c idle_in_transaction_session_timeout=60000",
      read_only_ ? " -c default_transaction_read_only=on" : "");
  const std::string name = absl::StrCat("aima-", options_.schema);
  const char* keywords[] = {"dbname", "options", "fallback_application_name", "client_encoding", "tcp_user_timeout",
                            nullptr};
  const char* values[] = {options_.url.c_str(), options.c_str(), name.c_str(), "UTF8", "10000", nullptr};
  conn_ = PQconnectStartParams(keywords, values, 1);
  if (!conn_) return "out of memory";
  if (PQstatus(conn_) == CONNECTION_BAD) return FirstLine(PQerrorMessage(conn_));
  // Notices, such as of a ROLLBACK without a transaction, are not for standard error.
  PQsetNoticeProcessor(conn_, [](void*, const char*) {}, nullptr);
  return "";
}

// Returns why it failed, or "".
Task<std::string> Connection::Attempt() {
  std::string error = StartAttempt();
  if (!error.empty()) co_return error;
  auto expired = std::make_shared<bool>(false);
  pause_.expires_after(kAttemptLimit);
  pause_.async_wait([weak = weak_from_this(), expired](boost::system::error_code error) {
    auto self = weak.lock();
    if (error || !self || self->closed_ || expired.use_count() == 1) return;  // 1: the attempt is over
    *expired = true;
    if (self->socket_.is_open()) self->socket_.cancel();
  });
  boost::system::error_code failure;
  PostgresPollingStatusType next = PGRES_POLLING_WRITING;
  while (next != PGRES_POLLING_OK) {
    // The socket may be another one at each step: libpq tries one address after the other.
    socket_.assign(PQsocket(conn_), failure);
    if (failure) co_return failure.message();
    co_await socket_.async_wait(next == PGRES_POLLING_READING ? socket_.wait_read : socket_.wait_write, kAwait);
    if (closed_) co_return "closed";
    socket_.release();
    if (*expired) co_return "no answer within 5 s";
    next = PQconnectPoll(conn_);
    if (next == PGRES_POLLING_FAILED) break;
  }
  pause_.cancel();
  if (next == PGRES_POLLING_FAILED || PQsetnonblocking(conn_, 1) != 0 || PQenterPipelineMode(conn_) != 1) {
    co_return FirstLine(PQerrorMessage(conn_));
  }
  socket_.assign(PQsocket(conn_), failure);
  co_return failure ? failure.message() : "";
}

// Everything sent and not answered is lost; connects again.
void Connection::Lose(std::string why) {
  if (closed_ || state_ != State::kReady) return;
  why_ = std::move(why);
  Disconnect();
  std::deque<Batch> lost = std::exchange(batches_, {});
  auto self = shared_from_this();
  SetState(State::kConnecting);
  for (Batch& batch : lost) {
    batch.reply.lost = true;
    batch.reply.status = Unreachable(why_);
    batch.done(std::move(batch.reply));
  }
  if (!closed_) Start();
}

void Connection::Send(const std::vector<const Operation*>& operations, Done done) {
  Batch batch;
  batch.done = std::move(done);
  batch.reply.results.resize(operations.size());
  bool sent = true;
  for (size_t i = 0; i < operations.size() && sent; ++i) {
    if (operations[i]->statement.sql) sent = SendOperation(*operations[i], static_cast<int>(i), batch);
  }
  sent = sent && PQpipelineSync(conn_) == 1;
  batches_.push_back(std::move(batch));
  if (sent) return Flush();
  // Only a broken connection or lack of memory gets here. Not from within Send: the caller is not ready for it.
  asio::post(loop_, [self = shared_from_this(), epoch = epoch_] {
    if (self->conn_ && self->epoch_ == epoch) self->Lose(FirstLine(PQerrorMessage(self->conn_)));
  });
}

bool Connection::SendOperation(const Operation& operation, int index, Batch& batch) {
  const Statement& statement = operation.statement;
  auto [known, is_new] = prepared_.try_emplace(statement.name, statement.sql);
  if (!is_new && known->second != statement.sql) {
    // Two statements of one name: right, but slow.
    known->second = statement.sql;
    const std::string drop = absl::StrCat("DEALLOCATE \"", statement.name, "\"");
    if (PQsendQueryParams(conn_, drop.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) != 1) return false;
    batch.steps.push_back({index, true, statement.name});
    is_new = true;
  }
  if (is_new) {
    if (PQsendPrepare(conn_, statement.name, statement.sql, 0, nullptr) != 1) return false;
    batch.steps.push_back({index, true, statement.name});
  }
  constexpr size_t kFew = 32;
  const size_t count = operation.values.size();
  const char* few_data[kFew];
  int few_sizes[kFew], few_formats[kFew];
  std::vector<const char*> many_data(count > kFew ? count : 0);
  std::vector<int> many_sizes(many_data.size()), many_formats(many_data.size());
  const char** data = count > kFew ? many_data.data() : few_data;
  int* sizes = count > kFew ? many_sizes.data() : few_sizes;
  int* formats = count > kFew ? many_formats.data() : few_formats;
  for (size_t i = 0; i < count; ++i) {
    data[i] = operation.values[i].data();
    sizes[i] = operation.values[i].size();
    formats[i] = operation.values[i].format();
  }
  if (PQsendQueryPrepared(conn_, statement.name, static_cast<int>(count), data, sizes, formats, 0) != 1) return false;
  batch.steps.push_back({index, false, statement.name});
  return true;
}

void Connection::Flush() {
  const int left = PQflush(conn_);
  if (left == 1) AwaitWritable();
  // A failed write shows on the reading side too, where what the server still said is heard first.
}

void Connection::AwaitWritable() {
  if (awaiting_writable_) return;
  awaiting_writable_ = true;
  socket_.async_wait(socket_.wait_write, [self = shared_from_this(), epoch = epoch_](const auto& error) {
    if (error || self->closed_ || !self->conn_ || self->epoch_ != epoch) return;
    self->awaiting_writable_ = false;
    self->Flush();
  });
}

void Connection::AwaitReadable() {
  socket_.async_wait(socket_.wait_read, [self = shared_from_this(), epoch = epoch_](const auto& error) {
    if (error || self->closed_ || !self->conn_ || self->epoch_ != epoch) return;
    if (PQconsumeInput(self->conn_) != 1) return self->Lose(FirstLine(PQerrorMessage(self->conn_)));
    self->Drain();
    const bool same = !self->closed_ && self->conn_ && self->epoch_ == epoch;
    if (same && self->state_ == State::kReady) self->AwaitReadable();
  });
}

void Connection::Drain() {
  const int epoch = epoch_;
  int nothing = 0;  // libpq returns nullptr once after each statement
  while (nothing < 2 && conn_ && epoch_ == epoch && state_ == State::kReady && !PQisBusy(conn_)) {
    if (batches_.empty()) {
      // Nothing is awaited: the server may have said goodbye.
      if (PQstatus(conn_) == CONNECTION_BAD) Lose(FirstLine(PQerrorMessage(conn_)));
      return;
    }
    pg_result* result = PQgetResult(conn_);
    nothing = result ? 0 : nothing + 1;
    if (result) Take(result);
  }
}

void Connection::Take(pg_result* result) {
  Batch& batch = batches_.front();
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_PIPELINE_SYNC) {
    PQclear(result);
    Batch finished = std::move(batch);
    batches_.pop_front();
    finished.done(std::move(finished.reply));
    return;
  }
  const Step* step = batch.next < batch.steps.size() ? &batch.steps[batch.next++] : nullptr;
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY) {
    if (step && !step->prepare) {
      batch.reply.results[step->operation] = Result(result);
    } else {
      PQclear(result);
    }
    return;
  }
  if (step && step->prepare) prepared_.erase(step->statement);
  if (batch.reply.status.ok() && status != PGRES_PIPELINE_ABORTED) {
    batch.reply.status = StatusOf(result, step ? step->statement : "commit");
    batch.reply.failed = step ? step->operation : -1;
  }
  const std::string message = FirstLine(PQresultErrorMessage(result));
  PQclear(result);
  if (PQstatus(conn_) == CONNECTION_BAD) Lose(message);
}

}  // namespace aima::pg
