// Makes records of models, with files and without.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>

#include "aima/model/v1/model.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "libs/events/outbox.h"
#include "services/model/file_threads.h"
#include "services/model/inspect.h"
#include "services/model/model_store.h"
#include "services/model/storage.h"

namespace aima::model {

// What a record is to be made of.
struct Candidate {
  std::string path;  // empty: no files yet
  std::string name;  // empty: from the files
  v1::ModelType type = v1::MODEL_TYPE_UNSPECIFIED;  // unspecified: from the files
  v1::ModelFormat format = v1::MODEL_FORMAT_UNSPECIFIED;
  std::string source;
  bool copy = false;
  // Files that are a model already are that model, and a pending record of this name gets them; else both are
  // errors.
  bool known_allowed = true;
};

// Digests of models up to this size are computed before the record is made, those of larger ones afterwards.
inline constexpr int64_t kDigestFirst = int64_t{2} << 30;

class Registrar {
 public:
  Registrar(ModelStore& store, events::Outbox& outbox, FileThreads& threads, const ImportRoots& roots,
            const Storage& storage)
      : store_(store), outbox_(outbox), threads_(threads), roots_(roots), storage_(storage) {}

  // Makes the record and emits model.created, or fills a pending one; `reply` makes the reply that is remembered with it.
  struct Registered {
    v1::Model model;
    bool created = false;
  };
  using Reply = std::function<pg::Operation(const v1::Model&)>;
  Task<absl::StatusOr<Registered>> Register(const CallContext& call, Candidate candidate, Reply reply);

 private:
  Task<absl::StatusOr<v1::Model>> ReadFiles(const CallContext& call, const Candidate& candidate);
  // The model that these files are already, if any.
  Task<absl::StatusOr<std::optional<v1::Model>>> FindKnown(const CallContext& call, const v1::Model& model);
  Task<absl::StatusOr<std::string>> ChooseId(const CallContext& call, const v1::Model& model, bool named);
  // Gives `pending` the files of `model`, and emits model.verified.
  Task<absl::StatusOr<Registered>> Fill(const CallContext& call, v1::Model pending, v1::Model model, Reply reply);
  Task<absl::StatusOr<Registered>> Insert(const CallContext& call, v1::Model model, bool named, const Reply& reply);

  ModelStore& store_;
  events::Outbox& outbox_;
  FileThreads& threads_;
  const ImportRoots& roots_;
  const Storage& storage_;
};

// Id made of a name: lower case, with dashes for what is no letter or digit: "SmolLM2 135M" is smollm2-135m. Empty
// if the name has neither.
std::string SlugOf(const std::string& name);

// `slug` itself, or with the packing or a number behind it, such that none of `taken` is the same.
std::string FreeId(const std::vector<std::string>& taken, const std::string& slug, const std::string& quantization);

}  // namespace aima::model
