// Models in PostgreSQL.
#pragma once

#include <absl/status/statusor.h>

#include <optional>
#include <string>
#include <vector>

#include "aima/model/v1/model.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/pg/database.h"

namespace aima::model {

// Which models. Zero and empty fit all.
struct ModelFilter {
  v1::ModelType type = v1::MODEL_TYPE_UNSPECIFIED;
  v1::ModelFormat format = v1::MODEL_FORMAT_UNSPECIFIED;
  v1::ModelStatus status = v1::MODEL_STATUS_UNSPECIFIED;
};

// Models have all their fields but requirements, which follow from the others. Changes take the operations that are
// to be committed with them: events and replies.
class ModelStore {
 public:
  using Also = std::vector<pg::Operation>;

  explicit ModelStore(pg::Database& db) : db_(db) {}

  // MODEL_NOT_FOUND if there is none.
  Task<absl::StatusOr<v1::Model>> Find(const CallContext& call, const std::string& id);
  Task<absl::StatusOr<std::optional<v1::Model>>> FindByPath(const CallContext& call, const std::string& path);
  Task<absl::StatusOr<std::optional<v1::Model>>> FindByDigest(const CallContext& call, const std::string& digest);

  // In the order of ids, those after `after`.
  struct Page {
    int limit = 100;
    int offset = 0;
    std::string after;
  };
  Task<absl::StatusOr<std::vector<v1::Model>>> List(const CallContext& call, const ModelFilter& filter, Page page);
  Task<absl::StatusOr<int64_t>> Count(const CallContext& call, const ModelFilter& filter);

  // Those whose id, name or architecture contain every one of the words, the closest first.
  struct Search {
    std::vector<std::string> words;
    std::string source;  // empty is any
    v1::ModelType type = v1::MODEL_TYPE_UNSPECIFIED;
    int limit = 20;
  };
  Task<absl::StatusOr<std::vector<v1::Model>>> Find(const CallContext& call, Search search);

  // Ids that are `id`, or `id` and a number after it.
  Task<absl::StatusOr<std::vector<std::string>>> IdsLike(const CallContext& call, const std::string& id);
  // Ids of models that are ready and whose digest is not known.
  Task<absl::StatusOr<std::vector<std::string>>> WithoutDigest(const CallContext& call);

  // Fails with SQLSTATE 23505 if there is a model of this id or path.
  Task<absl::Status> Insert(const CallContext& call, const v1::Model& model, Also also);
  // Gives a pending model its files and all that follows from them. MODEL_NOT_FOUND if there is no such model, or it
  // has files already.
  Task<absl::Status> Fill(const CallContext& call, const v1::Model& model, Also also);
  // Gives a model its files, be they its first or others than before. MODEL_NOT_FOUND if it has gone meanwhile.
  Task<absl::Status> Place(const CallContext& call, const v1::Model& model, Also also);
  // For a transaction that others begin: the record of a new model; the status of one without files.
  static pg::Operation InsertOf(const v1::Model& model);
  static pg::Operation SetStatusOf(const std::string& id, v1::ModelStatus status, const std::string& error);
  // MODEL_NOT_FOUND if there is none.
  Task<absl::Status> SetPinned(const CallContext& call, const std::string& id, bool pinned, Also also);
  Task<absl::Status> SetUsed(const CallContext& call, const std::string& id);
  // Models whose files are AIMA's own, the one that was not used for longest first.
  Task<absl::StatusOr<std::vector<v1::Model>>> Stored(const CallContext& call);
  // Writes status, error, digest, files and times of what was `read` before. MODEL_NOT_FOUND if it has gone meanwhile,
  // MODEL_NOT_READY if it was changed.
  Task<absl::Status> Update(const CallContext& call, const v1::Model& read, const v1::Model& model, Also also);
  // MODEL_NOT_FOUND if it has gone already.
  Task<absl::Status> Delete(const CallContext& call, const std::string& id, Also also);

 private:
  Task<absl::StatusOr<std::vector<v1::Model>>> Read(const CallContext& call, const pg::Statement& statement,
                                                    pg::Values values);
  Task<absl::Status> Change(const CallContext& call, std::string id, pg::Operation change, Also also);

  pg::Database& db_;
};

// As the records have it, to the microsecond.
google::protobuf::Timestamp TimestampOf(absl::Time time);

// MODEL_NOT_FOUND for this id.
absl::Status NoSuchModel(const std::string& id);

}  // namespace aima::model
