#include "services/model/describe_gguf.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <map>

#include "services/model/attention.h"
#include "services/model/ggml_types.h"

namespace aima::model {

namespace {

constexpr int64_t kPoolingRank = 4;

// How many layers make up one round of windowed layers and a last one that sees everything, where files do not
// tell.
int64_t WindowPeriod(std::string_view architecture) {
  static const std::map<std::string_view, int64_t> kPeriods = {
      {"gemma2", 2}, {"gpt-oss", 2}, {"gemma3", 6}, {"gemma3n", 5}, {"cohere2", 4}, {"exaone4", 4}, {"llama4", 4},
  };
  const auto found = kPeriods.find(architecture);
  return found == kPeriods.end() ? 0 : found->second;
}

std::string PoolingName(int64_t pooling) {
  static constexpr const char* kNames[] = {"none", "mean", "cls", "last", "rank"};
  return pooling >= 0 && pooling <= kPoolingRank ? kNames[pooling] : "";
}

// Reads keys that begin with the name of the architecture.
class Keys {
 public:
  explicit Keys(const Gguf& gguf) : gguf_(gguf), prefix_(gguf.Text("general.architecture") + ".") {}
  bool Has(const std::string& key) const { return gguf_.integers.contains(prefix_ + key); }
  int64_t Integer(const std::string& key) const { return Figure(gguf_.Integer(prefix_ + key)); }
  const std::vector<int64_t>* List(const std::string& key) const {
    const auto found = gguf_.lists.find(prefix_ + key);
    return found == gguf_.lists.end() ? nullptr : &found->second;
  }
  // The greatest entry of a list, or the single value.
  int64_t Greatest(const std::string& key) const {
    const std::vector<int64_t>* list = List(key);
    if (list == nullptr || list->empty()) return Integer(key);
    return Figure(*std::max_element(list->begin(), list->end()));
  }

 private:
  const Gguf& gguf_;
  const std::string prefix_;
};

Attention AttentionOf(const Keys& keys, std::string_view architecture, int64_t layers, int64_t heads) {
  Attention attention;
  if (heads == 0 || IsEncoder(architecture)) return attention;
  const int64_t keeping = std::max<int64_t>(0, layers - keys.Integer("attention.shared_kv_layers"));
  const std::vector<int64_t>* per_layer = keys.List("attention.head_count_kv");
  for (int64_t layer = 0; layer < keeping; ++layer) {
    if (per_layer != nullptr) {
      attention.kv_heads.push_back(layer < static_cast<int64_t>(per_layer->size()) ? (*per_layer)[layer] : 0);
    } else {
      const bool grouped = keys.Has("attention.head_count_kv");
      attention.kv_heads.push_back(grouped ? keys.Integer("attention.head_count_kv") : heads);
    }
  }
  const int64_t usual = keys.Integer("embedding_length") / heads;
  attention.key_length = keys.Has("attention.key_length") ? keys.Integer("attention.key_length") : usual;
  attention.value_length = keys.Has("attention.value_length") ? keys.Integer("attention.value_length") : usual;
  // Multi-head latent attention keeps one compressed vector, of which the value is a part.
  if (keys.Integer("attention.key_length_mla") > 0) attention.value_length = 0;
  attention.windowed_key_length = keys.Integer("attention.key_length_swa");
  attention.windowed_value_length = keys.Integer("attention.value_length_swa");
  attention.window = keys.Integer("attention.sliding_window");

  const std::vector<int64_t>* pattern = keys.List("attention.sliding_window_pattern");
  const bool told = keys.Has("attention.sliding_window_pattern");
  const int64_t period = told ? keys.Integer("attention.sliding_window_pattern") : WindowPeriod(architecture);
  for (int64_t layer = 0; layer < keeping; ++layer) {
    if (pattern == nullptr) {
      attention.windowed.push_back(period > 0 && layer % period < period - 1);
    } else {
      attention.windowed.push_back(layer < static_cast<int64_t>(pattern->size()) && (*pattern)[layer] != 0);
    }
  }
  return attention;
}

}  // namespace

bool IsEncoder(std::string_view architecture) {
  static constexpr std::string_view kEncoders[] = {
      "bert",        "roberta",      "distilbert",  "xlm-roberta", "mpnet",      "albert",         "electra",
      "deberta",     "deberta-v2",   "camembert",   "nomic-bert",  "nomic_bert", "nomic-bert-moe", "jina-bert-v2",
      "jina-bert-v3", "modern-bert", "modernbert",  "neo-bert",    "eurobert",   "gemma-embedding", "t5encoder",
      "new"};
  return std::find(std::begin(kEncoders), std::end(kEncoders), architecture) != std::end(kEncoders);
}

bool IsProjector(const Gguf& gguf) {
  return gguf.Text("general.type") == "mmproj" || gguf.Text("general.architecture") == "clip";
}

v1::ModelType TypeOfGguf(const Gguf& gguf) {
  const std::string architecture = gguf.Text("general.architecture");
  const std::string kind = gguf.Text("general.type");
  if (architecture.empty() || IsProjector(gguf) || (!kind.empty() && kind != "model")) {
    return v1::MODEL_TYPE_UNSPECIFIED;
  }
  const int64_t pooling = gguf.Integer(architecture + ".pooling_type", -1);
  if (pooling == kPoolingRank || (gguf.classifier && IsEncoder(architecture))) return v1::MODEL_TYPE_RERANK;
  if (IsEncoder(architecture) || pooling > 0) return v1::MODEL_TYPE_EMBEDDING;
  if (architecture == "whisper") return v1::MODEL_TYPE_ASR;
  if (architecture.starts_with("flux") || architecture.starts_with("sd") || architecture == "qwen_image" ||
      architecture == "z_image" || architecture == "lumina2") {
    return v1::MODEL_TYPE_IMAGE;
  }
  if (architecture == "wan" || architecture == "hyvid" || architecture == "ltxv") return v1::MODEL_TYPE_VIDEO;
  if (architecture == "wavtokenizer-dec" || architecture.starts_with("outetts")) return v1::MODEL_TYPE_TTS;
  // Every other architecture of this format that has a vocabulary continues texts.
  return gguf.lengths.contains("tokenizer.ggml.tokens") || gguf.integers.contains(architecture + ".vocab_size") ||
                 gguf.texts.contains("tokenizer.ggml.model")
             ? v1::MODEL_TYPE_LLM
             : v1::MODEL_TYPE_UNSPECIFIED;
}

v1::Details DescribeGguf(const Gguf& gguf) {
  const Keys keys(gguf);
  v1::Details details;
  const std::string architecture = gguf.Text("general.architecture");
  details.set_architecture(CleanText(architecture, 64));
  details.set_parameters(static_cast<int64_t>(gguf.parameters));
  details.set_tensor_bytes(static_cast<int64_t>(gguf.tensor_bytes));
  details.set_tensors(static_cast<int64_t>(gguf.tensors));
  const std::string_view packing = GgufFileTypeName(gguf.Integer("general.file_type", -1));
  details.set_quantization(packing.empty() ? gguf.main_type : std::string(packing));
  details.set_context_length(keys.Integer("context_length"));
  details.set_embedding_length(keys.Integer("embedding_length"));
  details.set_feed_forward_length(keys.Greatest("feed_forward_length"));
  details.set_layers(std::min(keys.Integer("block_count"), kMaxLayers));
  details.set_heads(keys.Greatest("attention.head_count"));
  Describe(AttentionOf(keys, architecture, details.layers(), details.heads()), details);
  details.set_experts(keys.Integer("expert_count"));
  details.set_experts_used(keys.Integer("expert_used_count"));
  const auto tokens = gguf.lengths.find("tokenizer.ggml.tokens");
  details.set_vocab_size(tokens != gguf.lengths.end() ? Figure(static_cast<int64_t>(tokens->second))
                                                      : keys.Integer("vocab_size"));
  details.set_chat_template(gguf.lengths.contains("tokenizer.chat_template"));
  details.set_pooling(PoolingName(gguf.Integer(architecture + ".pooling_type", -1)));
  details.set_license(CleanText(gguf.Text("general.license"), 100));
  return details;
}

}  // namespace aima::model
