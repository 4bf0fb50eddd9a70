#include "services/model/compatibility.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <initializer_list>

#include "libs/unit/json_codec.h"

namespace aima::model {

namespace {

constexpr auto kLlm = v1::MODEL_TYPE_LLM;
constexpr auto kVlm = v1::MODEL_TYPE_VLM;
constexpr auto kEmbedding = v1::MODEL_TYPE_EMBEDDING;
constexpr auto kRerank = v1::MODEL_TYPE_RERANK;

// A family of engines, the one format that the entry is about, and the types that it serves in that format.
struct Family {
  const char* engine_type;
  v1::ModelFormat format;
  std::initializer_list<v1::ModelType> types;
};

constexpr Family kFamilies[] = {
    {"llamacpp", v1::MODEL_FORMAT_GGUF, {kLlm, kVlm, kEmbedding, kRerank}},
    {"ollama", v1::MODEL_FORMAT_GGUF, {kLlm, kVlm, kEmbedding}},
    {"vllm", v1::MODEL_FORMAT_SAFETENSORS, {kLlm, kVlm, kEmbedding, kRerank}},
    {"sglang", v1::MODEL_FORMAT_SAFETENSORS, {kLlm, kVlm, kEmbedding, kRerank}},
    {"tei", v1::MODEL_FORMAT_SAFETENSORS, {kEmbedding, kRerank}},
    {"transformers", v1::MODEL_FORMAT_SAFETENSORS,
     {v1::MODEL_TYPE_ASR, v1::MODEL_TYPE_TTS, v1::MODEL_TYPE_DETECTION}},
    {"diffusers", v1::MODEL_FORMAT_SAFETENSORS, {v1::MODEL_TYPE_IMAGE, v1::MODEL_TYPE_VIDEO}},
    {"onnxruntime", v1::MODEL_FORMAT_ONNX,
     {kEmbedding, kRerank, v1::MODEL_TYPE_ASR, v1::MODEL_TYPE_TTS, v1::MODEL_TYPE_IMAGE, v1::MODEL_TYPE_DETECTION}},
};

bool Has(const std::vector<std::string>& list, const std::string& wanted) {
  return std::find(list.begin(), list.end(), wanted) != list.end();
}

// Why this engine cannot run the model; empty if it can.
std::string ReasonAgainst(const v1::Model& model, const KnownEngine& engine) {
  const std::string format = EnumText(*v1::ModelFormat_descriptor()->FindValueByNumber(model.format()));
  const std::string type = EnumText(*v1::ModelType_descriptor()->FindValueByNumber(model.type()));
  if (model.path().empty()) return "The model has no files yet.";
  if (!Has(engine.formats, format)) return absl::StrCat("It does not read ", format, ".");
  if (!Has(engine.model_types, type)) return absl::StrCat("It does not serve models of type ", type, ".");
  if (model.status() == v1::MODEL_STATUS_ERROR) return "The model's files are missing or were changed.";
  if (!engine.installed)
    return absl::StrCat("It is not installed: `aima exec engine.install --name ", engine.name, "`.");
  return "";
}

}  // namespace

const EngineFacts* FactsFor(const v1::Model& model, const std::string& engine,
                            const std::vector<KnownEngine>& engines) {
  const std::string format = EnumText(*v1::ModelFormat_descriptor()->FindValueByNumber(model.format()));
  const std::string type = EnumText(*v1::ModelType_descriptor()->FindValueByNumber(model.type()));
  const KnownEngine* best = nullptr;
  for (const KnownEngine& known : engines) {
    const bool fits = engine.empty() ? Has(known.formats, format) && Has(known.model_types, type) : known.name == engine;
    if (fits && known.facts && (best == nullptr || (known.installed && !best->installed))) best = &known;
  }
  return best == nullptr ? nullptr : &*best->facts;
}

v1::ModelCompatibility CompatibilityOf(const v1::Model& model, const std::vector<KnownEngine>& engines) {
  v1::ModelCompatibility compatibility;
  compatibility.set_model_id(model.id());
  compatibility.set_type(model.type());
  compatibility.set_format(model.format());
  compatibility.set_status(model.status());
  for (const Family& family : kFamilies) {
    const bool serves = std::find(family.types.begin(), family.types.end(), model.type()) != family.types.end();
    if (serves && family.format == model.format()) compatibility.add_engine_types(family.engine_type);
  }
  if (model.status() == v1::MODEL_STATUS_PENDING) {
    compatibility.set_note("The model has no files yet.");
  } else if (model.status() == v1::MODEL_STATUS_ERROR) {
    compatibility.set_note("The model's files are missing or were changed.");
  } else if (compatibility.engine_types().empty()) {
    compatibility.set_note("No known family of engines serves models of this type in this format.");
  } else if (model.details().custom_code()) {
    compatibility.set_note("The model comes with Python code of its own, which AIMA does not run; engines that do "
                           "not know its architecture cannot serve it.");
  }
  for (const KnownEngine& engine : engines) {
    v1::EngineFit& fit = *compatibility.add_engines();
    fit.set_engine(engine.name);
    fit.set_engine_type(engine.type);
    fit.set_reason(ReasonAgainst(model, engine));
    fit.set_runs(fit.reason().empty());
  }
  return compatibility;
}

}  // namespace aima::model
