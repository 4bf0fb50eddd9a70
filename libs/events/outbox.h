// Events that are as durable as the change they tell of.
#pragma once

#include <google/protobuf/message.h>

#include "libs/base/call_context.h"
#include "libs/pg/database.h"

namespace aima::events {

// Rows to be written in the same transaction as a state change:
//
//   co_await db.Write(call, {{kInsertModel, {...}}, outbox.Emit(call, created), outbox.Remember(call, reply)});
//
// The tables are in every domain's schema (libs/events/migrations). Not thread-safe: use it on its loop.
class Outbox {
 public:
  virtual ~Outbox() = default;

  // Makes `payload`, a message that carries (aima.unit.v1.event), an event. It reaches the event service after
  // the commit, once and in commit order, even if a process dies in between.
  virtual pg::Operation Emit(const CallContext& call, const google::protobuf::Message& payload) = 0;

  // Stores the command's reply under its idempotency key, so that a repeated command gets the same reply without
  // being applied again. Does nothing if the call has no key. A unique violation on it means that the same command
  // was committed by somebody else meanwhile; the runtime then answers with that reply.
  virtual pg::Operation Remember(const CallContext& call, const google::protobuf::Message& response) = 0;

  // Tells of something that no state change goes with (a request began, progress was made). Kept in memory until
  // the event service has it; the oldest are dropped, and counted, when more than 10 000 wait.
  virtual void Tell(const CallContext& call, const google::protobuf::Message& payload) = 0;
};

}  // namespace aima::events
