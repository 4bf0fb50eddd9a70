#include "services/model/model_units.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/compatibility.h"
#include "services/model/estimate.h"
#include "services/model/examination.h"
#include "services/model/hub_source.h"
#include "services/model/wish.h"

namespace aima::model {

namespace asio = boost::asio;

namespace {

// What engines tell of themselves changes when their files do.
constexpr absl::Duration kTrustEngines = absl::Minutes(1);
constexpr absl::Duration kAskEnginesAgain = absl::Seconds(1);
constexpr absl::Duration kEnginesPatience = absl::Seconds(2);

constexpr absl::Duration kDigestRetry = absl::Seconds(10);

std::vector<std::string> WithStorage(std::vector<std::string> roots, const std::string& storage_dir) {
  if (!roots.empty()) roots.push_back(storage_dir);
  return roots;
}

// What a model of this type is asked with; empty if that is not known.
std::string UnitFor(const std::string& type) {
  static const auto* const units = new std::map<std::string, std::string>{
      {"asr", "inference.transcribe"},       {"tts", "inference.synthesize"},  {"image", "inference.generate_image"},
      {"video", "inference.generate_video"}, {"detection", "inference.detect"}, {"rerank", "inference.rerank"},
      {"embedding", "inference.embed"},      {"llm", "inference.chat"},        {"vlm", "inference.chat"}};
  const auto found = units->find(type);
  return found == units->end() ? "" : found->second;
}

// The same digest, however it was written.
std::string PlainDigest(const std::string& checksum) {
  return absl::AsciiStrToLower(absl::StripPrefix(checksum, "sha256:"));
}

}  // namespace

ModelUnits::ModelUnits(Loop& loop, const Parts& parts, const Settings& settings)
    : outbox_(parts.outbox),
      users_(parts.users),
      pulls_(parts.pulls),
      store_(parts.db),
      storage_(settings.storage_dir),
      roots_(WithStorage(settings.import_roots, settings.storage_dir)),
      registrar_(store_, outbox_, threads_, roots_, storage_),
      wake_(loop) {
  storage_.Sweep();
}

Task<absl::StatusOr<v1::CreateResponse>> ModelUnits::Create(CallContext& call, const v1::CreateRequest& request) {
  Candidate candidate;
  candidate.path = request.path();
  candidate.name = request.name();
  candidate.type = request.type();
  candidate.format = request.format();
  candidate.source = request.source().empty() && !request.path().empty() ? "local" : request.source();
  candidate.known_allowed = false;
  const auto answer = [](const v1::Model& model) {
    v1::CreateResponse response;
    response.set_model_id(model.id());
    *response.mutable_model() = model;
    return response;
  };
  const Registrar::Reply reply = [&](const v1::Model& model) { return outbox_.Remember(call, answer(model)); };
  CO_ASSIGN_OR_RETURN(const Registrar::Registered registered,
                      co_await registrar_.Register(call, std::move(candidate), reply));
  if (!registered.created) {
    co_return Error(v1::MODEL_EXISTS, absl::StrCat("these files are the model '", registered.model.id(), "' already"),
                    {{"model_id", registered.model.id()}});
  }
  WantDigest(registered.model);
  co_return answer(registered.model);
}

Task<absl::StatusOr<v1::ImportResponse>> ModelUnits::Import(CallContext& call, const v1::ImportRequest& request) {
  if (!request.auto_detect() && request.type() == v1::MODEL_TYPE_UNSPECIFIED) {
    co_return InvalidInput("type", "must be given when auto_detect is false");
  }
  Candidate candidate;
  candidate.path = request.path();
  candidate.name = request.name();
  candidate.type = request.type();
  candidate.source = "local";
  candidate.copy = request.copy();
  const auto answer = [](const v1::Model& model, bool created) {
    v1::ImportResponse response;
    response.set_model_id(model.id());
    *response.mutable_model() = model;
    response.set_created(created);
    return response;
  };
  co_await RefreshEngines(call);
  // As `model.get` answers, also where a stored answer is repeated.
  const Registrar::Reply reply = [&](v1::Model model) {
    SetRequirements(model, FactsOf(model));
    return outbox_.Remember(call, answer(model, true));
  };
  CO_ASSIGN_OR_RETURN(Registrar::Registered registered,
                      co_await registrar_.Register(call, std::move(candidate), reply));
  SetRequirements(registered.model, FactsOf(registered.model));
  WantDigest(registered.model);
  co_return answer(registered.model, registered.created);
}

Task<absl::Status> ModelUnits::CheckUnused(const CallContext& call, const std::string& model_id) {
  const absl::StatusOr<std::vector<std::string>> instances = co_await users_.InstancesOf(call, model_id);
  if (!instances.ok()) {
    co_return Error(unit::v1::UNAVAILABLE,
                    absl::StrCat("cannot find out whether an engine serves '", model_id,
                                 "': ", instances.status().message(), "; force deletes it anyway"),
                    {{"model_id", model_id}});
  }
  if (instances->empty()) co_return absl::OkStatus();
  const std::string names = absl::StrJoin(*instances, ", ");
  co_return Error(v1::MODEL_IN_USE, absl::StrCat("'", model_id, "' is served by: ", names),
                  {{"model_id", model_id}, {"instances", names}});
}

Task<absl::StatusOr<v1::DeleteResponse>> ModelUnits::Delete(CallContext& call, const v1::DeleteRequest& request) {
  CO_ASSIGN_OR_RETURN(const v1::Model model, co_await store_.Find(call, request.model_id()));
  if (!request.force()) CO_RETURN_IF_ERROR(co_await CheckUnused(call, model.id()));
  v1::DeleteResponse response;
  response.set_success(true);
  // A record that was made for a pull goes with it.
  CO_ASSIGN_OR_RETURN(const bool cancelled, co_await pulls_.Cancel(call, model.id()));
  if (cancelled && HasReason((co_await store_.Find(call, model.id())).status(), v1::MODEL_NOT_FOUND))
    co_return response;
  v1::ModelDeleted deleted;
  deleted.set_model_id(model.id());
  response.set_freed_bytes(model.stored() ? model.size() : 0);
  ModelStore::Also also;
  also.push_back(outbox_.Emit(call, deleted));
  also.push_back(outbox_.Remember(call, response));
  CO_RETURN_IF_ERROR(co_await store_.Delete(call, model.id(), std::move(also)));
  // After the commit: files without a record take room, a record without files would be a lie.
  response.set_freed_bytes(co_await RemoveFiles(call, model));
  co_return response;
}

Task<int64_t> ModelUnits::RemoveFiles(const CallContext& call, v1::Model model) {
  // They stay if they have been imported again meanwhile.
  const absl::StatusOr<std::optional<v1::Model>> again = co_await store_.FindByPath(call, model.path());
  if (again.ok() && *again) co_return 0;
  absl::StatusOr<int64_t> freed = again.ok() ? absl::StatusOr<int64_t>(0) : again.status();
  if (again.ok() && pulls_.IsPulled(model.path())) {
    freed = co_await pulls_.Forget(model.id(), model.path());
  } else if (again.ok()) {
    freed = co_await threads_.RunQuick([storage = storage_, model] { return storage.Remove(model); });
  }
  if (!freed.ok())
    spdlog::warn("files of deleted model {} stay: {}", model.id(), std::string(freed.status().message()));
  co_return freed.value_or(0);
}

Task<absl::StatusOr<v1::VerifyResponse>> ModelUnits::Verify(CallContext& call, const v1::VerifyRequest& request) {
  CO_ASSIGN_OR_RETURN(v1::Model model, co_await store_.Find(call, request.model_id()));
  if (model.files().empty() || model.status() == v1::MODEL_STATUS_PULLING) {
    co_return Error(v1::MODEL_NOT_READY, absl::StrCat("'", model.id(), "' has no files that could be verified"),
                    {{"model_id", model.id()}});
  }
  co_return co_await VerifyModel(call, std::move(model), PlainDigest(request.checksum()));
}

Task<absl::StatusOr<v1::VerifyResponse>> ModelUnits::VerifyModel(const CallContext& call, v1::Model model,
                                                                 const std::string& checksum) {
  CO_ASSIGN_OR_RETURN(const Examination found,
                      co_await threads_.RunSlow(call.deadline, [roots = roots_, model](const FileThreads::GoOn& go_on) {
                        return Examine(model, roots, go_on);
                      }));
  // Files that differ from the record make the model unusable; a checksum that the caller expected does not.
  model.set_error(absl::StrJoin(found.issues, "; "));
  model.set_status(found.issues.empty() ? v1::MODEL_STATUS_READY : v1::MODEL_STATUS_ERROR);
  if (found.issues.empty()) {
    model.set_digest(found.digest);
    model.clear_files();
    for (const v1::ModelFile& file : found.files) *model.add_files() = file;
  }
  *model.mutable_update_time() = *model.mutable_verify_time() = TimestampOf(absl::Now());

  v1::VerifyResponse response;
  for (const std::string& issue : found.issues) response.add_issues(issue);
  if (!checksum.empty() && checksum != found.digest) {
    response.add_issues(absl::StrCat("the model's SHA-256 is ", found.digest.empty() ? "not known" : found.digest,
                                     " instead of ", checksum));
  }
  response.set_valid(response.issues().empty());
  response.set_digest(found.digest);
  v1::ModelVerified verified;
  verified.set_model_id(model.id());
  verified.set_valid(response.valid());
  *verified.mutable_issues() = response.issues();
  ModelStore::Also also;
  also.push_back(outbox_.Emit(call, verified));
  also.push_back(outbox_.Remember(call, response));
  CO_RETURN_IF_ERROR(co_await store_.Update(call, model, std::move(also)));
  co_return response;
}

Task<absl::StatusOr<v1::Model>> ModelUnits::Get(CallContext& call, const v1::GetRequest& request) {
  absl::StatusOr<v1::Model> model = co_await store_.Find(call, request.model_id());
  if (!model.ok() && !HasReason(model.status(), v1::MODEL_NOT_FOUND)) co_return model.status();
  co_await RefreshEngines(call);
  if (!model.ok()) co_return NotFound(request.model_id(), model.status());
  SetRequirements(*model, FactsOf(*model));
  co_return model;
}

Task<absl::StatusOr<v1::ListResponse>> ModelUnits::List(CallContext& call, const v1::ListRequest& request) {
  ModelFilter filter;
  filter.type = request.type();
  filter.format = request.format();
  filter.status = request.status();
  ModelStore::Page page;
  page.limit = request.limit() + 1;  // one more tells whether there are more
  page.offset = request.offset();
  page.after = request.after();
  CO_ASSIGN_OR_RETURN(std::vector<v1::Model> models, co_await store_.List(call, filter, std::move(page)));
  CO_ASSIGN_OR_RETURN(const int64_t total, co_await store_.Count(call, filter));
  v1::ListResponse response;
  response.set_total(total);
  if (models.size() > static_cast<size_t>(request.limit())) {
    models.pop_back();
    response.set_next_after(models.back().id());
  }
  co_await RefreshEngines(call);
  for (v1::Model& model : models) {
    SetRequirements(model, FactsOf(model));
    *response.add_items() = std::move(model);
  }
  co_return response;
}

Task<absl::StatusOr<v1::SearchResponse>> ModelUnits::Search(CallContext& call, const v1::SearchRequest& request) {
  ModelStore::Search search;
  search.words = absl::StrSplit(request.query(), absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  search.source = request.source();
  search.type = request.type();
  search.limit = request.limit();
  CO_ASSIGN_OR_RETURN(std::vector<v1::Model> models, co_await store_.Find(call, std::move(search)));
  v1::SearchResponse response;
  co_await RefreshEngines(call);
  for (v1::Model& model : models) {
    SetRequirements(model, FactsOf(model));
    *response.add_results() = std::move(model);
  }
  const v1::ModelSource source = SourceOfName(request.source());
  if (!request.source().empty() && source == v1::MODEL_SOURCE_UNSPECIFIED)
    co_return response;  // local, or somebody's own
  const Pulls::Offers found = co_await pulls_.Search(call, source, request.query(), request.limit());
  for (const v1::Offer& offer : found.offers) {
    const v1::ModelType type = TypeOfTask(offer.task());
    if (request.type() != v1::MODEL_TYPE_UNSPECIFIED && type != v1::MODEL_TYPE_UNSPECIFIED && type != request.type())
      continue;
    *response.add_offers() = offer;
  }
  for (const v1::SourceProblem& problem : found.problems) *response.add_problems() = problem;
  co_return response;
}

Task<absl::StatusOr<v1::EstimateResourcesResponse>> ModelUnits::EstimateResources(
    CallContext& call, const v1::EstimateResourcesRequest& request) {
  CO_ASSIGN_OR_RETURN(const v1::Model model, co_await store_.Find(call, request.model_id()));
  if (model.files().empty()) {
    co_return Error(v1::MODEL_NOT_READY,
                    absl::StrCat("'", model.id(), "' has no files whose needs could be estimated"),
                    {{"model_id", model.id()}});
  }
  Serving serving;
  serving.context_length = request.context_length();
  serving.parallel = request.parallel();
  co_await RefreshEngines(call);
  const bool known = std::any_of(engines_.begin(), engines_.end(),
                                 [&](const KnownEngine& engine) { return engine.name == request.engine(); });
  if (!request.engine().empty() && !engines_.empty() && !known) {
    co_return InvalidInput("engine", absl::StrCat("there is no engine '", request.engine(), "'"));
  }
  co_return Estimate(model, serving, FactsOf(model, request.engine()));
}

Task<void> ModelUnits::RefreshEngines(const CallContext& call) {
  if (absl::Now() < engines_fresh_until_) co_return;
  engines_fresh_until_ = absl::Now() + kAskEnginesAgain;
  CallContext brief = call;
  brief.deadline = std::min(call.deadline, absl::Now() + kEnginesPatience);
  absl::StatusOr<std::vector<KnownEngine>> engines = co_await users_.Engines(brief);
  if (!engines.ok()) co_return;
  engines_ = *std::move(engines);
  engines_fresh_until_ = absl::Now() + kTrustEngines;
}

absl::Status ModelUnits::NotFound(const std::string& model_id, absl::Status otherwise) const {
  for (const KnownEngine& engine : engines_) {
    const auto own = engine.own_models.find(model_id);
    if (own == engine.own_models.end()) continue;
    const std::string unit = UnitFor(own->second);
    std::string message = absl::StrCat("there is no model '", model_id, "' by itself: the engine '", engine.name,
                                       "' brings it along");
    if (!unit.empty()) absl::StrAppend(&message, "; it is of type ", own->second, ", ask it with ", unit);
    if (!engine.installed) absl::StrAppend(&message, ", once engine.install has got the engine");
    return Error(v1::MODEL_NOT_FOUND, absl::StrCat(message, "; inference.models lists all models that can be asked"),
                 {{"model_id", model_id}, {"engine", engine.name}});
  }
  return otherwise;
}

EngineFacts ModelUnits::FactsOf(const v1::Model& model, const std::string& engine) const {
  const EngineFacts* facts = FactsFor(model, engine, engines_);
  return facts == nullptr ? EngineFacts() : *facts;
}

Task<absl::StatusOr<v1::CompatibilityResponse>> ModelUnits::Compatibility(CallContext& call,
                                                                          const v1::CompatibilityRequest& request) {
  ModelStore::Page page;
  page.limit = request.limit() + 1;
  page.after = request.after();
  CO_ASSIGN_OR_RETURN(std::vector<v1::Model> models, co_await store_.List(call, ModelFilter{}, std::move(page)));
  v1::CompatibilityResponse response;
  if (models.size() > static_cast<size_t>(request.limit())) {
    models.pop_back();
    response.set_next_after(models.back().id());
  }
  const absl::StatusOr<std::vector<KnownEngine>> engines = co_await users_.Engines(call);
  for (const v1::Model& model : models) {
    v1::ModelCompatibility& item = *response.add_items();
    item = CompatibilityOf(model, engines.value_or(std::vector<KnownEngine>()));
    if (!engines.ok())
      item.set_note(absl::StrCat(item.note(), item.note().empty() ? "" : " ",
                                 "Which engines this machine has cannot be found out now."));
  }
  co_return response;
}

void ModelUnits::WantDigest(const v1::Model& model) {
  if (model.path().empty() || !model.digest().empty()) return;
  digest_wanted_ = true;
  wake_.cancel();
}

Task<void> ModelUnits::ComputeDigests(CallContext call) {
  while (true) {
    digest_wanted_ = false;
    const absl::Status status = co_await ComputeDigestsOnce(call);
    if (!status.ok()) spdlog::warn("digests of models: {}", std::string(status.message()));
    if (digest_wanted_) continue;
    wake_.expires_after(absl::ToChronoNanoseconds(status.ok() ? absl::Hours(1) : kDigestRetry));
    co_await wake_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

Task<absl::Status> ModelUnits::ComputeDigestsOnce(const CallContext& call) {
  CO_ASSIGN_OR_RETURN(const std::vector<std::string> ids, co_await store_.WithoutDigest(call));
  for (const std::string& id : ids) {
    absl::StatusOr<v1::Model> model = co_await store_.Find(call, id);
    if (HasReason(model.status(), v1::MODEL_NOT_FOUND)) continue;
    if (!model.ok()) co_return model.status();
    const absl::StatusOr<v1::VerifyResponse> verified = co_await VerifyModel(call, *std::move(model), "");
    if (!verified.ok() && !HasReason(verified.status(), v1::MODEL_NOT_FOUND)) co_return verified.status();
  }
  co_return absl::OkStatus();
}

}  // namespace aima::model
