#include "services/model/wish.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>
#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <utility>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/http/url.h"
#include "services/model/byte_source.h"

namespace aima::model {

namespace {

constexpr size_t kDepthMax = 4;
constexpr size_t kNameMax = 400;

constexpr std::array<std::pair<v1::ModelSource, const char*>, 3> kNames = {
    {{v1::MODEL_SOURCE_OLLAMA, "ollama"},
     {v1::MODEL_SOURCE_HUGGINGFACE, "huggingface"},
     {v1::MODEL_SOURCE_MODELSCOPE, "modelscope"}}};

}  // namespace

std::string NameOfSource(v1::ModelSource source) {
  for (const auto& [value, name] : kNames) {
    if (value == source) return name;
  }
  return "";
}

v1::ModelSource SourceOfName(std::string_view name) {
  for (const auto& [value, known] : kNames) {
    if (name == known) return value;
  }
  return v1::MODEL_SOURCE_UNSPECIFIED;
}

std::string NameFor(const Wish& wish) {
  std::string name = wish.repo.substr(wish.repo.rfind('/') + 1);
  if (wish.source == v1::MODEL_SOURCE_OLLAMA) return wish.tag == "latest" ? name : absl::StrCat(name, "-", wish.tag);
  for (const char* suffix : {"-GGUF", "-gguf", "_GGUF", "_gguf"}) {
    if (name.ends_with(suffix) && name.size() > 5) name.resize(name.size() - 5);
  }
  return name;
}

bool IsHex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool IsSafeFileName(std::string_view name) {
  if (name.empty() || name.size() > kNameMax || CleanText(name, name.size()) != name) return false;
  if (name.find_first_of("\\:*?\"<>|") != std::string_view::npos) return false;
  const std::vector<std::string> segments = absl::StrSplit(absl::string_view(name.data(), name.size()), '/');
  return segments.size() <= kDepthMax && std::all_of(segments.begin(), segments.end(), [](const std::string& segment) {
           return !segment.empty() && segment[0] != '.' && segment[0] != ' ' && segment.size() <= 200;
         });
}

absl::StatusOr<Wish> ReadWish(const v1::PullRequest& request, v1::ModelSource default_source) {
  static const RE2 kRepo(R"(([A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95})");
  static const RE2 kTag(R"([A-Za-z0-9][A-Za-z0-9._/-]{0,127})");
  static const RE2 kPacking(R"([A-Za-z0-9_]{1,32})");
  Wish wish;
  wish.source = request.source() == v1::MODEL_SOURCE_UNSPECIFIED ? default_source : request.source();
  wish.tag = request.tag();
  wish.quantization = absl::AsciiStrToUpper(request.quantization());
  const size_t colon = request.repo().find(':');
  wish.repo = request.repo().substr(0, colon);
  const bool ollama = wish.source == v1::MODEL_SOURCE_OLLAMA;
  if (colon != std::string::npos) {
    const std::string behind = request.repo().substr(colon + 1);
    // Neither a tag nor a packing has a slash: this is meant as "source:repo".
    if (behind.find('/') != std::string::npos) {
      return InvalidInput(
          "repo", absl::StrCat("names '", CleanText(wish.repo, 40),
                               "' before its colon, which is no source; there are ollama, huggingface and modelscope"));
    }
    if (!RE2::FullMatch(behind, ollama ? kTag : kPacking)) {
      return InvalidInput("repo",
                          absl::StrCat("has behind its colon what is no ", ollama ? "tag" : "packing such as Q4_K_M"));
    }
    if (!(ollama ? wish.tag : wish.quantization).empty()) {
      return InvalidInput(ollama ? "tag" : "quantization", "is given twice: here and behind the colon of repo");
    }
    if (ollama) {
      wish.tag = behind;
    } else {
      wish.quantization = absl::AsciiStrToUpper(behind);
    }
  }
  if (!RE2::FullMatch(wish.repo, kRepo) || wish.repo.find("..") != std::string::npos) {
    return InvalidInput("repo",
                        "must be a name, or two with a slash between them, of letters, digits, '.', '_' and '-'");
  }
  if (ollama && wish.repo.find('/') == std::string::npos) wish.repo = "library/" + wish.repo;
  if (wish.source == v1::MODEL_SOURCE_MODELSCOPE && wish.repo.find('/') == std::string::npos) {
    return InvalidInput("repo", "must be organisation/name on ModelScope");
  }
  if (ollama && !wish.quantization.empty()) {
    return InvalidInput("quantization",
                        "is chosen by the tag in an Ollama registry, such as llama3.2:1b-instruct-q4_K_M");
  }
  if (wish.tag.empty()) {
    wish.tag = ollama ? "latest" : wish.source == v1::MODEL_SOURCE_MODELSCOPE ? "master" : "main";
  }
  if (!RE2::FullMatch(wish.tag, kTag) || wish.tag.find("..") != std::string::npos ||
      (ollama && wish.tag.find('/') != std::string::npos)) {
    return InvalidInput("tag", "must be of letters, digits, '.', '_' and '-', a letter or digit first");
  }
  if (!request.mirror().empty()) {
    const absl::StatusOr<http::Url> url = http::ParseUrl(request.mirror());
    if (!url.ok()) return InvalidInput("mirror", url.status().message());
    if (url->target.find('?') != std::string::npos) return InvalidInput("mirror", "must not have a query");
    wish.mirror = url->Text();
    while (wish.mirror.ends_with('/')) wish.mirror.pop_back();
  }
  return wish;
}

}  // namespace aima::model
