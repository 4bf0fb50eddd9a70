// Clients of protocols up to 2025-11-25, who keep a session by its id.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <string>

#include "services/gateway/mcp/outbox.h"
#include "services/gateway/mcp/running_call.h"
#include "services/gateway/mcp/surface.h"

namespace aima::gateway::mcp {

// Watches of resources; each ends with its holder.
class Watches {
 public:
  Watches(Loop& loop) : loop_(loop), watches_(std::make_shared<Map>()) {}
  ~Watches() { Clear(); }

  // Returns once the watch knows what there is now, or cannot know it; `changed` is called after each change from then on.
  Task<absl::Status> Add(Source& source, CallContext call, std::string uri, std::function<void()> changed);
  void Remove(const std::string& uri);
  void Clear();
  bool Has(const std::string& uri) const { return watches_->contains(uri); }
  size_t size() const { return watches_->size(); }

 private:
  using Map = std::map<std::string, std::shared_ptr<boost::asio::cancellation_signal>>;
  // Leaves alone a newer watch of the same resource.
  static void Forget(Map& watches, const std::string& uri, const boost::asio::cancellation_signal* watch);

  Loop& loop_;
  const std::shared_ptr<Map> watches_;  // a watch that ends takes itself out, if its holder is still there
};

struct Session {
  Session(Loop& loop) : loop(loop), stream(loop), watches(loop) {}

  // Sends requests to the client on the call's connection and waits for its answers.
  Task<absl::StatusOr<json>> Ask(RunningCall& call, json requests);
  // Takes an answer of the client; false if nobody asked.
  bool Answer(const Message& answer);
  void Close();

  Loop& loop;
  std::string id;
  std::string principal;
  std::string version;
  json capabilities = json::object();
  int log_level = 1;  // info, until the client sets it
  Outbox stream;      // what is not about any one call
  bool stream_open = false;
  Watches watches;
  std::map<std::string, std::shared_ptr<RunningCall>> calls;  // by the text of their id
  // Streams that can be taken up again, by number.
  std::map<int64_t, std::shared_ptr<RunningCall>> streams;
  int64_t next_stream = 1;
  absl::Time used = absl::Now();
  bool closed = false;

 private:
  struct Question {
    std::shared_ptr<boost::asio::steady_timer> wake;
    std::shared_ptr<json> answers;
    std::string key;
  };
  std::map<std::string, Question> questions_;  // by the text of the request's id
  int64_t next_question_ = 1;
};

class Sessions {
 public:
  explicit Sessions(Loop& loop) : loop_(loop) {}

  // Sessions that were not used for long are forgotten. Who has too many loses the one that it did not use for the
  // longest time; null if all of them are in use, or there is no room.
  std::shared_ptr<Session> Create(const std::string& principal);
  // Null if there is none of this id for this principal.
  std::shared_ptr<Session> Find(std::string_view id, const std::string& principal);
  void Remove(const std::string& id);
  void Clear();
  size_t size() const { return sessions_.size(); }
  template <class Visit>
  void ForEach(Visit visit) {
    for (auto& [id, session] : sessions_) visit(*session);
  }

 private:
  void ForgetIdle();

  Loop& loop_;
  absl::Time swept_ = absl::InfinitePast();
  absl::flat_hash_map<std::string, std::shared_ptr<Session>> sessions_;
};

}  // namespace aima::gateway::mcp
