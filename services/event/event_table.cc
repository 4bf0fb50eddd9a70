#include "services/event/event_table.h"

#include <absl/strings/str_cat.h>

#include <utility>

#include "libs/base/status_macros.h"

namespace aima::event {
namespace {

using pg::Statement;

constexpr Statement kTypes{"types", "SELECT id, name, domain FROM event_type"};
constexpr Statement kAddType{"add_type",
                             "INSERT INTO event_type (name, domain) VALUES ($1, $2) ON CONFLICT DO NOTHING"};
constexpr Statement kHead{"head", "SELECT seq FROM head"};
constexpr Statement kEarliest{"earliest", "SELECT coalesce((SELECT min(seq) FROM event), (SELECT seq + 1 FROM head))"};
constexpr Statement kAppend{
    "append",
    "WITH moved AS (UPDATE head SET seq = $1::bigint + cardinality($3::int[]) WHERE seq = $1 RETURNING true) "
    "INSERT INTO event (seq, id, type, time, correlation_id, payload) "
    "SELECT $1 + ordinal, id, type, time, correlation_id, payload FROM "
    "unnest($2::text[], $3::int[], $4::timestamptz[], $5::text[], $6::bytea[]) "
    "WITH ORDINALITY AS new (id, type, time, correlation_id, payload, ordinal) WHERE EXISTS (SELECT FROM moved)"};
constexpr Statement kFind{"find", "SELECT id, seq FROM event WHERE id = ANY($1::text[])"};
constexpr Statement kFirstSince{"first_since", "SELECT seq FROM event WHERE time >= $1 ORDER BY seq LIMIT 1"};
constexpr Statement kDelete{"delete", "DELETE FROM event WHERE seq < $1"};

// Reading by type takes the first events of each type from the index (type, seq) and merges them, so that a page
// costs the same however long the log is.
#define COLUMNS "seq, id, type, time, correlation_id, payload"
#define BOUNDS "seq > $1 AND seq <= $2 AND time >= $3 AND time < $4"
#define BY_TYPE(order)                                                                                             \
  "SELECT found.* FROM unnest($6::int[]) AS wanted (type) CROSS JOIN LATERAL (SELECT " COLUMNS                      \
  " FROM event WHERE event.type = wanted.type AND " BOUNDS " ORDER BY seq " order " LIMIT $5) AS found ORDER BY seq " \
  order " LIMIT $5"
// Materialized: only this way does the server surely go by the correlation's index and not by the order.
#define BY_CORRELATION(order)                                                                               \
  "WITH found AS MATERIALIZED (SELECT " COLUMNS " FROM event WHERE correlation_id = $7) "                     \
  "SELECT * FROM found WHERE (cardinality($6::int[]) = 0 OR type = ANY($6::int[])) AND " BOUNDS " ORDER BY seq " \
  order " LIMIT $5"
#define ALL(order) "SELECT " COLUMNS " FROM event WHERE " BOUNDS " ORDER BY seq " order " LIMIT $5"
constexpr Statement kRead[] = {{"read", ALL("")}, {"read_back", ALL("DESC")}};
constexpr Statement kReadTypes[] = {{"read_types", BY_TYPE("")}, {"read_types_back", BY_TYPE("DESC")}};
constexpr Statement kReadCorrelation[] = {{"read_correlation", BY_CORRELATION("")},
                                          {"read_correlation_back", BY_CORRELATION("DESC")}};

absl::Time TimeOf(const v1::Event& event) {
  return absl::FromUnixSeconds(event.time().seconds()) + absl::Nanoseconds(event.time().nanos());
}

std::string DomainOf(const std::string& type) { return type.substr(0, type.find('.')); }

}  // namespace

Task<absl::Status> EventTable::LoadTypes(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kTypes, {}));
  for (int i = 0; i < rows.size(); ++i) {
    const int id = rows[i].Get<int>(0);
    Type type{rows[i].Get<std::string>(1), rows[i].Get<std::string>(2)};
    type_ids_[type.name] = id;
    types_[id] = std::move(type);
  }
  co_return absl::OkStatus();
}

std::vector<std::string> EventTable::types() const {
  std::vector<std::string> names;
  for (const auto& [id, type] : types_) names.push_back(type.name);
  return names;
}

Task<absl::Status> EventTable::AddType(const CallContext& call, const std::string& name) {
  CO_RETURN_IF_ERROR((co_await db_.Write(call, {{kAddType, {name, DomainOf(name)}}})).status());
  co_return co_await LoadTypes(call);
}

std::vector<int64_t> EventTable::TypeIds(const std::vector<std::string>& names) const {
  std::vector<int64_t> ids;
  for (const auto& [id, type] : types_) {
    for (const std::string& name : names) {
      if (name != type.name && name != type.domain) continue;
      ids.push_back(id);
      break;
    }
  }
  return ids;
}

Task<absl::StatusOr<int64_t>> EventTable::Head(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kHead, {}));
  co_return rows[0].Get<int64_t>(0);
}

Task<absl::StatusOr<int64_t>> EventTable::Earliest(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kEarliest, {}));
  co_return rows[0].Get<int64_t>(0);
}

Task<absl::StatusOr<bool>> EventTable::Append(const CallContext& call, int64_t head,
                                              const std::vector<v1::Event*>& events) {
  std::vector<std::string_view> ids, correlations;
  std::vector<int64_t> types;
  std::vector<absl::Time> times;
  std::vector<pg::Bytes> payloads;
  const size_t count = events.size();
  ids.reserve(count), correlations.reserve(count), types.reserve(count);
  times.reserve(count), payloads.reserve(count);
  for (const v1::Event* event : events) {
    auto type = type_ids_.find(event->type());
    if (type == type_ids_.end()) {
      CO_RETURN_IF_ERROR(co_await AddType(call, event->type()));
      type = type_ids_.find(event->type());
    }
    ids.push_back(event->id());
    types.push_back(type->second);
    times.push_back(TimeOf(*event));
    correlations.push_back(event->correlation_id());
    payloads.push_back({event->payload().SerializeAsString()});
  }
  std::vector<pg::Operation> operations;
  operations.push_back({kAppend, {head, ids, types, times, correlations, payloads}, nullptr});
  CO_ASSIGN_OR_RETURN(const std::vector<pg::Result> results, co_await db_.Write(call, std::move(operations)));
  co_return results[0].affected() == static_cast<int>(events.size());
}

Task<absl::StatusOr<absl::flat_hash_map<std::string, int64_t>>> EventTable::Find(const CallContext& call,
                                                                                const std::vector<std::string>& ids) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kFind, {ids}));
  absl::flat_hash_map<std::string, int64_t> found;
  for (int i = 0; i < rows.size(); ++i) found[rows[i].Get<std::string>(0)] = rows[i].Get<int64_t>(1);
  co_return found;
}

Task<absl::StatusOr<std::vector<v1::Event>>> EventTable::Read(const CallContext& call, const Range& range) {
  const int order = range.newest_first ? 1 : 0;
  pg::Values values = {range.after, range.until, range.since, range.before, range.limit};
  const std::vector<int64_t> types = TypeIds(range.types);
  std::vector<v1::Event> events;
  if (types.empty() && !range.types.empty()) co_return events;  // nothing of these types was ever published
  const Statement* statement = &kRead[order];
  if (!range.types.empty() || !range.correlation_id.empty()) values.push_back(types);
  if (!range.types.empty()) statement = &kReadTypes[order];
  if (!range.correlation_id.empty()) {
    values.push_back(range.correlation_id);
    statement = &kReadCorrelation[order];
  }
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, *statement, std::move(values)));
  events.resize(rows.size());
  for (int i = 0; i < rows.size(); ++i) {
    v1::Event& event = events[i];
    const int type = rows[i].Get<int>(2);
    if (!types_.contains(type)) CO_RETURN_IF_ERROR(co_await LoadTypes(call));
    event.set_sequence(rows[i].Get<int64_t>(0));
    event.set_id(rows[i].Get<std::string>(1));
    event.set_type(types_[type].name);
    event.set_domain(types_[type].domain);
    const int64_t micros = absl::ToUnixMicros(rows[i].Get<absl::Time>(3));
    event.mutable_time()->set_seconds(micros / 1'000'000);
    event.mutable_time()->set_nanos(static_cast<int>(micros % 1'000'000) * 1000);
    event.set_correlation_id(rows[i].Get<std::string>(4));
    event.mutable_payload()->ParseFromString(rows[i].Get<pg::Bytes>(5).data);
  }
  co_return events;
}

Task<absl::StatusOr<int64_t>> EventTable::FirstSince(const CallContext& call, absl::Time time, int64_t head) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kFirstSince, {time}));
  co_return rows.empty() ? head + 1 : rows[0].Get<int64_t>(0);
}

Task<absl::Status> EventTable::DeleteBefore(const CallContext& call, int64_t seq) {
  co_return (co_await db_.Write(call, {{kDelete, {seq}}})).status();
}

}  // namespace aima::event
