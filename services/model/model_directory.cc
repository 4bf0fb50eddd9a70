#include "services/model/model_directory.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <re2/re2.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "libs/errors/errors.h"
#include "services/model/describe_config.h"
#include "services/model/safetensors.h"
#include "services/model/sniff.h"

namespace aima::model {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxEntries = 10'000;
constexpr int kMaxDepth = 2;
constexpr uint64_t kReadmePart = 4096;
constexpr uint64_t kTokenizerPart = 4 * 1024 * 1024;

// Names of plain files, relative to the directory, sorted. Hidden ones are left out.
absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  size_t entries = 0;
  for (fs::recursive_directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    if (++entries > kMaxEntries) {
      return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                   absl::StrCat("'", directory, "' holds more than ", kMaxEntries, " files: it is no model"), {});
    }
    const std::string name = at->path().lexically_relative(directory).string();
    if (at->path().filename().string().starts_with('.')) {
      at.disable_recursion_pending();
      continue;
    }
    if (at.depth() + 1 >= kMaxDepth) at.disable_recursion_pending();
    std::error_code ignored;
    if (at->is_regular_file(ignored)) names.push_back(name);
  }
  if (error) {
    return Error(v1::MODEL_PATH_REFUSED, absl::StrCat("cannot list '", directory, "': ", error.message()),
                 {{"path", directory}});
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool HasSuffix(const std::string& name, std::initializer_list<const char*> suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](const char* suffix) { return absl::EndsWith(name, suffix); });
}

// "name" for …/models--org--name/snapshots/<hash>, as the cache of Hugging Face has it, else the directory's name.
std::string NameOfDirectory(const fs::path& directory) {
  static const RE2 kSnapshot("[0-9a-f]{40}");
  const std::string name = directory.filename();
  const std::string repository = directory.parent_path().parent_path().filename();
  if (!RE2::FullMatch(name, kSnapshot) || !repository.starts_with("models--")) return CleanText(name, 200);
  return CleanText(repository.substr(repository.rfind("--") + 2), 200);
}

class Directory {
 public:
  Directory(const ImportRoots& roots, const std::string& directory, std::vector<std::string> names)
      : roots_(roots), directory_(directory), names_(std::move(names)) {}

  absl::StatusOr<Inspection> Inspect() {
    if (Has("model_index.json")) return Pipeline();
    if (Any({".safetensors"})) return Weights();
    if (Any({".gguf"})) return OneGguf();
    if (Any({".onnx"})) {
      return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                   absl::StrCat("'", directory_, "' holds ONNX files; import one of them by its own path"),
                   {{"path", directory_}});
    }
    for (const std::string& name : names_) {
      if (HasPickleName(name)) return Unsafe(PathOf(name));
    }
    return Error(v1::MODEL_FORMAT_UNSUPPORTED, absl::StrCat("'", directory_, "' holds no model files"),
                 {{"path", directory_}});
  }

 private:
  std::string PathOf(const std::string& name) const { return absl::StrCat(directory_, "/", name); }
  bool Has(const std::string& name) const { return std::binary_search(names_.begin(), names_.end(), name); }
  bool Any(std::initializer_list<const char*> suffixes) const {
    return std::any_of(names_.begin(), names_.end(),
                       [&](const std::string& name) { return HasSuffix(name, suffixes); });
  }

  // Names of the files with weights.
  absl::StatusOr<std::vector<std::string>> WeightNames(bool subdirectories) const {
    if (Has("model.safetensors.index.json")) {
      ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> index, roots_.Open(PathOf("model.safetensors.index.json")));
      return ReadShardNames(*index);
    }
    if (Has("model.safetensors") && !subdirectories) return std::vector<std::string>{"model.safetensors"};
    std::vector<std::string> weights;
    for (const std::string& name : names_) {
      if (HasSuffix(name, {".safetensors"}) && (subdirectories || name.find('/') == std::string::npos)) {
        weights.push_back(name);
      }
    }
    return weights;
  }

  absl::Status AddWeights(bool subdirectories, Inspection& found) {
    ASSIGN_OR_RETURN(const std::vector<std::string> weights, WeightNames(subdirectories));
    std::map<std::string, uint64_t> by_type;
    for (const std::string& name : weights) {
      ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> file, roots_.Open(PathOf(name)));
      ASSIGN_OR_RETURN(const Safetensors header, ReadSafetensors(*file));
      AddTensors(header, found.details);
      for (const auto& [type, count] : header.parameters_by_type) by_type[type] += count;
      Add(PathOf(name), file->size(), found);
    }
    if (found.details.quantization().empty()) {
      Safetensors all;
      all.parameters_by_type = std::move(by_type);
      found.details.set_quantization(all.MainType());
    }
    return absl::OkStatus();
  }

  // What engines read besides the weights.
  absl::Status AddCompanions(Inspection& found) {
    for (const std::string& name : names_) {
      if (HasSuffix(name, {".py"})) found.details.set_custom_code(true);
      if (!HasSuffix(name, {".json", ".txt", ".model", ".jinja", ".tiktoken"})) continue;
      ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> file, roots_.Open(PathOf(name)));
      Add(PathOf(name), file->size(), found);
    }
    return absl::OkStatus();
  }

  void ReadLicense(Inspection& found) {
    if (!Has("README.md")) return;
    const absl::StatusOr<std::unique_ptr<FileBytes>> file = roots_.Open(PathOf("README.md"));
    if (!file.ok()) return;
    std::string text(std::min<uint64_t>((*file)->size(), kReadmePart), '\0');
    if ((*file)->ReadAt(0, text.data(), text.size()).ok()) found.details.set_license(LicenseOf(text));
  }

  bool TokenizerHasTemplate() const {
    if (!Has("tokenizer_config.json")) return false;
    const absl::StatusOr<std::unique_ptr<FileBytes>> file = roots_.Open(PathOf("tokenizer_config.json"));
    if (!file.ok()) return false;
    std::string text(std::min<uint64_t>((*file)->size(), kTokenizerPart), '\0');
    return (*file)->ReadAt(0, text.data(), text.size()).ok() && absl::StrContains(text, "\"chat_template\"");
  }

  Inspection Start(ConfigFacts facts) const {
    Inspection found;
    found.format = v1::MODEL_FORMAT_SAFETENSORS;
    found.path = directory_;
    found.directory = true;
    found.name = NameOfDirectory(directory_);
    found.details = std::move(facts.details);
    found.type = facts.type;
    return found;
  }

  absl::StatusOr<Inspection> Weights() {
    ConfigFacts facts;
    if (Has("config.json")) {
      ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> config, roots_.Open(PathOf("config.json")));
      ASSIGN_OR_RETURN(facts, DescribeConfig(*config, Has("modules.json")));
    }
    Inspection found = Start(std::move(facts));
    found.details.set_chat_template(Has("chat_template.jinja") || Has("chat_template.json") ||
                                    TokenizerHasTemplate());
    RETURN_IF_ERROR(AddWeights(/*subdirectories=*/false, found));
    if (found.files.empty()) {
      return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                   absl::StrCat("'", directory_, "' has weights only in its subdirectories"),
                   {{"path", directory_}});
    }
    RETURN_IF_ERROR(AddCompanions(found));
    ReadLicense(found);
    return found;
  }

  absl::StatusOr<Inspection> Pipeline() {
    ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> index, roots_.Open(PathOf("model_index.json")));
    ASSIGN_OR_RETURN(ConfigFacts facts, DescribePipeline(*index));
    Inspection found = Start(std::move(facts));
    RETURN_IF_ERROR(AddWeights(/*subdirectories=*/true, found));
    if (found.files.empty()) {
      for (const std::string& name : names_) {
        if (HasPickleName(name)) return Unsafe(PathOf(name));
      }
      return Error(v1::MODEL_FORMAT_UNSUPPORTED, absl::StrCat("'", directory_, "' holds no safetensors files"), {});
    }
    RETURN_IF_ERROR(AddCompanions(found));
    ReadLicense(found);
    return found;
  }

  absl::StatusOr<Inspection> OneGguf() {
    static const RE2 kLaterPart(R"(.*-(\d{5})-of-\d{5}\.gguf)");
    std::vector<std::string> models;
    std::string projector;
    for (const std::string& name : names_) {
      int part = 0;
      if (!HasSuffix(name, {".gguf"}) || (RE2::FullMatch(name, kLaterPart, &part) && part > 1)) continue;
      if (absl::StrContains(name, "mmproj")) {
        projector = name;
      } else {
        models.push_back(name);
      }
    }
    if (models.size() != 1) {
      return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                   absl::StrCat("'", directory_, "' holds ", models.size(), " GGUF models; import one by its own ",
                                "path", models.empty() ? "" : ": ", absl::StrJoin(models, ", ")),
                   {{"path", directory_}});
    }
    ASSIGN_OR_RETURN(Inspection found, InspectGguf(roots_, PathOf(models[0])));
    found.name = ModelNameOf(models[0].substr(models[0].rfind('/') + 1));
    if (!projector.empty()) {
      ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> file, roots_.Open(PathOf(projector)));
      RETURN_IF_ERROR(CheckHeader(*file, v1::MODEL_FORMAT_GGUF));
      Add(PathOf(projector), file->size(), found);
      found.details.set_projector_path(PathOf(projector));
      if (found.type == v1::MODEL_TYPE_LLM) found.type = v1::MODEL_TYPE_VLM;
    }
    return found;
  }

  static void Add(const std::string& path, uint64_t size, Inspection& found) {
    v1::ModelFile& file = found.files.emplace_back();
    file.set_path(path);
    file.set_size(static_cast<int64_t>(size));
    found.size += static_cast<int64_t>(size);
  }

  const ImportRoots& roots_;
  const std::string directory_;
  const std::vector<std::string> names_;
};

}  // namespace

absl::StatusOr<Inspection> InspectDirectory(const ImportRoots& roots, const std::string& directory) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, ListFiles(directory));
  return Directory(roots, directory, std::move(names)).Inspect();
}

}  // namespace aima::model
