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
constexpr int64_t kBatch = 512;          // tokens that llama.cpp works on at once
constexpr int64_t kNumberBytes = 2;      // keys and values are kept as 16-bit numbers
constexpr int64_t kVocabularyEntry = 160;  // bytes of one token in llama.cpp's tables, measured
constexpr int64_t kLlamaProcess = 29 * kMiB;           // llama.cpp without a model, measured
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

int64_t KeptBytes(const v1::Details& details, const Serving& serving) {
  const int64_t full = Product(details.kv_numbers_per_token(), serving.context_length);
  // A windowed layer keeps the window of each request and the batch that is being worked on.
  const int64_t window = Sum(Product(details.sliding_window(), serving.parallel), kBatch);
  const int64_t windowed =
      Product(details.kv_numbers_per_token_windowed(), std::min(serving.context_length, window));
  return Product(Sum(full, windowed), kNumberBytes);
}

v1::MemoryBreakdown Break(const v1::Model& model, const Serving& serving) {
  const v1::Details& details = model.details();
  v1::MemoryBreakdown memory;
  memory.set_weights_bytes(model.size());
  memory.set_kv_cache_bytes(KeptBytes(details, serving));
  memory.set_kv_bytes_per_token(
      Product(Sum(details.kv_numbers_per_token(), details.kv_numbers_per_token_windowed()), kNumberBytes));
  // Intermediate results of one batch in 32-bit numbers: some vectors of the model's width and two of the
  // feed-forward layer's, and one line of scores per request.
  const int64_t width = Sum(Product(4, details.embedding_length()), Product(2, details.feed_forward_length()));
  int64_t compute = Product(4, Sum(Product(std::min(kBatch, serving.context_length), width),
                                   Product(serving.parallel, details.vocab_size())));
  if (model.format() == v1::MODEL_FORMAT_GGUF) {
    compute = Sum(compute, Product(details.vocab_size(), kVocabularyEntry));
    memory.set_overhead_bytes(kLlamaProcess);
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

std::string Explain(const v1::Model& model, const Serving& serving, const v1::MemoryBreakdown& memory) {
  const v1::Details& details = model.details();
  std::string text = absl::StrCat(Mega(memory.total_bytes()), " = weights ", Mega(memory.weights_bytes()),
                                  " (size of the files)");
  if (memory.kv_bytes_per_token() > 0) {
    absl::StrAppend(&text, " + keys and values ", Mega(memory.kv_cache_bytes()), " (", memory.kv_bytes_per_token(),
                    " bytes per token: ", details.layers(), " layers, ", details.kv_heads(), " heads, keys of ",
                    details.key_length(), " and values of ", details.value_length(), " 16-bit numbers; ",
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
  if (model.format() == v1::MODEL_FORMAT_GGUF) {
    absl::StrAppend(&text, ". The process and the vocabulary are as measured with llama.cpp on a CPU.");
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

v1::EstimateResourcesResponse Estimate(const v1::Model& model, const Serving& wanted) {
  Serving serving = wanted;
  if (serving.context_length <= 0) serving.context_length = UsualContext(model);
  serving.parallel = std::max(serving.parallel, 1);
  Serving small;
  small.context_length = std::min(serving.context_length, kSmallContext);
  v1::EstimateResourcesResponse answer;
  *answer.mutable_breakdown() = Break(model, serving);
  answer.set_memory_recommended(answer.breakdown().total_bytes());
  answer.set_memory_min(Break(model, small).total_bytes());
  answer.set_gpu_type(GpuType(model));
  answer.set_context_length(serving.context_length);
  answer.set_parallel(serving.parallel);
  answer.set_explanation(Explain(model, serving, answer.breakdown()));
  return answer;
}

void SetRequirements(v1::Model& model) {
  if (model.files().empty()) return;
  const v1::EstimateResourcesResponse estimate = Estimate(model, Serving{});
  v1::Requirements& requirements = *model.mutable_requirements();
  requirements.set_memory_min(estimate.memory_min());
  requirements.set_memory_recommended(estimate.memory_recommended());
  requirements.set_gpu_type(estimate.gpu_type());
}

}  // namespace aima::model
