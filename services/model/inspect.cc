#include "services/model/inspect.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <re2/re2.h>

#include <filesystem>

#include "libs/errors/errors.h"
#include "services/model/describe_gguf.h"
#include "services/model/gguf.h"
#include "services/model/model_directory.h"
#include "services/model/safetensors.h"
#include "services/model/sniff.h"

namespace aima::model {

namespace {

namespace fs = std::filesystem;

void AddFile(const std::string& path, uint64_t size, Inspection& found) {
  v1::ModelFile& file = found.files.emplace_back();
  file.set_path(path);
  file.set_size(static_cast<int64_t>(size));
  found.size += static_cast<int64_t>(size);
}

absl::Status CheckServable(const Gguf& gguf, const std::string& path) {
  const std::string kind = IsProjector(gguf) ? "mmproj" : gguf.Text("general.type");
  if (kind.empty() || kind == "model") return absl::OkStatus();
  return Error(v1::MODEL_FORMAT_UNSUPPORTED,
               absl::StrCat("'", path, "' is no model by itself but a part for another one (", CleanText(kind, 40),
                            "); import the directory that holds both"),
               {{"path", path}});
}

absl::StatusOr<Inspection> InspectOnnx(const FileBytes& file) {
  Inspection found;
  found.format = v1::MODEL_FORMAT_ONNX;
  found.path = file.name();
  AddFile(file.name(), file.size(), found);
  return found;
}

absl::StatusOr<Inspection> InspectSafetensors(const FileBytes& file) {
  ASSIGN_OR_RETURN(const Safetensors header, ReadSafetensors(file));
  Inspection found;
  found.format = v1::MODEL_FORMAT_SAFETENSORS;
  found.path = file.name();
  AddTensors(header, found.details);
  found.details.set_quantization(header.MainType());
  AddFile(file.name(), file.size(), found);
  return found;
}

// From the name of the file, unless that says nothing.
std::string NameOf(const fs::path& path, const std::string& inner_name) {
  static const RE2 kMeaningless("(?i)(ggml-)?model|pytorch_model|weights|consolidated|(sha256[-:])?[0-9a-f]{32,}");
  const std::string name = ModelNameOf(path.filename());
  if (!RE2::FullMatch(name, kMeaningless)) return name;
  return inner_name.empty() ? CleanText(path.parent_path().filename().string(), 200) : inner_name;
}

}  // namespace

absl::StatusOr<Inspection> InspectGguf(const ImportRoots& roots, const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> file, roots.Open(path));
  ASSIGN_OR_RETURN(const Gguf gguf, ReadGguf(*file));
  RETURN_IF_ERROR(CheckServable(gguf, path));
  Inspection found;
  found.format = v1::MODEL_FORMAT_GGUF;
  found.type = TypeOfGguf(gguf);
  found.path = path;
  found.inner_name = CleanText(gguf.Text("general.name"), 200);
  found.details = DescribeGguf(gguf);
  AddFile(path, file->size(), found);

  const int64_t parts = gguf.Integer("split.count");
  if (parts <= 1) return found;
  static const RE2 kPart(R"((.*)-(\d{5})-of-(\d{5})\.gguf)");
  std::string stem;
  int number = 0, count = 0;
  if (!RE2::FullMatch(path, kPart, &stem, &number, &count) || number != 1 || count != parts) {
    return Error(v1::MODEL_FORMAT_UNSUPPORTED,
                 absl::StrCat("'", path, "' is one of ", parts, " parts; import the first one, called …-00001-of-",
                              absl::Dec(parts, absl::kZeroPad5), ".gguf, with the others beside it"),
                 {{"path", path}});
  }
  for (int part = 2; part <= parts; ++part) {
    const std::string name = absl::StrCat(stem, "-", absl::Dec(part, absl::kZeroPad5), "-of-",
                                          absl::Dec(parts, absl::kZeroPad5), ".gguf");
    ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> next, roots.Open(name));
    ASSIGN_OR_RETURN(const Gguf header, ReadGguf(*next));
    AddTensors(header, found.details);
    AddFile(name, next->size(), found);
  }
  return found;
}

absl::StatusOr<Inspection> Inspect(const ImportRoots& roots, const std::string& path) {
  ASSIGN_OR_RETURN(std::string real, roots.Resolve(path));
  std::error_code error;
  if (fs::is_directory(real, error)) {
    return InspectDirectory(roots, real);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<FileBytes> file, roots.Open(real));
  ASSIGN_OR_RETURN(const v1::ModelFormat format, Sniff(*file));
  absl::StatusOr<Inspection> found = absl::InternalError("");
  switch (format) {
    case v1::MODEL_FORMAT_GGUF: found = InspectGguf(roots, real); break;
    case v1::MODEL_FORMAT_SAFETENSORS:
      // Engines need the configuration and the tokenizer beside the weights.
      found = fs::path(real).filename().string().starts_with("model") &&
                      fs::exists(fs::path(real).parent_path() / "config.json", error)
                  ? InspectDirectory(roots, fs::path(real).parent_path())
                  : InspectSafetensors(*file);
      break;
    default: found = InspectOnnx(*file);
  }
  // The name that was given says more than what a link leads to.
  if (found.ok() && found->name.empty()) found->name = NameOf(path, found->inner_name);
  return found;
}

absl::Status CheckHeader(const FileBytes& file, v1::ModelFormat format) {
  static const RE2 kCompanion(R"((?i).*(\.(json|txt|md|jinja|model|tiktoken|gotmpl)|/(licen[cs]e|notice)[^/]*))");
  if (RE2::FullMatch(file.name(), kCompanion)) return absl::OkStatus();
  if (format == v1::MODEL_FORMAT_GGUF) return ReadGguf(file).status();
  if (absl::EndsWith(file.name(), ".safetensors")) return ReadSafetensors(file).status();
  return absl::OkStatus();
}

std::string ModelNameOf(const std::string& file_name) {
  static const RE2 kExtension(R"((?i)\.(gguf|safetensors|onnx)$)");
  static const RE2 kPart(R"(-\d{5}-of-\d{5}$)");
  static const RE2 kPacking(R"((?i)[-._]((ud-)?i?q\d_(k(_(xxs|xs|s|m|l|xl))?|[01]|xxs|xs|s|m|nl)|tq[12]_0|)"
                            R"(bf16|f16|fp16|f32|fp32|mxfp4(_moe)?)$)");
  std::string name = file_name;
  RE2::Replace(&name, kExtension, "");
  RE2::Replace(&name, kPart, "");
  RE2::Replace(&name, kPacking, "");
  return CleanText(name, 200);
}

}  // namespace aima::model
