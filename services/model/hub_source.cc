#include "services/model/hub_source.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>

#include <array>
#include <fstream>
#include <sstream>
#include <iterator>
#include <set>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/byte_source.h"
#include "services/model/digest.h"
#include "services/model/wish.h"

namespace aima::model {

namespace {

constexpr size_t kFilesMax = 2000;
constexpr size_t kTokenMax = 4096;

std::string Described(const Wish& wish) { return absl::StrCat("'", wish.repo, "' at '", wish.tag, "'"); }

}  // namespace

v1::ModelType TypeOfTask(const std::string& task) {
  constexpr std::array<std::pair<const char*, v1::ModelType>, 14> kTasks = {{
      {"text-generation", v1::MODEL_TYPE_LLM},
      {"text2text-generation", v1::MODEL_TYPE_LLM},
      {"image-text-to-text", v1::MODEL_TYPE_VLM},
      {"feature-extraction", v1::MODEL_TYPE_EMBEDDING},
      {"sentence-similarity", v1::MODEL_TYPE_EMBEDDING},
      {"text-embedding", v1::MODEL_TYPE_EMBEDDING},
      {"text-ranking", v1::MODEL_TYPE_RERANK},
      {"automatic-speech-recognition", v1::MODEL_TYPE_ASR},
      {"text-to-speech", v1::MODEL_TYPE_TTS},
      {"text-to-audio", v1::MODEL_TYPE_TTS},
      {"text-to-image", v1::MODEL_TYPE_IMAGE},
      {"text-to-image-synthesis", v1::MODEL_TYPE_IMAGE},
      {"text-to-video", v1::MODEL_TYPE_VIDEO},
      {"object-detection", v1::MODEL_TYPE_DETECTION},
  }};
  for (const auto& [name, type] : kTasks) {
    if (task == name) return type;
  }
  return v1::MODEL_TYPE_UNSPECIFIED;
}

absl::StatusOr<v1::PullPlan> PlanOfFiles(const std::string& base, const Wish& wish, const FileChoice& choice,
                                         const std::function<std::string(const std::string& name)>& url_of) {
  if (choice.files.size() > kFilesMax)
    return Nonsense(base, absl::StrCat("a model of ", choice.files.size(), " files"));
  v1::PullPlan plan;
  plan.set_name(NameFor(wish));
  plan.set_main(choice.main);
  std::set<std::string> names;
  int64_t total = 0;
  for (const RepositoryFile& chosen : choice.files) {
    if (!IsSafeFileName(chosen.name) || !names.insert(chosen.name).second) {
      return Nonsense(base, absl::StrCat("'", CleanText(chosen.name, 200), "' cannot be the name of a file"));
    }
    if (chosen.size < 0 || (chosen.sha256.empty() ? !IsHex(chosen.git_id, 40) : !IsHex(chosen.sha256, 64))) {
      return Nonsense(base, absl::StrCat("it tells no digest of '", chosen.name, "'"));
    }
    if (chosen.size > kModelBytesMax || (total += chosen.size) > kModelBytesMax) {
      return Nonsense(base, absl::StrCat("with '", chosen.name, "' of ", chosen.size, " bytes the model is too large"));
    }
    v1::PullPlan::File& file = *plan.add_files();
    file.set_name(chosen.name);
    file.set_size(chosen.size);
    file.set_sha256(chosen.sha256);
    if (chosen.sha256.empty()) file.set_git_id(chosen.git_id);
    file.set_url(url_of(chosen.name));
  }
  return plan;
}

absl::StatusOr<http::Headers> HuggingFaceSource::Headers(const std::string& mirror) const {
  http::Headers headers;
  if (token_file_.empty() || !mirror.empty()) return headers;
  std::ifstream file(token_file_);
  std::ostringstream text;
  text << file.rdbuf();
  const std::string token(absl::StripAsciiWhitespace(text.str()));
  if (token.empty() || token.size() > kTokenMax || token.find_first_of(" \r\n\t") != std::string::npos) {
    return Error(v1::MODEL_SOURCE_DENIED,
                 absl::StrCat("'", token_file_, "' (model.huggingface_token_file) holds no token"), {});
  }
  headers.Set("authorization", "Bearer " + token);
  return headers;
}

Task<absl::StatusOr<http::Headers>> HuggingFaceSource::Credentials(const Wish& wish) { co_return Headers(wish.mirror); }

Task<absl::StatusOr<v1::PullPlan>> HuggingFaceSource::Plan(const Wish& wish) {
  const std::string base = wish.mirror.empty() ? url_ : wish.mirror;
  CO_ASSIGN_OR_RETURN(http::Headers headers, Headers(wish.mirror));
  const std::string url =
      absl::StrCat(base, "/api/models/", wish.repo, "/revision/", http::PercentEncode(wish.tag), "?blobs=true");
  CO_ASSIGN_OR_RETURN(const nlohmann::json json, co_await GetJson(web_, url, std::move(headers), Described(wish)));
  const std::string commit = TextIn(json, "sha");
  if (!IsHex(commit, 40)) co_return Nonsense(base, "it tells no commit");
  std::vector<RepositoryFile> files;
  for (const nlohmann::json& entry : FieldOf(json, "siblings")) {
    RepositoryFile& file = files.emplace_back();
    file.name = TextIn(entry, "rfilename");
    file.size = NumberIn(entry, "size");
    file.git_id = TextIn(entry, "blobId");
    if (entry.contains("lfs") && entry["lfs"].is_object()) {
      file.sha256 = TextIn(entry["lfs"], "sha256");
      file.size = NumberIn(entry["lfs"], "size");
    }
  }
  CO_ASSIGN_OR_RETURN(const FileChoice choice, ChooseFiles(wish.repo, std::move(files), wish.quantization));
  CO_ASSIGN_OR_RETURN(v1::PullPlan plan, PlanOfFiles(base, wish, choice, [&](const std::string& name) {
                        return absl::StrCat(base, "/", wish.repo, "/resolve/", commit, "/",
                                            http::PercentEncode(name, /*slashes=*/true));
                      }));
  plan.set_revision(commit);
  plan.set_type(TypeOfTask(TextIn(json, "pipeline_tag")));
  co_return plan;
}

Task<absl::StatusOr<std::vector<v1::Offer>>> HuggingFaceSource::Search(const std::string& words, int limit) {
  const std::string url =
      absl::StrCat(url_, "/api/models?search=", http::PercentEncode(words), "&limit=", limit, "&sort=downloads");
  CO_ASSIGN_OR_RETURN(const nlohmann::json json, co_await GetJson(web_, url, {}, "a list of models"));
  if (!json.is_array()) co_return Nonsense(url_, "its list of models is none");
  std::vector<v1::Offer> offers;
  for (const nlohmann::json& entry : json) {
    if (offers.size() == static_cast<size_t>(limit)) break;
    const std::string id = TextIn(entry, "id").empty() ? TextIn(entry, "modelId") : TextIn(entry, "id");
    if (id.empty()) continue;
    v1::Offer& offer = offers.emplace_back();
    offer.set_source(v1::MODEL_SOURCE_HUGGINGFACE);
    offer.set_repo(CleanText(id, 200));
    offer.set_task(CleanText(TextIn(entry, "pipeline_tag"), 100));
    offer.set_downloads(NumberIn(entry, "downloads"));
    offer.set_likes(NumberIn(entry, "likes"));
  }
  co_return offers;
}

Task<absl::StatusOr<http::Headers>> ModelScopeSource::Credentials(const Wish& wish) { co_return http::Headers(); }

Task<absl::StatusOr<v1::PullPlan>> ModelScopeSource::Plan(const Wish& wish) {
  const std::string base = wish.mirror.empty() ? url_ : wish.mirror;
  const std::string api = absl::StrCat(base, "/api/v1/models/", wish.repo, "/repo");
  const std::string url = absl::StrCat(api, "/files?Recursive=true&Revision=", http::PercentEncode(wish.tag));
  CO_ASSIGN_OR_RETURN(const nlohmann::json json, co_await GetJson(web_, url, {}, Described(wish)));
  // Errors come with status 200, too.
  const int64_t code = NumberIn(json, "Code");
  if (code != 200) co_return BadAnswer(url, code == 10010205001 ? 404 : static_cast<int>(code % 1000), Described(wish));
  const nlohmann::json& data = FieldOf(json, "Data");
  std::vector<RepositoryFile> files;
  for (const nlohmann::json& entry : FieldOf(data, "Files")) {
    if (TextIn(entry, "Type") == "tree") continue;
    RepositoryFile& file = files.emplace_back();
    file.name = TextIn(entry, "Path");
    file.size = NumberIn(entry, "Size");
    file.sha256 = absl::AsciiStrToLower(TextIn(entry, "Sha256"));
  }
  CO_ASSIGN_OR_RETURN(const FileChoice choice, ChooseFiles(wish.repo, std::move(files), wish.quantization));
  CO_ASSIGN_OR_RETURN(v1::PullPlan plan, PlanOfFiles(base, wish, choice, [&](const std::string& name) {
                        return absl::StrCat(api, "?Revision=", http::PercentEncode(wish.tag),
                                            "&FilePath=", http::PercentEncode(name));
                      }));
  // A branch has no commit in this answer: the digests of what is fetched say the same.
  std::vector<NamedDigest> digests;
  for (const v1::PullPlan::File& file : plan.files()) digests.push_back({file.name(), file.sha256()});
  plan.set_revision("sha256:" + CombinedDigest(std::move(digests)));
  co_return plan;
}

Task<absl::StatusOr<std::vector<v1::Offer>>> ModelScopeSource::Search(const std::string& words, int limit) {
  const std::string url = absl::StrCat(url_, "/openapi/v1/models?search=", http::PercentEncode(words),
                                       "&sort=downloads&page_number=1&page_size=", limit);
  CO_ASSIGN_OR_RETURN(const nlohmann::json json, co_await GetJson(web_, url, {}, "a list of models"));
  const nlohmann::json& data = FieldOf(json, "data");
  if (!data.is_object() || !data.contains("models") || !data["models"].is_array())
    co_return Nonsense(url_, "its list of models is none");
  std::vector<v1::Offer> offers;
  for (const nlohmann::json& entry : data["models"]) {
    if (offers.size() == static_cast<size_t>(limit)) break;
    const std::string id = TextIn(entry, "id");
    if (id.empty()) continue;
    v1::Offer& offer = offers.emplace_back();
    offer.set_source(v1::MODEL_SOURCE_MODELSCOPE);
    offer.set_repo(CleanText(id, 200));
    if (entry.contains("tasks") && entry["tasks"].is_array() && !entry["tasks"].empty() &&
        entry["tasks"][0].is_string()) {
      offer.set_task(CleanText(entry["tasks"][0].get<std::string>(), 100));
    }
    offer.set_downloads(NumberIn(entry, "downloads"));
    offer.set_likes(NumberIn(entry, "likes"));
  }
  co_return offers;
}

}  // namespace aima::model
