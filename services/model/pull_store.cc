#include "services/model/pull_store.h"

#include <absl/strings/str_cat.h>

#include "libs/base/status_macros.h"

namespace aima::model {

namespace {

#define PULL_COLUMNS                                                                                          \
  "model_id, source, repo, tag, mirror, quantization, status, error, reason, plan, own_record, create_time, " \
  "update_time, confirmed"

constexpr pg::Statement kFind = {"pull_find", "SELECT " PULL_COLUMNS " FROM pulls WHERE model_id = $1"};
constexpr pg::Statement kFindSame = {
    "pull_find_same", "SELECT " PULL_COLUMNS " FROM pulls WHERE (source, repo, tag, quantization) = ($1, $2, $3, $4)"};
constexpr pg::Statement kList = {
    "pull_list", "SELECT " PULL_COLUMNS " FROM pulls ORDER BY create_time DESC, model_id LIMIT $1::bigint"};
constexpr pg::Statement kInsert = {"pull_insert", "INSERT INTO pulls (" PULL_COLUMNS
                                                  ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
                                                  "$14)"};
constexpr pg::Statement kUpdate = {"pull_update",
                                   "UPDATE pulls SET mirror = $2, status = $3, error = $4, reason = $5, plan = $6, "
                                   "update_time = $7, confirmed = $8 WHERE model_id = $1"};
constexpr pg::Statement kDelete = {"pull_delete", "DELETE FROM pulls WHERE model_id = $1"};

absl::StatusOr<PullRow> RowOf(const pg::Row& from) {
  PullRow row;
  row.model_id = from.Get<std::string>(0);
  row.wish.source = static_cast<v1::ModelSource>(from.Get<int>(1));
  row.wish.repo = from.Get<std::string>(2);
  row.wish.tag = from.Get<std::string>(3);
  row.wish.mirror = from.Get<std::string>(4);
  row.wish.quantization = from.Get<std::string>(5);
  row.status = static_cast<v1::PullStatus>(from.Get<int>(6));
  row.error = from.Get<std::string>(7);
  row.reason = from.Get<std::string>(8);
  if (!row.plan.ParseFromString(from.Get<pg::Bytes>(9).data)) {
    return absl::DataLossError(absl::StrCat("the plan of the pull of '", row.model_id, "' cannot be read"));
  }
  row.own_record = from.Get<bool>(10);
  row.create_time = from.Get<absl::Time>(11);
  row.update_time = from.Get<absl::Time>(12);
  row.confirmed = from.Get<bool>(13);
  return row;
}

}  // namespace

bool IsUnfinished(v1::PullStatus status) {
  return status == v1::PULL_STATUS_QUEUED || status == v1::PULL_STATUS_RESOLVING ||
         status == v1::PULL_STATUS_DOWNLOADING || status == v1::PULL_STATUS_VERIFYING;
}

Task<absl::StatusOr<std::vector<PullRow>>> PullStore::Read(const CallContext& call, const pg::Statement& statement,
                                                           pg::Values values) {
  CO_ASSIGN_OR_RETURN(const pg::Result result, co_await db_.Query(call, statement, std::move(values)));
  std::vector<PullRow> rows;
  for (int i = 0; i < result.size(); ++i) {
    CO_ASSIGN_OR_RETURN(PullRow row, RowOf(result[i]));
    rows.push_back(std::move(row));
  }
  co_return rows;
}

Task<absl::StatusOr<std::optional<PullRow>>> PullStore::FindSame(const CallContext& call, const Wish& wish) {
  pg::Values values{static_cast<int>(wish.source), wish.repo, wish.tag, wish.quantization};
  CO_ASSIGN_OR_RETURN(std::vector<PullRow> rows, co_await Read(call, kFindSame, std::move(values)));
  if (rows.empty()) co_return std::optional<PullRow>();
  co_return std::optional<PullRow>(std::move(rows[0]));
}

Task<absl::StatusOr<std::optional<PullRow>>> PullStore::Find(const CallContext& call, const std::string& model_id) {
  CO_ASSIGN_OR_RETURN(std::vector<PullRow> rows, co_await Read(call, kFind, pg::Values{model_id}));
  if (rows.empty()) co_return std::optional<PullRow>();
  co_return std::optional<PullRow>(std::move(rows[0]));
}

Task<absl::StatusOr<std::vector<PullRow>>> PullStore::List(const CallContext& call, int limit) {
  co_return co_await Read(call, kList, pg::Values{limit});
}

pg::Operation PullStore::InsertOf(const PullRow& row) {
  return {kInsert,
          pg::Values{row.model_id, static_cast<int>(row.wish.source), row.wish.repo, row.wish.tag, row.wish.mirror,
                     row.wish.quantization, static_cast<int>(row.status), row.error, row.reason,
                     pg::Bytes{row.plan.SerializeAsString()}, row.own_record, row.create_time, row.update_time,
                     row.confirmed},
          nullptr};
}

pg::Operation PullStore::UpdateOf(const PullRow& row) {
  return {kUpdate,
          pg::Values{row.model_id, row.wish.mirror, static_cast<int>(row.status), row.error, row.reason,
                     pg::Bytes{row.plan.SerializeAsString()}, row.update_time, row.confirmed},
          nullptr};
}

pg::Operation PullStore::DeleteOf(const std::string& model_id) { return {kDelete, pg::Values{model_id}, nullptr}; }

}  // namespace aima::model
