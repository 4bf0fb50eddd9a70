// Replies of commands by idempotency key.
#include <spdlog/spdlog.h>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/events/events.h"

namespace aima::events {
namespace {

#define REPLY_INSERT "INSERT INTO idempotency (principal, unit, key, fingerprint, response) VALUES ($1, $2, $3, $4, $5)"

constexpr pg::Statement kRemember{"idempotency_remember", REPLY_INSERT};
constexpr pg::Statement kKeep{"idempotency_keep", REPLY_INSERT " ON CONFLICT DO NOTHING"};
constexpr pg::Statement kFind{
    "idempotency_find", "SELECT unit, fingerprint, response FROM idempotency WHERE principal = $1 AND unit = $2 AND key = $3"};

pg::Values ValuesOf(const CallContext& call, const google::protobuf::Message& response) {
  return {call.principal, call.unit, call.idempotency_key, call.fingerprint, pg::Bytes{response.SerializeAsString()}};
}

}  // namespace

pg::Operation EventOutbox::Remember(const CallContext& call, const google::protobuf::Message& response) {
  if (call.idempotency_key.empty()) return {{nullptr, nullptr}, {}, nullptr};
  return {kRemember, ValuesOf(call, response), nullptr};
}

Task<absl::StatusOr<std::optional<StoredReply>>> FindReply(pg::Database& db, const CallContext& call) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db.Query(call, kFind, {call.principal, call.unit, call.idempotency_key}));
  if (rows.empty()) co_return std::nullopt;
  StoredReply reply;
  reply.unit = rows[0].Get<std::string>(0);
  reply.fingerprint = rows[0].Get<std::string>(1);
  reply.response = rows[0].Get<pg::Bytes>(2).data;
  co_return std::optional<StoredReply>(std::move(reply));
}

Task<void> KeepReply(pg::Database& db, const CallContext& call, const google::protobuf::Message& response) {
  // Reading costs far less than a commit, and most handlers have kept their reply.
  const absl::StatusOr<std::optional<StoredReply>> kept = co_await FindReply(db, call);
  if (kept.ok() && kept->has_value()) co_return;
  const auto written = co_await db.Write(call, {{kKeep, ValuesOf(call, response)}});
  if (!written.ok()) {
    spdlog::warn("reply not kept: unit={} error={}", call.unit, DetailsOf(written.status()).message);
  }
}

}  // namespace aima::events
