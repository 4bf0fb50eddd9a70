#include "services/model/describe_config.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "services/model/attention.h"
#include "services/model/describe_gguf.h"
#include "services/model/shallow_json.h"

namespace aima::model {

namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxConfig = 4 * 1024 * 1024;

absl::StatusOr<Json> ReadObject(const ByteSource& source) {
  if (source.size() > kMaxConfig) return Corrupt(source, 0, absl::StrCat("more than ", kMaxConfig, " bytes"));
  Cursor cursor(source, 0, source.size());
  ASSIGN_OR_RETURN(const std::string text, cursor.Text(source.size(), "the configuration"));
  Json json = ParseShallow(text);
  if (!json.is_object()) return Corrupt(source, 0, "it is not a JSON object");
  return json;
}

// The first of these keys that holds a believable figure; the names differ between architectures.
int64_t FirstFigure(const Json& json, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_number_integer()) continue;
    if (const int64_t figure = Figure(found->get<int64_t>()); figure > 0) return figure;
  }
  return 0;
}

std::string TextOf(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? CleanText(found->get<std::string>(), 100) : std::string();
}

bool IsTrue(const Json& json, const char* key, bool otherwise) {
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() ? found->get<bool>() : otherwise;
}

// Vision-language models keep the figures of their language model in an object of its own.
const Json& LanguagePart(const Json& config) {
  for (const char* key : {"text_config", "llm_config", "language_config"}) {
    const auto found = config.find(key);
    if (found != config.end() && found->is_object()) return *found;
  }
  return config;
}

Attention AttentionOf(const Json& part, const v1::Details& details) {
  Attention attention;
  if (details.heads() == 0 || IsEncoder(details.architecture())) return attention;
  int64_t kv_heads = FirstFigure(part, {"num_key_value_heads", "num_kv_heads", "n_head_kv"});
  if (kv_heads == 0) kv_heads = IsTrue(part, "multi_query", false) ? 1 : details.heads();
  const int64_t length = FirstFigure(part, {"head_dim"});
  attention.key_length = length > 0 ? length : details.embedding_length() / details.heads();
  attention.value_length = attention.key_length;
  const int64_t layers = std::min(details.layers(), kMaxLayers);
  attention.kv_heads.assign(static_cast<size_t>(layers), kv_heads);
  if (const int64_t rank = FirstFigure(part, {"kv_lora_rank"}); rank > 0) {
    // Multi-head latent attention keeps one compressed vector, of which the value is a part.
    attention.kv_heads.assign(static_cast<size_t>(layers), 1);
    attention.key_length = rank + FirstFigure(part, {"qk_rope_head_dim"});
    attention.value_length = 0;
  }
  if (!IsTrue(part, "use_sliding_window", true)) return attention;
  attention.window = FirstFigure(part, {"sliding_window"});
  const auto kinds = part.find("layer_types");
  if (kinds != part.end() && kinds->is_array()) {
    for (const Json& kind : *kinds) attention.windowed.push_back(kind == "sliding_attention");
  } else {
    attention.windowed.assign(static_cast<size_t>(layers), true);
  }
  return attention;
}

v1::ModelType TypeOf(const Json& config, const std::string& architecture, bool sentence_transformer) {
  std::string name;
  const auto names = config.find("architectures");
  if (names != config.end() && names->is_array() && !names->empty() && (*names)[0].is_string()) {
    name = (*names)[0].get<std::string>();
  }
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  if (sentence_transformer) return v1::MODEL_TYPE_EMBEDDING;
  if (has("ForSequenceClassification")) return v1::MODEL_TYPE_RERANK;
  if (has("Whisper") || has("ForSpeechSeq2Seq") || has("ForCTC")) return v1::MODEL_TYPE_ASR;
  if (has("ForObjectDetection")) return v1::MODEL_TYPE_DETECTION;
  if (has("ForTextToSpeech") || has("ForTextToWaveform") || has("Vits") || has("ParlerTTS")) {
    return v1::MODEL_TYPE_TTS;
  }
  if (config.contains("vision_config") && (has("ForConditionalGeneration") || has("ForCausalLM") || has("Chat"))) {
    return v1::MODEL_TYPE_VLM;
  }
  if (has("ForCausalLM") || has("LMHeadModel") || has("ForConditionalGeneration")) return v1::MODEL_TYPE_LLM;
  return IsEncoder(architecture) ? v1::MODEL_TYPE_EMBEDDING : v1::MODEL_TYPE_UNSPECIFIED;
}

std::string QuantizationOf(const Json& config) {
  const auto quantization = config.find("quantization_config");
  if (quantization == config.end() || !quantization->is_object()) return "";
  const std::string method = TextOf(*quantization, "quant_method");
  const int64_t bits = FirstFigure(*quantization, {"bits", "w_bit"});
  return bits > 0 ? absl::StrCat(method, "-", bits, "bit") : method;
}

}  // namespace

absl::StatusOr<ConfigFacts> DescribeConfig(const ByteSource& source, bool sentence_transformer) {
  ASSIGN_OR_RETURN(const Json config, ReadObject(source));
  const Json& part = LanguagePart(config);
  ConfigFacts facts;
  v1::Details& details = facts.details;
  details.set_architecture(TextOf(config, "model_type"));
  facts.type = TypeOf(config, details.architecture(), sentence_transformer);
  details.set_layers(FirstFigure(part, {"num_hidden_layers", "n_layer", "num_layers", "n_layers"}));
  details.set_embedding_length(FirstFigure(part, {"hidden_size", "n_embd", "d_model", "dim"}));
  details.set_feed_forward_length(FirstFigure(part, {"intermediate_size", "n_inner", "ffn_dim", "d_ff"}));
  details.set_heads(FirstFigure(part, {"num_attention_heads", "n_head", "num_heads", "n_heads"}));
  details.set_context_length(FirstFigure(part, {"max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"}));
  details.set_vocab_size(FirstFigure(part, {"vocab_size"}));
  details.set_experts(FirstFigure(part, {"num_experts", "num_local_experts", "n_routed_experts"}));
  details.set_experts_used(FirstFigure(part, {"num_experts_per_tok"}));
  details.set_quantization(QuantizationOf(config));
  details.set_custom_code(config.contains("auto_map"));
  Describe(AttentionOf(part, details), details);
  return facts;
}

absl::StatusOr<ConfigFacts> DescribePipeline(const ByteSource& index) {
  ASSIGN_OR_RETURN(const Json json, ReadObject(index));
  ConfigFacts facts;
  const std::string pipeline = TextOf(json, "_class_name");
  facts.details.set_architecture(pipeline);
  const bool video = pipeline.find("Video") != std::string::npos || pipeline.starts_with("Wan") ||
                     pipeline.starts_with("LTX") || pipeline.starts_with("CogVideo");
  facts.type = video ? v1::MODEL_TYPE_VIDEO : v1::MODEL_TYPE_IMAGE;
  return facts;
}

std::string LicenseOf(std::string_view readme) {
  if (!readme.starts_with("---\n")) return "";
  readme.remove_prefix(4);
  while (!readme.empty()) {
    const size_t end = std::min(readme.find('\n'), readme.size());
    const std::string_view line = readme.substr(0, end);
    if (line.starts_with("---")) return "";
    if (line.starts_with("license:")) {
      const std::string text = CleanText(line.substr(8), 100);
      return std::string(absl::StripAsciiWhitespace(text));
    }
    readme.remove_prefix(std::min(end + 1, readme.size()));
  }
  return "";
}

}  // namespace aima::model
