// The outbox and the subscriptions of a process, for the runtime. Domain code sees outbox.h and subscriber.h.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "libs/events/outbox.h"
#include "libs/events/subscriber.h"
#include "libs/rpc/client.h"

namespace aima::events {

// The outbox and its relay, which publishes in the order of the outbox and forgets an event only after the event
// service has it. While that is down, events wait in the database.
class EventOutbox : public Outbox {
 public:
  EventOutbox(Loop& loop, pg::Database& db, rpc::Client& rpc) : loop_(loop), db_(db), rpc_(rpc), wake_(loop) {}

  pg::Operation Emit(const CallContext& call, const google::protobuf::Message& payload) override;
  pg::Operation Remember(const CallContext& call, const google::protobuf::Message& response) override;
  void Tell(const CallContext& call, const google::protobuf::Message& payload) override;

  // The relay. Runs until it is cancelled; one at a time.
  Task<void> Run();

  // Returns when everything committed or told before is published, or at the deadline.
  Task<void> Flush(absl::Time deadline);

  // Told events that were dropped because the event service was away for too long.
  int64_t dropped() const { return dropped_; }

 private:
  void Wake();
  Task<void> AwaitWork(absl::Duration at_most);
  // Publish what waits. True when nothing is left.
  Task<absl::StatusOr<bool>> RelayRows();
  Task<absl::StatusOr<bool>> RelayTold();
  Task<absl::Status> Publish(const event::v1::PublishRequest& request);
  Task<absl::Status> PublishOneByOne(const event::v1::PublishRequest& request);
  Task<void> ForgetOldReplies();

  Loop& loop_;
  pg::Database& db_;
  rpc::Client& rpc_;
  boost::asio::steady_timer wake_;
  bool work_ = true;      // something has come since the relay last looked
  bool rows_ = true;      // rows may have been written since they were last read; at first, by an earlier process
  bool relaying_ = false;
  std::deque<std::unique_ptr<event::v1::Event>> told_;
  std::vector<std::unique_ptr<event::v1::Event>> spare_;  // published: their memory is used again
  absl::Time rows_read_at_ = absl::InfinitePast();
  absl::Time told_at_ = absl::InfinitePast();  // when told events were last published
  int64_t dropped_ = 0;
  absl::Time replies_forgotten_ = absl::InfinitePast();
};
std::unique_ptr<EventOutbox> MakeOutbox(Loop& loop, pg::Database& db, rpc::Client& rpc);

// A reply kept by Outbox::Remember.
struct StoredReply {
  std::string unit;
  std::string fingerprint;  // CallContext::fingerprint of the command
  std::string response;     // serialized
};

// The reply that the call's principal got for the call's unit and idempotency key, if there is one.
Task<absl::StatusOr<std::optional<StoredReply>>> FindReply(pg::Database& db, const CallContext& call);

// Keeps a reply that the handler has not committed with its change. Replies are kept for two days. A failure is
// logged: the command was done.
Task<void> KeepReply(pg::Database& db, const CallContext& call, const google::protobuf::Message& response);

// Subscriptions, each over a stream of its own. Destroying it ends them.
class EventSubscriber : public Subscriber {
 public:
  EventSubscriber(Loop& loop, rpc::Client& rpc) : loop_(loop), rpc_(rpc) {}
  ~EventSubscriber() override;
  void On(std::vector<std::string> types, Handler handler, std::function<Task<void>()> on_gap) override;

 private:
  struct Subscription;
  static Task<void> Follow(std::shared_ptr<Subscription> subscription);
  static Task<absl::Status> FollowOnce(Subscription& subscription);

  Loop& loop_;
  rpc::Client& rpc_;
  std::vector<std::shared_ptr<Subscription>> subscriptions_;
};
std::unique_ptr<EventSubscriber> MakeSubscriber(Loop& loop, rpc::Client& rpc);

}  // namespace aima::events
