// The units of the event service.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

#include "aima/event/v1/event.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/stream.h"
#include "services/event/event_log.h"
#include "services/event/feed.h"

namespace aima::event {

class EventUnits {
 public:
  // Filters may name the types that are declared and those that the log has; where none are declared, any.
  EventUnits(Loop& loop, EventLog& log, FeedLimits limits = {}, std::vector<std::string> declared_types = {});

  Task<absl::StatusOr<v1::PublishResponse>> Publish(CallContext& call, v1::PublishRequest request);
  Task<absl::StatusOr<v1::QueryResponse>> Query(CallContext& call, const v1::QueryRequest& request);
  Task<absl::Status> Replay(CallContext& call, const v1::ReplayRequest& request, StreamWriter<v1::Batch>& out);
  Task<absl::Status> Subscribe(CallContext& call, const v1::SubscribeRequest& request, StreamWriter<v1::Batch>& out);

 private:
  Task<absl::Status> Follow(CallContext& call, Feed& feed, int64_t cursor, StreamWriter<v1::Batch>& out);
  // Sends what follows `cursor` from the table, up to `until`, and moves `cursor`.
  Task<absl::Status> SendPage(CallContext& call, const std::vector<std::string>& types, int64_t until, int64_t& cursor,
                              StreamWriter<v1::Batch>& out);

  // Whether there can be events of this type, or of this domain.
  absl::Status CheckFilter(std::string_view field, const std::string& name) const;
  template <class Request>
  absl::Status CheckFilters(const Request& request) const;

  Loop& loop_;
  EventLog& log_;
  const FeedLimits limits_;
  const std::vector<std::string> declared_types_;
  Feeds feeds_;
};

}  // namespace aima::event
