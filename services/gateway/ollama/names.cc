#include "services/gateway/ollama/names.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <absl/strings/strip.h>

#include <vector>

namespace aima::gateway::ollama {
namespace {

using Json = nlohmann::json;

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// Cuts "name:tag"; a colon before a slash belongs to a port.
std::pair<std::string, std::string> CutTag(const std::string& name) {
  const size_t colon = name.rfind(':');
  if (colon == std::string::npos || name.find('/', colon) != std::string::npos) return {name, ""};
  return {name.substr(0, colon), name.substr(colon + 1)};
}

// As the model service makes ids of names.
std::string Slug(const std::string& name) {
  std::string slug;
  for (const char c : name) {
    const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(c));
    if (plain || ((c == '.' || c == '_') && !slug.empty() && slug.back() != '-')) {
      slug.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    } else if (!slug.empty() && absl::ascii_isalnum(static_cast<unsigned char>(slug.back()))) {
      slug.push_back('-');
    }
  }
  while (!slug.empty() && !absl::ascii_isalnum(static_cast<unsigned char>(slug.back()))) slug.pop_back();
  return slug;
}

std::string LastSegment(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

std::string ModelIdOf(const std::string& name) {
  const auto [path, tag] = CutTag(name);
  const bool latest = tag.empty() || tag == "latest";
  if (latest && !absl::StrContains(path, "/")) return path;
  return Slug(absl::StrCat(LastSegment(path), latest ? "" : "-", latest ? "" : tag));
}

std::optional<HubName> HubNameOf(const std::string& name) {
  for (const char* host : {"hf.co/", "huggingface.co/"}) {
    absl::string_view rest = name;
    if (!absl::ConsumePrefix(&rest, host)) continue;
    const auto [repo, packing] = CutTag(std::string(rest));
    return HubName{repo, packing == "latest" ? "" : packing};
  }
  return std::nullopt;
}

bool IsFrom(const Json& model, const HubName& name) {
  if (TextOf(model, "source") != "huggingface") return false;
  if (!absl::EqualsIgnoreCase(TextOf(model, "repo"), name.repo)) return false;
  return name.packing.empty() ||
         absl::EqualsIgnoreCase(TextOf(model.value("details", Json::object()), "quantization"), name.packing);
}

bool IsListedAs(const Json& model, const std::string& name) {
  const auto [path, tag] = CutTag(name);
  std::vector<std::string> segments = absl::StrSplit(path, '/');
  if (segments.size() == 3) segments.erase(segments.begin());
  if (segments.size() == 2 && segments[0] == "library") segments.erase(segments.begin());
  return ListedName(model) == absl::StrCat(absl::StrJoin(segments, "/"), ":", tag.empty() ? "latest" : tag);
}

Json PullInput(const std::string& name) {
  if (const std::optional<HubName> hub = HubNameOf(name)) {
    Json input = {{"source", "huggingface"}, {"repo", hub->repo}};
    if (!hub->packing.empty()) input["quantization"] = hub->packing;
    return input;
  }
  const auto [path, tag] = CutTag(name);
  std::vector<std::string> segments = absl::StrSplit(path, '/');
  Json input = {{"source", "ollama"}};
  if (segments.size() == 3) {
    if (segments[0] != "registry.ollama.ai") input["mirror"] = absl::StrCat("https://", segments[0]);
    segments.erase(segments.begin());
  }
  input["repo"] = absl::StrJoin(segments, "/");
  if (!tag.empty()) input["tag"] = tag;
  return input;
}

std::string ListedName(const Json& model) {
  const std::string id = TextOf(model, "id");
  const std::string repo = TextOf(model, "repo");
  if (absl::StrContains(id, ":")) return id;  // as a server of Ollama's calls it
  absl::string_view tag = id;
  if (TextOf(model, "source") != "ollama" || !absl::ConsumePrefix(&tag, Slug(LastSegment(repo)))) {
    return absl::StrCat(id, ":latest");
  }
  absl::string_view shown = repo;
  absl::ConsumePrefix(&shown, "library/");
  if (tag.empty()) return absl::StrCat(shown, ":latest");
  return absl::ConsumePrefix(&tag, "-") ? absl::StrCat(shown, ":", tag) : absl::StrCat(id, ":latest");
}

}  // namespace aima::gateway::ollama
