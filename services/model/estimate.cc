#include "services/model/estimate.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <limits>
#include <string>

namespace aima::model {

namespace {

constexpr int64_t kMiB = 1024 * 1024;
constexpr int64_t kSmallContext = 512;
constexpr int64_t kUsualContext = 4096;
constexpr int64_t kIntermediateBytes = 4;              // intermediate results are 32-bit numbers
constexpr int64_t kCudaProcess = 1536 * kMiB;          // Python, torch and a CUDA context; assumed
constexpr int64_t kTorchProcess = 512 * kMiB;          // Python and torch; assumed
constexpr int64_t kOnnxProcess = 96 * kMiB;            // Python and ONNX Runtime; assumed
constexpr int64_t kCpuComfort = int64_t{8} * 1024 * kMiB;  // weights beyond this answer too slowly on a CPU

// Sums and products that stop at the greatest number instead of overflowing.
int64_t Sum(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}
int64_t Product(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

std::string Mega(int64_t bytes) { return absl::StrCat(bytes / 1'000'000 + (bytes % 1'000'000 >= 500'000), " MB"); }

std::string GpuType(const v1::Model& model) {
  const bool torch = model.format() == v1::MODEL_FORMAT_SAFETENSORS;
  const bool generates = model.type() == v1::MODEL_TYPE_LLM || model.type() == v1::MODEL_TYPE_VLM ||
                         model.type() == v1::MODEL_TYPE_IMAGE || model.type() == v1::MODEL_TYPE_VIDEO;
  if (torch && generates) return "nvidia";
  return model.size() > kCpuComfort ? "any" : "none";
}

// Of so many numbers of keys and values.
int64_t KvBytes(int64_t numbers, const EngineFacts& facts) {
  const int64_t millibytes = Product(numbers, facts.kv_number_millibytes);
  // What does not fit is as much as can be said.
  return millibytes == std::numeric_limits<int64_t>::max() ? millibytes : millibytes / 1000;
}

// A windowed layer keeps the window of each request and the batch that is being worked on, in whole steps.
int64_t WindowedTokens(const v1::Details& details, const Serving& serving, const EngineFacts& facts) {
  if (facts.window_step <= 0) return serving.context_length;
  const int64_t share = std::max<int64_t>(1, serving.context_length / serving.parallel);
  const int64_t kept = std::min(share, Sum(details.sliding_window(), facts.batch));
  return Product(Product((kept - 1) / facts.window_step + 1, facts.window_step), serving.parallel);
}

int64_t KeptBytes(const v1::Details& details, const Serving& serving, const EngineFacts& facts) {
  const int64_t full = Product(details.kv_numbers_per_token(), serving.context_length);
  const int64_t windowed =
      Product(details.kv_numbers_per_token_windowed(), WindowedTokens(details, serving, facts));
  return KvBytes(Sum(full, windowed), facts);
}

v1::MemoryBreakdown Break(const v1::Model& model, const Serving& serving, const EngineFacts& facts) {
  const v1::Details& details = model.details();
  v1::MemoryBreakdown memory;
  memory.set_weights_bytes(model.size());
  memory.set_kv_cache_bytes(KeptBytes(details, serving, facts));
  memory.set_kv_bytes_per_token(
      KvBytes(Sum(details.kv_numbers_per_token(), details.kv_numbers_per_token_windowed()), facts));
  // Intermediate results of one batch: some vectors of the model's width and of the feed-forward layers', lines of scores,
  // and which token sees which.
  const int64_t width = Sum(Product(facts.width_vectors, details.embedding_length()),
                            Product(facts.feed_forward_vectors, details.feed_forward_length()));
  const bool embeds = model.type() == v1::MODEL_TYPE_EMBEDDING || model.type() == v1::MODEL_TYPE_RERANK;
  const int64_t batch = std::min(serving.context_length,
                                 embeds && facts.embedding_batch > 0 ? facts.embedding_batch : facts.batch);
  const int64_t scores = !embeds ? serving.parallel : facts.embedding_scores ? batch : 0;
  int64_t compute = Product(kIntermediateBytes, Sum(Product(batch, width), Product(scores, details.vocab_size())));
  compute = Sum(compute, Product(Product(batch, serving.context_length), facts.mask));
  if (model.format() == v1::MODEL_FORMAT_GGUF) {
    compute = Sum(compute, Product(details.vocab_size(), facts.vocabulary_entry));
    memory.set_overhead_bytes(facts.process);
  } else if (model.format() == v1::MODEL_FORMAT_ONNX) {
    compute = Sum(compute, model.size() / 2);
    memory.set_overhead_bytes(kOnnxProcess);
  } else {
    memory.set_overhead_bytes(GpuType(model) == "nvidia" ? kCudaProcess : kTorchProcess);
  }
  memory.set_compute_bytes(compute);
  memory.set_total_bytes(Sum(Sum(memory.weights_bytes(), memory.kv_cache_bytes()),
                             Sum(memory.compute_bytes(), memory.overhead_bytes())));
  return memory;
}

std::string Explain(const v1::Model& model, const Serving& serving, const v1::MemoryBreakdown& memory,
                    const EngineFacts& facts) {
  const v1::Details& details = model.details();
  std::string text = absl::StrCat(Mega(memory.total_bytes()), " = weights ", Mega(memory.weights_bytes()),
                                  " (size of the files)");
  if (memory.kv_bytes_per_token() > 0) {
    absl::StrAppend(&text, " + keys and values ", Mega(memory.kv_cache_bytes()), " (", memory.kv_bytes_per_token(),
                    " bytes per token: ", details.layers(), " layers, ", details.kv_heads(), " heads, keys of ",
                    details.key_length(), " and values of ", details.value_length(), " numbers; ",
                    serving.context_length, " tokens of context");
    if (serving.parallel > 1) {
      absl::StrAppend(&text, ", ", serving.context_length / serving.parallel, " for each of ", serving.parallel,
                      " requests at once");
    }
    if (details.kv_numbers_per_token_windowed() > 0) {
      absl::StrAppend(&text, "; layers with a window keep at most ", details.sliding_window(),
                      " tokens per request");
    }
    absl::StrAppend(&text, ")");
  } else if (model.type() == v1::MODEL_TYPE_LLM || model.type() == v1::MODEL_TYPE_VLM) {
    absl::StrAppend(&text, " + keys and values (not known: the files do not tell their sizes)");
  }
  absl::StrAppend(&text, " + buffers and vocabulary ", Mega(memory.compute_bytes()), " + engine process ",
                  Mega(memory.overhead_bytes()));
  if (model.format() == v1::MODEL_FORMAT_GGUF && !facts.engine.empty()) {
    absl::StrAppend(&text, ". Buffers, vocabulary and process are as the file of the engine '", facts.engine,
                    "' tells, for a CPU.");
  } else if (model.format() == v1::MODEL_FORMAT_GGUF) {
    absl::StrAppend(&text, ". Buffers, vocabulary and process are assumed: no engine tells of them.");
  } else {
    absl::StrAppend(&text, ". The engine process is assumed, not measured; engines such as vLLM reserve as much "
                           "GPU memory as they are told to.");
  }
  if (details.context_length() > 0 && serving.context_length > details.context_length()) {
    absl::StrAppend(&text, " The model was made for ", details.context_length(), " tokens only.");
  }
  return text;
}

}  // namespace

int64_t UsualContext(const v1::Model& model) {
  const int64_t own = model.details().context_length();
  return own > 0 ? std::min(own, kUsualContext) : kUsualContext;
}

v1::EstimateResourcesResponse Estimate(const v1::Model& model, const Serving& wanted, const EngineFacts& facts) {
  Serving serving = wanted;
  if (serving.context_length <= 0) serving.context_length = UsualContext(model);
  serving.parallel = std::max(serving.parallel, 1);
  Serving small;
  small.context_length = std::min(serving.context_length, kSmallContext);
  v1::EstimateResourcesResponse answer;
  *answer.mutable_breakdown() = Break(model, serving, facts);
  answer.set_memory_recommended(answer.breakdown().total_bytes());
  answer.set_memory_min(Break(model, small, facts).total_bytes());
  answer.set_gpu_type(GpuType(model));
  answer.set_context_length(serving.context_length);
  answer.set_parallel(serving.parallel);
  answer.set_explanation(Explain(model, serving, answer.breakdown(), facts));
  if (model.format() == v1::MODEL_FORMAT_GGUF) answer.set_engine(facts.engine);
  return answer;
}

void SetRequirements(v1::Model& model, const EngineFacts& facts) {
  if (model.files().empty()) return;
  const v1::EstimateResourcesResponse estimate = Estimate(model, Serving{}, facts);
  v1::Requirements& requirements = *model.mutable_requirements();
  requirements.set_memory_min(estimate.memory_min());
  requirements.set_memory_recommended(estimate.memory_recommended());
  requirements.set_gpu_type(estimate.gpu_type());
}

}  // namespace aima::model
