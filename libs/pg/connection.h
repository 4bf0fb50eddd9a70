// One connection to the server, in libpq's pipeline mode.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/pg/database.h"

struct pg_conn;  // libpq's PGconn

namespace aima::pg {

// What became of a batch.
struct Reply {
  absl::Status status;          // OK, or the first error
  int failed = -1;              // the operation that the server refused, where it was one
  bool lost = false;            // the connection ended before the server told the outcome
  std::vector<Result> results;  // one for each operation, if OK
};

// Connects at Start, connects again with growing pauses whenever the connection is lost, until Close. Sends batches
// without waiting for the answers to those before. Prepares each statement when it first meets it on a connection.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  enum class State {
    kConnecting,  // the first attempt since Start or a loss is in progress; most likely ready in milliseconds
    kReady,
    kDown,
  };
  using Done = std::function<void(Reply)>;

  // `on_state` runs after each change of the state, until Close.
  Connection(Loop& loop, const Options& options, bool read_only, std::function<void()> on_state);
  ~Connection();
  void Start();
  void Close();

  State state() const { return state_; }
  // Changes with every new connection.
  int epoch() const { return epoch_; }
  // Why there is no connection.
  const std::string& why() const { return why_; }
  // How many attempts to connect have come to an end, good or bad.
  int attempts() const { return attempts_; }

  // Gives up the connection, as if the server had closed it: what was sent and not answered is lost.
  void Abandon(std::string why) { Lose(std::move(why)); }

  // Sends the operations and a Sync: outside of an explicit transaction, all take effect or none does. Only while
  // ready. `done` runs once, later, unless the connection is closed before.
  void Send(const std::vector<const Operation*>& operations, Done done);

 private:
  struct Step {
    int operation;
    bool prepare;
    const char* statement;
  };
  struct Batch {
    std::vector<Step> steps;
    size_t next = 0;  // step whose result comes next
    Reply reply;
    Done done;
  };

  Task<void> Connect(std::shared_ptr<Connection> self);
  Task<std::string> Attempt();
  std::string StartAttempt();
  void SetState(State state);
  void Disconnect();
  void Lose(std::string why);

  bool SendOperation(const Operation& operation, int index, Batch& batch);
  void Flush();
  void AwaitWritable();
  void AwaitReadable();
  void Drain();
  void Take(pg_result* result);

  Loop& loop_;
  const Options options_;
  const bool read_only_;
  std::function<void()> on_state_;
  State state_ = State::kConnecting;
  std::string why_ = "not connected yet";
  int epoch_ = 0;
  int attempts_ = 0;
  bool closed_ = false;
  pg_conn* conn_ = nullptr;
  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer pause_;
  boost::asio::steady_timer patience_;
  bool awaiting_writable_ = false;
  std::deque<Batch> batches_;
  absl::flat_hash_map<std::string, std::string> prepared_;
};

}  // namespace aima::pg
