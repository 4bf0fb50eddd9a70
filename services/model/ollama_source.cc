#include "services/model/ollama_source.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <absl/time/clock.h>
#include <re2/re2.h>

#include <algorithm>
#include <array>

#include "aima/model/v1/model.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/digest.h"
#include "services/model/wish.h"

namespace aima::model {

namespace {

constexpr absl::Duration kAnswerTime = absl::Seconds(60);
constexpr char kManifestTypes[] =
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
constexpr char kKinds[] = "application/vnd.ollama.image.";

// What a layer is called among the model's files; empty for those that engines have no use for.
std::string FileNameOf(const std::string& kind) {
  constexpr std::array<std::pair<const char*, const char*>, 7> kNames = {{{"model", "model.gguf"},
                                                                          {"projector", "mmproj.gguf"},
                                                                          {"template", "template.gotmpl"},
                                                                          {"params", "params.json"},
                                                                          {"system", "system.txt"},
                                                                          {"license", "LICENSE"},
                                                                          {"messages", "messages.json"}}};
  for (const auto& [name, file] : kNames) {
    if (kind == name) return file;
  }
  return "";
}

}  // namespace

absl::StatusOr<v1::PullPlan> PlanOfManifest(const Wish& wish, const std::string& base, const std::string& manifest) {
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(base, manifest));
  if (!json.is_object() || !json.contains("layers") || !json["layers"].is_array()) {
    return Nonsense(base, "its manifest has no layers");
  }
  v1::PullPlan plan;
  plan.set_revision("sha256:" + HashText(manifest));
  plan.set_name(NameFor(wish));
  int licenses = 0;
  int64_t total = 0;
  bool model = false;
  for (const nlohmann::json& layer : json["layers"]) {
    const std::string type = TextIn(layer, "mediaType");
    const std::string plain = type.substr(0, type.find(';'));
    const std::string kind = plain.starts_with(kKinds) ? plain.substr(sizeof(kKinds) - 1) : "";
    if (kind == "tensor" || kind == "adapter") {
      return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                   absl::StrCat("'", wish.repo, ":", wish.tag, "' is ",
                                kind == "tensor" ? "kept tensor by tensor" : "an adapter for another model",
                                ", which only Ollama itself can put together"),
                   {{"repo", wish.repo}});
    }
    std::string name = FileNameOf(kind);
    if (name.empty()) continue;
    if (kind == "license" && ++licenses > 1) absl::StrAppend(&name, "-", licenses);
    const std::string digest = TextIn(layer, "digest");
    const int64_t size = NumberIn(layer, "size");
    if (!digest.starts_with("sha256:") || !IsHex(std::string_view(digest).substr(7), 64) || size < 0) {
      return Nonsense(base, "its manifest has a layer without digest or size");
    }
    if (size > kModelBytesMax || (total += size) > kModelBytesMax) {
      return Nonsense(base, absl::StrCat("with a layer of ", size, " bytes the model is too large"));
    }
    const auto named = [&name](const v1::PullPlan::File& file) { return file.name() == name; };
    if (std::any_of(plan.files().begin(), plan.files().end(), named)) {
      return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                   absl::StrCat("'", wish.repo, ":", wish.tag, "' has two layers of kind ", kind),
                   {{"repo", wish.repo}});
    }
    v1::PullPlan::File& file = *plan.add_files();
    file.set_name(name);
    file.set_size(size);
    file.set_sha256(digest.substr(7));
    file.set_url(absl::StrCat(base, "/v2/", wish.repo, "/blobs/", digest));
    model = model || kind == "model";
  }
  if (!model) {
    return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                 absl::StrCat("'", wish.repo, ":", wish.tag, "' has no layer with a model"), {{"repo", wish.repo}});
  }
  return plan;
}

Task<absl::StatusOr<http::Response>> OllamaSource::Ask(std::string url, http::Headers headers, std::string& token) {
  static const RE2 kField(R"re(\s*,?\s*([a-z]+)="([^"]*)")re");
  for (int attempt = 1;; ++attempt) {
    const absl::StatusOr<http::Url> parsed = http::ParseUrl(url);
    if (!parsed.ok()) co_return NoAnswer(url, parsed.status());
    absl::StatusOr<http::Response> answer = co_await web_.Get(*parsed, headers, absl::Now() + kAnswerTime);
    if (!answer.ok()) co_return NoAnswer(url, answer.status());
    const std::string challenge(answer->headers.Get("www-authenticate"));
    if (answer->status != 401 || attempt == 2 || !absl::StartsWithIgnoreCase(challenge, "bearer "))
      co_return *std::move(answer);
    std::string realm, query, field, value, rest = challenge.substr(7);
    re2::StringPiece input(rest);
    while (RE2::Consume(&input, kField, &field, &value)) {
      if (field == "realm") {
        realm = value;
      } else if (field == "service" || field == "scope") {
        absl::StrAppend(&query, query.empty() ? "?" : "&", field, "=", http::PercentEncode(value));
      }
    }
    // The realm is an address that the server chose: it is checked like any other.
    CO_ASSIGN_OR_RETURN(const nlohmann::json json, co_await GetJson(web_, realm + query, {}, "a token"));
    token = TextIn(json, "token").empty() ? TextIn(json, "access_token") : TextIn(json, "token");
    if (token.empty()) co_return BadAnswer(url, 401, "a token");
    headers.Set("authorization", "Bearer " + token);
  }
}

Task<absl::StatusOr<v1::PullPlan>> OllamaSource::Plan(const Wish& wish) {
  const std::string base = BaseOf(wish);
  const std::string url = absl::StrCat(base, "/v2/", wish.repo, "/manifests/", wish.tag);
  http::Headers headers;
  headers.Set("accept", kManifestTypes);
  std::string token;
  CO_ASSIGN_OR_RETURN(const http::Response answer, co_await Ask(url, std::move(headers), token));
  if (answer.status != 200) co_return BadAnswer(url, answer.status, absl::StrCat("'", wish.repo, ":", wish.tag, "'"));
  const std::string announced(answer.headers.Get("docker-content-digest"));
  if (!announced.empty() && announced != "sha256:" + HashText(answer.body)) {
    co_return Nonsense(url, "its manifest is not the one that it announces");
  }
  co_return PlanOfManifest(wish, base, answer.body);
}

Task<absl::StatusOr<http::Headers>> OllamaSource::Credentials(const Wish& wish) {
  std::string token;
  http::Headers headers;
  const std::string url = absl::StrCat(BaseOf(wish), "/v2/", wish.repo, "/manifests/", wish.tag);
  http::Headers accept;
  accept.Set("accept", kManifestTypes);
  CO_RETURN_IF_ERROR((co_await Ask(url, accept, token)).status());
  if (!token.empty()) headers.Set("authorization", "Bearer " + token);
  co_return headers;
}

Task<absl::StatusOr<std::vector<v1::Offer>>> OllamaSource::Search(const std::string& words, int limit) {
  const std::string url = url_ + "/v2/_catalog?n=1000";
  std::string token;
  CO_ASSIGN_OR_RETURN(const http::Response answer, co_await Ask(url, {}, token));
  if (answer.status != 200) {
    co_return Error(v1::MODEL_SOURCE_UNREACHABLE, "this registry does not list what it has; ollama.com/search shows it",
                    {});
  }
  CO_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(url, answer.body));
  std::vector<v1::Offer> offers;
  const std::vector<std::string> wanted =
      absl::StrSplit(absl::AsciiStrToLower(words), absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  for (const nlohmann::json& entry : FieldOf(json, "repositories")) {
    if (!entry.is_string() || offers.size() == static_cast<size_t>(limit)) continue;
    const std::string repo = entry.get<std::string>();
    const std::string lower = absl::AsciiStrToLower(repo);
    const auto has = [&lower](const std::string& word) { return absl::StrContains(lower, word); };
    if (!std::all_of(wanted.begin(), wanted.end(), has)) continue;
    v1::Offer& offer = offers.emplace_back();
    offer.set_source(v1::MODEL_SOURCE_OLLAMA);
    offer.set_repo(CleanText(repo.starts_with("library/") ? repo.substr(8) : repo, 200));
  }
  co_return offers;
}

}  // namespace aima::model
