#include "services/model/file_choice.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "aima/model/v1/model.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/sniff.h"

namespace aima::model {

namespace {

// The first that a repository has is taken.
constexpr std::array<const char*, 15> kPackings = {"Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "IQ4_XS", "IQ4_NL", "MXFP4", "Q5_K_M",
                                                   "Q5_K_S", "Q5_0",   "Q8_0", "Q6_K", "Q3_K_M", "BF16",   "F16"};
constexpr std::array<const char*, 4> kProjectorPackings = {"F16", "BF16", "Q8_0", "F32"};
constexpr int64_t kCompanionMax = 64 << 20;

std::string Base(const std::string& name) { return name.substr(name.rfind('/') + 1); }
bool AtTop(const RepositoryFile& file) { return file.name.find('/') == std::string::npos; }
bool Ends(const std::string& name, const char* suffix) { return absl::EndsWithIgnoreCase(name, suffix); }

// What engines read besides the weights, and the licence.
bool IsCompanion(const RepositoryFile& file) {
  static const RE2 kElsewhere(R"((onnx|openvino|original|coreml|gguf|figures|assets|images)/.*)");
  static const RE2 kName(R"((?i)(.*\.(json|txt|model|jinja|tiktoken)|readme\.md|(.*/)?(licen[cs]e|notice)(\.md)?))");
  static const RE2 kOtherIndex(R"(.*\.(bin|msgpack|h5)\.index\.json)");
  return file.size <= kCompanionMax && RE2::FullMatch(file.name, kName) && !RE2::FullMatch(file.name, kElsewhere) &&
         !RE2::FullMatch(file.name, kOtherIndex);
}

// Files that are one set of weights, in the order of their parts.
struct Variant {
  std::string packing;
  std::vector<const RepositoryFile*> files;
  size_t parts = 1;
};

// GGUF models by what is left of their names without the number of the part; half sets are left out.
std::vector<Variant> GgufVariants(const std::vector<RepositoryFile>& files, bool projectors) {
  static const RE2 kPart(R"((.*)-\d{5}-of-(\d{5})\.gguf)");
  std::map<std::string, Variant> by_stem;
  for (const RepositoryFile& file : files) {
    if (!Ends(file.name, ".gguf") || absl::StrContains(file.name, "mmproj") != projectors ||
        absl::StrContains(absl::AsciiStrToLower(file.name), "imatrix")) {
      continue;
    }
    std::string stem = file.name;
    int parts = 1;
    RE2::FullMatch(file.name, kPart, &stem, &parts);
    Variant& variant = by_stem[stem];
    variant.packing = PackingOf(file.name);
    variant.parts = static_cast<size_t>(parts);
    variant.files.push_back(&file);
  }
  std::vector<Variant> variants;
  for (auto& [stem, variant] : by_stem) {
    if (variant.files.size() != variant.parts) continue;
    std::sort(variant.files.begin(), variant.files.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
    variants.push_back(std::move(variant));
  }
  return variants;
}

template <size_t n>
const Variant* Best(const std::vector<Variant>& variants, const std::array<const char*, n>& order) {
  for (const char* packing : order) {
    for (const Variant& variant : variants) {
      if (variant.packing == packing) return &variant;
    }
  }
  return variants.empty() ? nullptr : &variants[0];
}

// Weights called name.<packing>.safetensors, as pipelines have them; empty for plain ones.
std::string VariantOf(const std::string& name) {
  static const RE2 kVariant(R"(.*\.(fp16|bf16|fp32|fp8|int8)(-\d{5}-of-\d{5})?\.safetensors)");
  std::string variant;
  RE2::FullMatch(name, kVariant, &variant);
  return absl::AsciiStrToUpper(variant);
}

class Choice {
 public:
  Choice(const std::string& repo, const std::vector<RepositoryFile>& files, const std::string& quantization)
      : repo_(repo), files_(files), quantization_(quantization) {}

  absl::StatusOr<FileChoice> Choose() {
    const std::vector<Variant> ggufs = GgufVariants(files_, /*projectors=*/false);
    const bool tensors = Any(".safetensors");
    if (!ggufs.empty() && (quantization_.empty() || !tensors || Named(ggufs))) return Gguf(ggufs);
    if (tensors) return Safetensors();
    if (Any(".onnx")) return Onnx();
    for (const RepositoryFile& file : files_) {
      if (HasPickleName(file.name)) return Unsafe(absl::StrCat(repo_, "/", file.name));
    }
    return Error(v1::MODEL_FORMAT_UNSUPPORTED, absl::StrCat("'", repo_, "' holds no GGUF, safetensors or ONNX files"), {{"repo", repo_}});
  }

 private:
  bool Any(const char* suffix) const {
    return std::any_of(files_.begin(), files_.end(), [suffix](const auto& file) { return Ends(file.name, suffix); });
  }
  const Variant* Named(const std::vector<Variant>& variants) const {
    const auto found = std::find_if(variants.begin(), variants.end(),
                                    [this](const Variant& variant) { return variant.packing == quantization_; });
    return found == variants.end() ? nullptr : &*found;
  }
  absl::Status NoSuchPacking(const std::set<std::string>& there) const {
    if (there.empty()) return InvalidInput("quantization", absl::StrCat("cannot be chosen: '", repo_, "' has one packing only"));
    return InvalidInput("quantization", absl::StrCat("'", quantization_, "' is not among those of '", repo_, "': ", absl::StrJoin(there, ", ")));
  }

  FileChoice With(std::vector<const RepositoryFile*> weights, bool top_only) const {
    FileChoice choice;
    for (const RepositoryFile* file : weights) choice.files.push_back(*file);
    for (const RepositoryFile& file : files_) {
      if (IsCompanion(file) && (!top_only || AtTop(file))) choice.files.push_back(file);
    }
    return choice;
  }

  absl::StatusOr<FileChoice> Gguf(const std::vector<Variant>& variants) const {
    const Variant* chosen = quantization_.empty() ? Best(variants, kPackings) : Named(variants);
    if (!chosen) {
      std::set<std::string> there;
      for (const Variant& variant : variants) {
        if (!variant.packing.empty()) there.insert(variant.packing);
      }
      return NoSuchPacking(there);
    }
    std::vector<const RepositoryFile*> weights = chosen->files;
    const std::vector<Variant> projectors = GgufVariants(files_, /*projectors=*/true);
    if (const Variant* projector = Best(projectors, kProjectorPackings)) {
      weights.insert(weights.end(), projector->files.begin(), projector->files.end());
    }
    return With(std::move(weights), /*top_only=*/true);
  }

  absl::StatusOr<FileChoice> Safetensors() const {
    static const RE2 kWhole(R"(model(-\d{5}-of-\d{5})?\.safetensors)");
    const bool pipeline = std::any_of(files_.begin(), files_.end(), [](const auto& file) { return file.name == "model_index.json"; });
    const bool sharded =
        std::any_of(files_.begin(), files_.end(), [](const auto& file) { return file.name == "model.safetensors.index.json"; });
    std::vector<const RepositoryFile*> plain, rest;
    std::map<std::string, std::vector<const RepositoryFile*>> packed;
    for (const RepositoryFile& file : files_) {
      if (!Ends(file.name, ".safetensors") || (!pipeline && !AtTop(file)) || (pipeline && AtTop(file))) continue;
      const std::string variant = VariantOf(file.name);
      if (!variant.empty()) {
        packed[variant].push_back(&file);
      } else if (pipeline || (RE2::FullMatch(file.name, kWhole) && !(sharded && file.name == "model.safetensors"))) {
        plain.push_back(&file);
      } else if (!Base(file.name).starts_with("consolidated") && !Base(file.name).starts_with("adapter")) {
        rest.push_back(&file);
      }
    }
    if (plain.empty()) plain = rest;
    if (!quantization_.empty()) {
      const auto found = packed.find(quantization_);
      if (found == packed.end()) {
        std::set<std::string> there;
        for (const auto& [name, variant] : packed) there.insert(name);
        for (const Variant& variant : GgufVariants(files_, false)) there.insert(variant.packing);
        return NoSuchPacking(there);
      }
      return With(found->second, false);
    }
    if (plain.empty() && !packed.empty()) plain = packed.begin()->second;
    if (plain.empty()) {
      return Error(v1::MODEL_FORMAT_UNSUPPORTED, absl::StrCat("'", repo_, "' holds safetensors files, but not those of a model by itself"),
                   {{"repo", repo_}});
    }
    return With(std::move(plain), false);
  }

  absl::StatusOr<FileChoice> Onnx() const {
    static const RE2 kStem(R"((?:.*/)?(model|decoder_model_merged|encoder_model)(?:_([a-z0-9]+))?\.onnx)");
    const RepositoryFile* chosen = nullptr;
    std::set<std::string> there;
    for (const RepositoryFile& file : files_) {
      if (!Ends(file.name, ".onnx")) continue;
      std::string stem, packing;
      const bool usual = RE2::FullMatch(file.name, kStem, &stem, &packing);
      packing = absl::AsciiStrToUpper(packing);
      if (!packing.empty()) there.insert(packing);
      if (quantization_.empty() ? (!chosen || (usual && stem == "model" && packing.empty())) : packing == quantization_) chosen = &file;
    }
    if (!chosen) return NoSuchPacking(there);
    std::vector<const RepositoryFile*> weights = {chosen};
    for (const RepositoryFile& file : files_) {
      if (file.name.starts_with(chosen->name + "_data") || file.name == chosen->name + ".data") weights.push_back(&file);
    }
    FileChoice choice = With(std::move(weights), true);
    choice.main = chosen->name;
    return choice;
  }

  const std::string& repo_;
  const std::vector<RepositoryFile>& files_;
  const std::string& quantization_;
};

}  // namespace

std::string PackingOf(const std::string& name) {
  static const RE2 kPacking(R"((?i)(?:^|[-._/])((?:ud-)?(?:i?q\d_(?:k(?:_(?:xxs|xs|s|m|l|xl))?|[01]|xxs|xs|s|m|nl)|tq[12]_0|)"
                            R"(bf16|f16|fp16|f32|fp32|mxfp4(?:_moe)?))(?:-\d{5}-of-\d{5})?\.gguf$)");
  std::string packing;
  RE2::PartialMatch(name, kPacking, &packing);
  packing = absl::AsciiStrToUpper(packing);
  if (packing == "FP16") return "F16";
  return packing == "FP32" ? "F32" : packing;
}

absl::StatusOr<FileChoice> ChooseFiles(const std::string& repo, std::vector<RepositoryFile> files,
                                       const std::string& quantization) {
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return Choice(repo, files, quantization).Choose();
}

}  // namespace aima::model
