#include "services/model/registrar.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <filesystem>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/digest.h"
#include "services/model/estimate.h"
#include "services/model/examination.h"

namespace aima::model {

namespace {

constexpr size_t kMaxId = 63;
constexpr int kInsertAttempts = 5;

absl::Status Exists(const v1::Model& model, const std::string& why) {
  return Error(v1::MODEL_EXISTS, why, {{"model_id", model.id()}});
}

v1::Model ModelOf(const Inspection& found) {
  v1::Model model;
  model.set_path(found.path);
  model.set_size(found.size);
  model.set_format(found.format);
  for (const v1::ModelFile& file : found.files) *model.add_files() = file;
  return model;
}

bool SameFiles(const v1::Model& a, const v1::Model& b) {
  if (!a.digest().empty() && !b.digest().empty()) return a.digest() == b.digest();
  return a.size() == b.size() && a.files_size() == b.files_size();
}

}  // namespace

std::string SlugOf(const std::string& name) {
  std::string slug;
  for (const char c : name) {
    const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(c));
    if (plain || ((c == '.' || c == '_') && !slug.empty() && slug.back() != '-')) {
      slug.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    } else if (!slug.empty() && absl::ascii_isalnum(static_cast<unsigned char>(slug.back()))) {
      slug.push_back('-');
    }
    if (slug.size() == kMaxId) break;
  }
  while (!slug.empty() && !absl::ascii_isalnum(static_cast<unsigned char>(slug.back()))) slug.pop_back();
  return slug;
}

std::string FreeId(const std::vector<std::string>& taken, const std::string& slug, const std::string& quantization) {
  const auto free = [&taken](const std::string& id) {
    return std::find(taken.begin(), taken.end(), id) == taken.end();
  };
  if (free(slug)) return slug;
  const std::string packed = absl::StrCat(slug, "-", SlugOf(quantization));
  if (!quantization.empty() && free(packed)) return packed;
  for (int number = 2;; ++number) {
    const std::string numbered = absl::StrCat(slug, "-", number);
    if (free(numbered)) return numbered;
  }
}

Task<absl::StatusOr<Registrar::Registered>> Registrar::Register(const CallContext& call, Candidate candidate,
                                                                Reply reply) {
  v1::Model model;
  if (!candidate.path.empty()) {
    CO_ASSIGN_OR_RETURN(model, co_await ReadFiles(call, candidate));
    CO_ASSIGN_OR_RETURN(const std::optional<v1::Model> known, co_await FindKnown(call, model));
    if (known) {
      if (candidate.known_allowed) co_return Registered{*known, false};
      co_return Exists(*known, absl::StrCat("these files are the model '", known->id(), "' already"));
    }
    model.set_status(v1::MODEL_STATUS_READY);
  } else {
    model.set_type(candidate.type);
    model.set_format(candidate.format);
    model.set_status(v1::MODEL_STATUS_PENDING);
  }
  if (!candidate.name.empty()) model.set_name(CleanText(candidate.name, 200));
  if (!candidate.name.empty() && !candidate.path.empty() && candidate.known_allowed) {
    absl::StatusOr<v1::Model> pending = co_await store_.Find(call, SlugOf(model.name()));
    if (pending.ok() && pending->path().empty() && pending->status() != v1::MODEL_STATUS_PULLING) {
      if (candidate.type != v1::MODEL_TYPE_UNSPECIFIED) pending->set_type(candidate.type);
      co_return co_await Fill(call, *std::move(pending), std::move(model), std::move(reply));
    }
  }
  model.set_source(CleanText(candidate.source, 500));
  co_return co_await Insert(call, std::move(model), !candidate.name.empty(), reply);
}

Task<absl::StatusOr<v1::Model>> Registrar::ReadFiles(const CallContext& call, const Candidate& candidate) {
  CO_ASSIGN_OR_RETURN(const Inspection found, co_await threads_.RunQuick([roots = roots_, path = candidate.path] {
    return Inspect(roots, path);
  }));
  if (candidate.format != v1::MODEL_FORMAT_UNSPECIFIED && candidate.format != found.format) {
    co_return InvalidInput("format", absl::StrCat("'", candidate.path, "' is of another format"));
  }
  const v1::ModelType type = candidate.type != v1::MODEL_TYPE_UNSPECIFIED ? candidate.type : found.type;
  if (type == v1::MODEL_TYPE_UNSPECIFIED) {
    co_return Error(v1::MODEL_TYPE_UNKNOWN,
                    absl::StrCat("the files of '", found.path, "' do not tell what the model does"),
                    {{"path", found.path}});
  }
  v1::Model model = ModelOf(found);
  if (candidate.copy) {
    const auto adopt = [roots = roots_, storage = storage_, found](const FileThreads::GoOn& go_on) {
      return storage.Adopt(roots, found, go_on);
    };
    CO_ASSIGN_OR_RETURN(model, co_await threads_.RunSlow(call.deadline, adopt));
  } else if (found.size <= kDigestFirst) {
    const auto examine = [roots = roots_, model](const FileThreads::GoOn& go_on) {
      return Examine(model, roots, go_on);
    };
    CO_ASSIGN_OR_RETURN(const Examination examined, co_await threads_.RunSlow(call.deadline, examine));
    if (!examined.issues.empty()) {
      co_return Error(v1::MODEL_FILE_CORRUPT, examined.issues[0], {{"path", found.path}});
    }
    model.clear_files();
    for (const v1::ModelFile& file : examined.files) *model.add_files() = file;
    model.set_digest(examined.digest);
  }
  *model.mutable_details() = found.details;
  if (!found.details.projector_path().empty() && candidate.copy) {
    for (const v1::ModelFile& file : model.files()) {
      const std::string name = std::filesystem::path(found.details.projector_path()).filename();
      if (file.path().ends_with("/" + name)) model.mutable_details()->set_projector_path(file.path());
    }
  }
  model.set_type(type);
  model.set_name(found.name);
  co_return model;
}

Task<absl::StatusOr<std::optional<v1::Model>>> Registrar::FindKnown(const CallContext& call,
                                                                    const v1::Model& model) {
  CO_ASSIGN_OR_RETURN(std::optional<v1::Model> at_path, co_await store_.FindByPath(call, model.path()));
  if (at_path) {
    if (SameFiles(*at_path, model)) co_return at_path;
    co_return Exists(*at_path, absl::StrCat("'", model.path(), "' is the model '", at_path->id(),
                                            "', which was imported when its files were different"));
  }
  if (model.digest().empty()) co_return std::optional<v1::Model>();
  CO_ASSIGN_OR_RETURN(std::optional<v1::Model> same, co_await store_.FindByDigest(call, model.digest()));
  std::error_code ignored;
  // A model whose files are gone does not stand in the way of those that are there.
  if (same && !std::filesystem::exists(same->path(), ignored)) same.reset();
  co_return same;
}

Task<absl::StatusOr<std::string>> Registrar::ChooseId(const CallContext& call, const v1::Model& model, bool named) {
  std::string slug = SlugOf(model.name());
  if (slug.empty()) {
    if (named) co_return InvalidInput("name", "has no letters or digits of which an id could be made");
    slug = "model";
  }
  CO_ASSIGN_OR_RETURN(const std::vector<std::string> taken, co_await store_.IdsLike(call, slug));
  const std::string free = FreeId(taken, slug, model.details().quantization());
  if (free == slug || !named) co_return free;
  v1::Model other;
  other.set_id(slug);
  co_return Exists(other, absl::StrCat("there is a model '", slug, "' already"));
}

Task<absl::StatusOr<Registrar::Registered>> Registrar::Fill(const CallContext& call, v1::Model pending,
                                                            v1::Model model, Reply reply) {
  if (pending.format() != v1::MODEL_FORMAT_UNSPECIFIED && pending.format() != model.format()) {
    co_return InvalidInput("path", absl::StrCat("leads to files of another format than the model '", pending.id(),
                                                "' is to have"));
  }
  model.set_id(pending.id());
  model.set_name(pending.name());
  if (pending.type() != v1::MODEL_TYPE_UNSPECIFIED) model.set_type(pending.type());
  model.set_source(pending.source().empty() ? "local" : pending.source());
  *model.mutable_create_time() = pending.create_time();
  *model.mutable_update_time() = TimestampOf(absl::Now());
  SetRequirements(model);
  v1::ModelVerified verified;
  verified.set_model_id(model.id());
  verified.set_valid(true);
  ModelStore::Also also;
  also.push_back(outbox_.Emit(call, verified));
  also.push_back(reply(model));
  const absl::Status filled = co_await store_.Fill(call, model, std::move(also));
  if (HasReason(filled, v1::MODEL_NOT_FOUND)) {
    co_return Exists(model, absl::StrCat("the model '", model.id(), "' has got files or was deleted meanwhile"));
  }
  CO_RETURN_IF_ERROR(filled);
  co_return Registered{model, true};
}

Task<absl::StatusOr<Registrar::Registered>> Registrar::Insert(const CallContext& call, v1::Model model, bool named,
                                                              const Reply& reply) {
  *model.mutable_create_time() = TimestampOf(absl::Now());
  *model.mutable_update_time() = model.create_time();
  for (int attempt = 1;; ++attempt) {
    CO_ASSIGN_OR_RETURN(const std::string id, co_await ChooseId(call, model, named));
    model.set_id(id);
    SetRequirements(model);
    v1::ModelCreated created;
    *created.mutable_model() = model;
    ModelStore::Also also;
    also.push_back(outbox_.Emit(call, created));
    also.push_back(reply(model));
    const absl::Status status = co_await store_.Insert(call, model, std::move(also));
    if (status.ok()) co_return Registered{model, true};
    if (pg::SqlState(status) != pg::kUniqueViolation || attempt == kInsertAttempts) co_return status;
    // Somebody else took the id, or imported the same files, in between.
    if (!model.path().empty()) {
      CO_ASSIGN_OR_RETURN(const std::optional<v1::Model> known, co_await FindKnown(call, model));
      if (known) co_return Registered{*known, false};
    }
  }
}

}  // namespace aima::model
