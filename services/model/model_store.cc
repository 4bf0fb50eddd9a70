#include "services/model/model_store.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>

#include <algorithm>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"

namespace aima::model {

namespace {

#define MODEL_COLUMNS                                                                                           \
  "id, name, type, format, status, source, path, size_bytes, digest, stored, error, details, files, create_time, " \
  "update_time, verify_time, repo, revision, pinned, use_time"

constexpr pg::Statement kFind = {"model_find", "SELECT " MODEL_COLUMNS " FROM models WHERE id = $1"};
constexpr pg::Statement kFindByPath = {"model_find_by_path",
                                       "SELECT " MODEL_COLUMNS " FROM models WHERE path = $1 AND path <> ''"};
constexpr pg::Statement kFindByDigest = {
    "model_find_by_digest",
    "SELECT " MODEL_COLUMNS " FROM models WHERE digest = $1 AND digest <> '' ORDER BY create_time, id LIMIT 1"};
constexpr pg::Statement kList = {
    "model_list",
    "SELECT " MODEL_COLUMNS " FROM models WHERE ($1::int = 0 OR type = $1) AND ($2::int = 0 OR format = $2) "
    "AND ($3::int = 0 OR status = $3) AND id > $4 ORDER BY id LIMIT $5::bigint OFFSET $6::bigint"};
constexpr pg::Statement kCount = {
    "model_count",
    "SELECT coalesce(sum(count), 0)::bigint FROM model_counts WHERE ($1::int = 0 OR type = $1) "
    "AND ($2::int = 0 OR format = $2) AND ($3::int = 0 OR status = $3)"};
// Closest: the id itself, then what begins with the first word, then the shortest. An index serves one pattern, not a
// list of them: the longest word finds the few that are looked at.
constexpr pg::Statement kSearch = {
    "model_search",
    "SELECT " MODEL_COLUMNS " FROM models WHERE search_text LIKE $6 AND search_text LIKE ALL ($1::text[]) "
    "AND ($2 = '' OR source = $2) AND ($3::int = 0 OR type = $3) "
    "ORDER BY id <> $4, NOT starts_with(search_text, $4), length(id), id LIMIT $5::bigint"};
constexpr pg::Statement kIdsLike = {"model_ids_like", "SELECT id FROM models WHERE id = $1 OR id LIKE $2"};
constexpr pg::Statement kWithoutDigest = {
    "model_without_digest",
    "SELECT id FROM models WHERE digest = '' AND path <> '' AND status = $1 ORDER BY id LIMIT 1000"};
constexpr pg::Statement kInsert = {
    "model_insert",
    "INSERT INTO models (id, name, type, format, status, source, path, size_bytes, digest, stored, architecture, "
    "details, files, create_time, update_time, repo) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14, $15)"};
constexpr pg::Statement kFill = {
    "model_fill",
    "UPDATE models SET type = $2, format = $3, status = $4, source = $5, path = $6, size_bytes = $7, digest = $8, "
    "stored = $9, architecture = $10, details = $11, files = $12, update_time = $13 WHERE id = $1 AND path = ''"};
constexpr pg::Statement kPlace = {
    "model_place",
    "UPDATE models SET type = $2, format = $3, status = $4, source = $5, path = $6, size_bytes = $7, digest = $8, "
    "stored = $9, architecture = $10, details = $11, files = $12, update_time = $13, repo = $14, revision = $15, "
    "error = '', verify_time = $13 WHERE id = $1"};
constexpr pg::Statement kSetStatus = {
    "model_set_status", "UPDATE models SET status = $2, error = $3, update_time = $4 WHERE id = $1 AND path = ''"};
constexpr pg::Statement kSetPinned = {"model_set_pinned", "UPDATE models SET pinned = $2 WHERE id = $1"};
constexpr pg::Statement kSetUsed = {"model_set_used", "UPDATE models SET use_time = $2 WHERE id = $1"};
constexpr pg::Statement kStored = {
    "model_stored",
    "SELECT " MODEL_COLUMNS " FROM models WHERE stored ORDER BY coalesce(use_time, create_time), id"};
constexpr pg::Statement kUpdate = {
    "model_update",
    "UPDATE models SET status = $2, error = $3, digest = $4, files = $5, update_time = $6, verify_time = $7 "
    "WHERE id = $1 AND path = $8 AND update_time = $9"};
constexpr pg::Statement kDelete = {"model_delete", "DELETE FROM models WHERE id = $1"};

absl::Time TimeOf(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

absl::StatusOr<v1::Model> ModelOf(const pg::Row& row) {
  v1::Model model;
  if (!model.mutable_details()->ParseFromString(row.Get<pg::Bytes>(11).data) ||
      !model.MergeFromString(row.Get<pg::Bytes>(12).data)) {
    return absl::DataLossError(absl::StrCat("the record of model '", row.Get<std::string>(0), "' cannot be read"));
  }
  model.set_id(row.Get<std::string>(0));
  model.set_name(row.Get<std::string>(1));
  model.set_type(static_cast<v1::ModelType>(row.Get<int>(2)));
  model.set_format(static_cast<v1::ModelFormat>(row.Get<int>(3)));
  model.set_status(static_cast<v1::ModelStatus>(row.Get<int>(4)));
  model.set_source(row.Get<std::string>(5));
  model.set_path(row.Get<std::string>(6));
  model.set_size(row.Get<int64_t>(7));
  model.set_digest(row.Get<std::string>(8));
  model.set_stored(row.Get<bool>(9));
  model.set_error(row.Get<std::string>(10));
  *model.mutable_create_time() = TimestampOf(row.Get<absl::Time>(13));
  *model.mutable_update_time() = TimestampOf(row.Get<absl::Time>(14));
  if (!row.IsNull(15)) *model.mutable_verify_time() = TimestampOf(row.Get<absl::Time>(15));
  model.set_repo(row.Get<std::string>(16));
  model.set_revision(row.Get<std::string>(17));
  model.set_pinned(row.Get<bool>(18));
  if (!row.IsNull(19)) *model.mutable_use_time() = TimestampOf(row.Get<absl::Time>(19));
  return model;
}

pg::Bytes FilesOf(const v1::Model& model) {
  v1::Model files;
  *files.mutable_files() = model.files();
  return pg::Bytes{files.SerializeAsString()};
}

// `text` with the wildcards of LIKE taken literally.
std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '%' || c == '_' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

}  // namespace

google::protobuf::Timestamp TimestampOf(absl::Time time) {
  const int64_t micros = absl::ToUnixMicros(time);
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(micros / 1'000'000);
  timestamp.set_nanos(static_cast<int32_t>(micros % 1'000'000 * 1000));
  return timestamp;
}

absl::Status NoSuchModel(const std::string& id) {
  return Error(v1::MODEL_NOT_FOUND, absl::StrCat("there is no model '", id, "'"), {{"model_id", id}});
}

Task<absl::StatusOr<std::vector<v1::Model>>> ModelStore::Read(const CallContext& call, const pg::Statement& statement,
                                                              pg::Values values) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, statement, std::move(values)));
  std::vector<v1::Model> models;
  models.reserve(static_cast<size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    CO_ASSIGN_OR_RETURN(v1::Model model, ModelOf(rows[i]));
    models.push_back(std::move(model));
  }
  co_return models;
}

Task<absl::StatusOr<v1::Model>> ModelStore::Find(const CallContext& call, const std::string& id) {
  CO_ASSIGN_OR_RETURN(std::vector<v1::Model> models, co_await Read(call, kFind, pg::Values{id}));
  if (models.empty()) co_return NoSuchModel(id);
  co_return std::move(models[0]);
}

Task<absl::StatusOr<std::optional<v1::Model>>> ModelStore::FindByPath(const CallContext& call,
                                                                      const std::string& path) {
  CO_ASSIGN_OR_RETURN(std::vector<v1::Model> models, co_await Read(call, kFindByPath, pg::Values{path}));
  if (models.empty()) co_return std::optional<v1::Model>();
  co_return std::optional<v1::Model>(std::move(models[0]));
}

Task<absl::StatusOr<std::optional<v1::Model>>> ModelStore::FindByDigest(const CallContext& call,
                                                                        const std::string& digest) {
  CO_ASSIGN_OR_RETURN(std::vector<v1::Model> models, co_await Read(call, kFindByDigest, pg::Values{digest}));
  if (models.empty()) co_return std::optional<v1::Model>();
  co_return std::optional<v1::Model>(std::move(models[0]));
}

Task<absl::StatusOr<std::vector<v1::Model>>> ModelStore::List(const CallContext& call, const ModelFilter& filter,
                                                              Page page) {
  pg::Values values{static_cast<int>(filter.type), static_cast<int>(filter.format), static_cast<int>(filter.status),
                    page.after, page.limit, page.offset};
  co_return co_await Read(call, kList, std::move(values));
}

Task<absl::StatusOr<int64_t>> ModelStore::Count(const CallContext& call, const ModelFilter& filter) {
  pg::Values values{static_cast<int>(filter.type), static_cast<int>(filter.format), static_cast<int>(filter.status)};
  CO_ASSIGN_OR_RETURN(const pg::Result rows, co_await db_.Query(call, kCount, std::move(values)));
  co_return rows[0].Get<int64_t>(0);
}

Task<absl::StatusOr<std::vector<v1::Model>>> ModelStore::Find(const CallContext& call, Search search) {
  std::vector<std::string> patterns;
  for (const std::string& word : search.words) {
    patterns.push_back(absl::StrCat("%", Escaped(absl::AsciiStrToLower(word)), "%"));
  }
  const std::string first = search.words.empty() ? "" : absl::AsciiStrToLower(search.words[0]);
  const auto shorter = [](const std::string& a, const std::string& b) { return a.size() < b.size(); };
  const std::string longest =
      patterns.empty() ? "%" : *std::max_element(patterns.begin(), patterns.end(), shorter);
  pg::Values values{patterns, search.source, static_cast<int>(search.type), first, search.limit, longest};
  co_return co_await Read(call, kSearch, std::move(values));
}

Task<absl::StatusOr<std::vector<std::string>>> ModelStore::IdsLike(const CallContext& call, const std::string& id) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows,
                      co_await db_.Query(call, kIdsLike, pg::Values{id, absl::StrCat(Escaped(id), "-%")}));
  std::vector<std::string> ids;
  for (int i = 0; i < rows.size(); ++i) ids.push_back(rows[i].Get<std::string>(0));
  co_return ids;
}

Task<absl::StatusOr<std::vector<std::string>>> ModelStore::WithoutDigest(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(const pg::Result rows,
                      co_await db_.Query(call, kWithoutDigest, pg::Values{static_cast<int>(v1::MODEL_STATUS_READY)}));
  std::vector<std::string> ids;
  for (int i = 0; i < rows.size(); ++i) ids.push_back(rows[i].Get<std::string>(0));
  co_return ids;
}

pg::Operation ModelStore::InsertOf(const v1::Model& model) {
  pg::Values values{model.id(),
                    model.name(),
                    static_cast<int>(model.type()),
                    static_cast<int>(model.format()),
                    static_cast<int>(model.status()),
                    model.source(),
                    model.path(),
                    model.size(),
                    model.digest(),
                    model.stored(),
                    model.details().architecture(),
                    pg::Bytes{model.details().SerializeAsString()},
                    FilesOf(model),
                    TimeOf(model.create_time()),
                    model.repo()};
  return {kInsert, std::move(values), nullptr};
}

pg::Operation ModelStore::SetStatusOf(const std::string& id, v1::ModelStatus status, const std::string& error) {
  return {kSetStatus, pg::Values{id, static_cast<int>(status), error, absl::Now()}, nullptr};
}

Task<absl::Status> ModelStore::Insert(const CallContext& call, const v1::Model& model, Also also) {
  also.insert(also.begin(), InsertOf(model));
  CO_RETURN_IF_ERROR((co_await db_.Write(call, std::move(also))).status());
  co_return absl::OkStatus();
}

Task<absl::Status> ModelStore::Fill(const CallContext& call, const v1::Model& model, Also also) {
  pg::Values values{model.id(),
                    static_cast<int>(model.type()),
                    static_cast<int>(model.format()),
                    static_cast<int>(model.status()),
                    model.source(),
                    model.path(),
                    model.size(),
                    model.digest(),
                    model.stored(),
                    model.details().architecture(),
                    pg::Bytes{model.details().SerializeAsString()},
                    FilesOf(model),
                    TimeOf(model.update_time())};
  co_return co_await Change(call, model.id(), pg::Operation{kFill, std::move(values), nullptr}, std::move(also));
}

Task<absl::Status> ModelStore::Place(const CallContext& call, const v1::Model& model, Also also) {
  pg::Values values{model.id(),
                    static_cast<int>(model.type()),
                    static_cast<int>(model.format()),
                    static_cast<int>(model.status()),
                    model.source(),
                    model.path(),
                    model.size(),
                    model.digest(),
                    model.stored(),
                    model.details().architecture(),
                    pg::Bytes{model.details().SerializeAsString()},
                    FilesOf(model),
                    TimeOf(model.update_time()),
                    model.repo(),
                    model.revision()};
  co_return co_await Change(call, model.id(), pg::Operation{kPlace, std::move(values), nullptr}, std::move(also));
}

Task<absl::Status> ModelStore::SetPinned(const CallContext& call, const std::string& id, bool pinned, Also also) {
  co_return co_await Change(call, id, pg::Operation{kSetPinned, pg::Values{id, pinned}, nullptr}, std::move(also));
}

Task<absl::Status> ModelStore::SetUsed(const CallContext& call, const std::string& id) {
  std::vector<pg::Operation> operations;
  operations.push_back({kSetUsed, pg::Values{id, absl::Now()}, nullptr});
  co_return (co_await db_.Write(call, std::move(operations))).status();
}

Task<absl::StatusOr<std::vector<v1::Model>>> ModelStore::Stored(const CallContext& call) {
  co_return co_await Read(call, kStored, pg::Values{});
}

Task<absl::Status> ModelStore::Update(const CallContext& call, const v1::Model& read, const v1::Model& model, Also also) {
  std::optional<absl::Time> verified;
  if (model.has_verify_time()) verified = TimeOf(model.verify_time());
  pg::Values values{model.id(),     static_cast<int>(model.status()), model.error(), model.digest(),
                    FilesOf(model), TimeOf(model.update_time()),      verified,      read.path(),
                    TimeOf(read.update_time())};
  const absl::Status changed =
      co_await Change(call, model.id(), pg::Operation{kUpdate, std::move(values), nullptr}, std::move(also));
  if (!HasReason(changed, v1::MODEL_NOT_FOUND)) co_return changed;
  CO_RETURN_IF_ERROR((co_await Find(call, model.id())).status());
  co_return Error(v1::MODEL_NOT_READY, absl::StrCat("'", model.id(), "' got other files meanwhile"), {{"model_id", model.id()}});
}

Task<absl::Status> ModelStore::Delete(const CallContext& call, const std::string& id, Also also) {
  co_return co_await Change(call, id, pg::Operation{kDelete, pg::Values{id}, nullptr}, std::move(also));
}

Task<absl::Status> ModelStore::Change(const CallContext& call, std::string id, pg::Operation change, Also also) {
  const pg::Database::Body body = [&id, &change, &also](pg::Transaction& transaction) -> Task<absl::Status> {
    CO_ASSIGN_OR_RETURN(const pg::Result changed, co_await transaction.Query(change));
    if (changed.affected() == 0) co_return NoSuchModel(id);
    for (const pg::Operation& operation : also) {
      CO_RETURN_IF_ERROR((co_await transaction.Query(operation)).status());
    }
    co_return absl::OkStatus();
  };
  co_return co_await db_.Transact(call, body);
}

}  // namespace aima::model
