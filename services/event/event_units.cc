#include "services/event/event_units.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/time/clock.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "libs/base/nearest.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::event {
namespace {

constexpr size_t kLongestPayload = 256 << 10;
constexpr size_t kMessageBytes = 1 << 20;
constexpr int kPage = 250;
constexpr auto kBookmarkInterval = std::chrono::seconds(15);

std::string DomainOf(const std::string& type) { return type.substr(0, type.find('.')); }

// Why the log does not take this event; empty if it does.
std::optional<FieldViolation> Check(const v1::Event& event, int index) {
  auto wrong = [index](const char* field, const char* what) {
    return FieldViolation{absl::StrCat("events[", index, "].", field), what};
  };
  auto printable = [](const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20; });
  };
  auto in_type = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_' || c == '.'; };
  const std::string& type = event.type();
  const size_t dot = type.find('.');
  if (event.id().empty() || event.id().size() > 200 || !printable(event.id())) {
    return wrong("id", "must have 1 to 200 printable characters");
  }
  if (type.size() > 128 || dot == 0 || dot == std::string::npos || dot + 1 == type.size() ||
      !std::all_of(type.begin(), type.end(), in_type)) {
    return wrong("type", "must look like model.created");
  }
  if (event.correlation_id().size() > 200 || !printable(event.correlation_id())) {
    return wrong("correlation_id", "must have at most 200 printable characters");
  }
  if (event.payload().value().size() > kLongestPayload) return wrong("payload", "must have at most 256 KiB");
  return std::nullopt;
}

void SetNow(v1::Event& event) {
  const int64_t micros = absl::ToUnixMicros(absl::Now());
  event.mutable_time()->set_seconds(micros / 1'000'000);
  event.mutable_time()->set_nanos(static_cast<int>(micros % 1'000'000) * 1000);
}

absl::Time TimeOf(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

// The types and domains to read; nullopt if no event can be of both this domain and this type.
template <class Request>
std::optional<std::vector<std::string>> TypesOf(const Request& request) {
  if (request.type().empty()) {
    return request.domain().empty() ? std::vector<std::string>() : std::vector<std::string>{request.domain()};
  }
  if (!request.domain().empty() && request.domain() != DomainOf(request.type())) return std::nullopt;
  return std::vector<std::string>{request.type()};
}

// Takes a feed off the list also when the call is cancelled, which leaves by an exception.
struct Listening {
  Listening(Feeds& feeds, Feed& feed) : feeds(feeds), feed(feed) { feeds.Add(feed); }
  ~Listening() { feeds.Remove(feed); }
  Feeds& feeds;
  Feed& feed;
};

}  // namespace

EventUnits::EventUnits(Loop& loop, EventLog& log, FeedLimits limits, std::vector<std::string> declared_types)
    : loop_(loop), log_(log), limits_(limits), declared_types_(std::move(declared_types)) {
  log_.SetListener([this](const std::vector<EventPtr>& events) { feeds_.Deliver(events); });
}

absl::Status EventUnits::CheckFilter(std::string_view field, const std::string& name) const {
  if (declared_types_.empty() || name.empty()) return absl::OkStatus();
  std::set<std::string> names(declared_types_.begin(), declared_types_.end());
  for (std::string& type : log_.types()) names.insert(std::move(type));
  std::set<std::string> domains;
  for (const std::string& type : names) domains.insert(DomainOf(type));
  if (names.contains(name) || domains.contains(name)) return absl::OkStatus();
  // A word without a dot is meant to be a domain.
  if (name.find('.') == std::string::npos) names = std::move(domains);
  const std::vector<std::string> near = Nearest(name, {names.begin(), names.end()}, 3);
  return InvalidInput(std::string(field),
                      absl::StrCat("no event is of '", name, "'; ",
                                   near.empty() ? absl::StrCat("there are ", absl::StrJoin(names, ", "))
                                                : absl::StrCat("did you mean ", absl::StrJoin(near, " or "), "?")));
}

template <class Request>
absl::Status EventUnits::CheckFilters(const Request& request) const {
  RETURN_IF_ERROR(CheckFilter("type", request.type()));
  return CheckFilter("domain", request.domain());
}

Task<absl::StatusOr<v1::PublishResponse>> EventUnits::Publish(CallContext& call, v1::PublishRequest request) {
  std::vector<FieldViolation> violations;
  for (int i = 0; i < request.events_size(); ++i) {
    if (auto wrong = Check(request.events(i), i)) violations.push_back(*std::move(wrong));
  }
  if (!violations.empty()) co_return InvalidInput(std::move(violations));
  std::vector<v1::Event> events(std::make_move_iterator(request.mutable_events()->begin()),
                                std::make_move_iterator(request.mutable_events()->end()));
  for (v1::Event& event : events) {
    event.set_domain(DomainOf(event.type()));
    // A time that is far ahead of its place would keep retention by age from whatever comes after it.
    if (!event.has_time() || TimeOf(event.time()) > absl::Now() + absl::Hours(1)) SetNow(event);
  }
  CO_ASSIGN_OR_RETURN(const std::vector<int64_t> sequences, co_await log_.Append(call, std::move(events)));
  v1::PublishResponse response;
  response.mutable_sequences()->Add(sequences.begin(), sequences.end());
  co_return response;
}

Task<absl::StatusOr<v1::QueryResponse>> EventUnits::Query(CallContext& call, const v1::QueryRequest& request) {
  CO_RETURN_IF_ERROR(CheckFilters(request));
  v1::QueryResponse response;
  const int64_t head = log_.head();
  response.set_earliest(log_.floor() < head ? log_.floor() + 1 : 0);
  response.set_latest(head);
  response.set_next_after(head);
  Range range;
  range.newest_first = !request.has_after();
  range.after = request.has_after() ? request.after() : log_.floor();
  range.until = head;
  range.limit = request.has_limit() ? request.limit() : 100;
  range.correlation_id = request.correlation_id();
  if (request.has_since()) range.since = TimeOf(request.since());
  if (request.has_until()) range.before = TimeOf(request.until());
  const std::optional<std::vector<std::string>> types = TypesOf(request);
  if (!types) co_return response;
  range.types = *types;
  CO_ASSIGN_OR_RETURN(std::vector<v1::Event> events, co_await log_.Read(call, range));
  if (range.newest_first) std::reverse(events.begin(), events.end());
  if (!range.newest_first && static_cast<int>(events.size()) == range.limit) {
    response.set_next_after(events.back().sequence());
  }
  for (v1::Event& event : events) *response.add_items() = std::move(event);
  co_return response;
}

Task<absl::Status> EventUnits::Replay(CallContext& call, const v1::ReplayRequest& request,
                                      StreamWriter<v1::Batch>& out) {
  CO_RETURN_IF_ERROR(CheckFilters(request));
  const std::optional<std::vector<std::string>> types = TypesOf(request);
  const int64_t head = log_.head();
  const int64_t until = request.until() > 0 ? std::min(request.until(), head) : head;
  int64_t cursor = request.after() > 0 ? request.after() : log_.floor();
  CO_RETURN_IF_ERROR(log_.CheckCursor(cursor));
  if (!types) co_return absl::OkStatus();
  while (cursor < until) CO_RETURN_IF_ERROR(co_await SendPage(call, *types, until, cursor, out));
  co_return absl::OkStatus();
}

Task<absl::Status> EventUnits::SendPage(CallContext& call, const std::vector<std::string>& types, int64_t until,
                                        int64_t& cursor, StreamWriter<v1::Batch>& out) {
  Range range;
  range.after = cursor;
  range.until = until;
  range.types = types;
  range.limit = kPage;
  CO_ASSIGN_OR_RETURN(std::vector<v1::Event> events, co_await log_.Read(call, range));
  const bool last = static_cast<int>(events.size()) < kPage;
  v1::Batch batch;
  size_t bytes = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    bytes += events[i].ByteSizeLong();
    batch.set_cursor(events[i].sequence());
    *batch.add_events() = std::move(events[i]);
    if (bytes < kMessageBytes || i + 1 == events.size()) continue;
    CO_RETURN_IF_ERROR(co_await out.Write(batch));
    cursor = batch.cursor();
    batch.Clear();
    bytes = 0;
  }
  // After the last event of the range, everything up to its end is delivered.
  if (last) batch.set_cursor(until);
  CO_RETURN_IF_ERROR(co_await out.Write(batch));
  cursor = batch.cursor();
  co_return absl::OkStatus();
}

Task<absl::Status> EventUnits::Subscribe(CallContext& call, const v1::SubscribeRequest& request,
                                         StreamWriter<v1::Batch>& out) {
  for (int i = 0; i < request.types_size(); ++i) {
    CO_RETURN_IF_ERROR(CheckFilter(absl::StrCat("types[", i, "]"), request.types(i)));
  }
  CO_RETURN_IF_ERROR(CheckFilter("domain", request.domain()));
  std::vector<std::string> types(request.types().begin(), request.types().end());
  if (!request.domain().empty()) types.push_back(request.domain());
  const int64_t cursor = request.has_after() ? request.after() : log_.head();
  CO_RETURN_IF_ERROR(log_.CheckCursor(cursor));
  Feed feed(loop_, std::move(types), limits_);
  Listening listening(feeds_, feed);
  feed.GoLive(cursor == log_.head());
  if (feed.live()) {
    // At once, so that the subscriber knows from where on it hears everything.
    v1::Batch bookmark;
    bookmark.set_cursor(cursor);
    CO_RETURN_IF_ERROR(co_await out.Write(bookmark));
  }
  co_return co_await Follow(call, feed, cursor, out);
}

Task<absl::Status> EventUnits::Follow(CallContext& call, Feed& feed, int64_t cursor, StreamWriter<v1::Batch>& out) {
  bool was_live = feed.live();
  while (true) {
    if (!feed.live()) {
      if (was_live && log_.head() - cursor > feed.most_behind()) {
        co_return Error(v1::SUBSCRIBER_TOO_SLOW,
                        absl::StrCat("the subscriber is ", log_.head() - cursor, " events behind"),
                        {{"cursor", absl::StrCat(cursor)}});
      }
      CO_RETURN_IF_ERROR(co_await SendPage(call, feed.types(), log_.head(), cursor, out));
      // Nothing can come between this look at the head and the feed's first event.
      if (cursor == log_.head()) feed.GoLive(was_live = true);
      continue;
    }
    v1::Batch batch;
    feed.Take(batch, kMessageBytes);
    if (batch.events().empty()) {
      if (co_await feed.signal.Wait(kBookmarkInterval)) continue;
      if (!feed.live() || !feed.empty()) continue;
    }
    // With nothing left to deliver, everything up to the head is delivered; else up to the last event.
    batch.set_cursor(feed.empty() ? log_.head() : batch.events(batch.events_size() - 1).sequence());
    const int64_t reached = batch.cursor();
    CO_RETURN_IF_ERROR(co_await out.Write(batch));
    cursor = reached;
  }
}

}  // namespace aima::event
