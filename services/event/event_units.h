// The units of the event service.
#pragma once

#include <absl/status/statusor.h>

#include <vector>

#include "aima/event/v1/event.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/stream.h"
#include "services/event/event_log.h"
#include "services/event/feed.h"

namespace aima::event {

class EventUnits {
 public:
  EventUnits(Loop& loop, EventLog& log, FeedLimits limits = {});

  Task<absl::StatusOr<v1::PublishResponse>> Publish(CallContext& call, v1::PublishRequest request);
  Task<absl::StatusOr<v1::QueryResponse>> Query(CallContext& call, const v1::QueryRequest& request);
  Task<absl::Status> Replay(CallContext& call, const v1::ReplayRequest& request, StreamWriter<v1::Batch>& out);
  Task<absl::Status> Subscribe(CallContext& call, const v1::SubscribeRequest& request, StreamWriter<v1::Batch>& out);

 private:
  Task<absl::Status> Follow(CallContext& call, Feed& feed, int64_t cursor, StreamWriter<v1::Batch>& out);
  // Sends what follows `cursor` from the table, up to `until`, and moves `cursor`.
  Task<absl::Status> SendPage(CallContext& call, const std::vector<std::string>& types, int64_t until, int64_t& cursor,
                              StreamWriter<v1::Batch>& out);

  Loop& loop_;
  EventLog& log_;
  const FeedLimits limits_;
  Feeds feeds_;
};

}  // namespace aima::event
