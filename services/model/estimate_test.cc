#include "services/model/estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "services/model/describe_gguf.h"

namespace aima::model {
namespace {

using ::testing::HasSubstr;

// SmolLM2-135M-Instruct, packed as Q4_1, as its file describes itself.
v1::Model SmolLm2() {
  v1::Model model;
  model.set_type(v1::MODEL_TYPE_LLM);
  model.set_format(v1::MODEL_FORMAT_GGUF);
  model.set_size(98'349'000);
  v1::Details& details = *model.mutable_details();
  details.set_context_length(8192);
  details.set_embedding_length(576);
  details.set_feed_forward_length(1536);
  details.set_layers(30);
  details.set_kv_heads(3);
  details.set_key_length(64);
  details.set_value_length(64);
  details.set_kv_numbers_per_token(30 * 3 * 128);
  details.set_vocab_size(49'152);
  return model;
}

Serving WithContext(int64_t context_length) {
  Serving serving;
  serving.context_length = context_length;
  return serving;
}

// As configs/engines/llamacpp.yaml tells them.
EngineFacts LlamaCpp() {
  EngineFacts facts;
  facts.engine = "llamacpp";
  facts.process = 28 << 20;
  facts.embedding_batch = 8192;
  facts.window_step = 256;
  facts.embedding_scores = true;
  return facts;
}

TEST(Estimate, IsWithinATenthOfWhatTheEngineTakes) {
  // Resident megabytes of llama.cpp with this model, measured when it was ready and after whole batches.
  const std::pair<int64_t, double> measured[] = {{512, 168},  {512, 180},  {2048, 203},
                                                 {2048, 220}, {8192, 345}, {8192, 362}};
  for (const auto& [context_length, megabytes] : measured) {
    const double estimate = Estimate(SmolLm2(), WithContext(context_length), LlamaCpp()).memory_recommended() / 1e6;
    EXPECT_LT(std::abs(estimate - megabytes), megabytes / 10) << context_length << ": " << estimate;
  }
}

TEST(Estimate, NamesItsPartsAndTheySumUp) {
  Serving serving = WithContext(8192);
  serving.parallel = 4;
  const auto estimate = Estimate(SmolLm2(), serving);
  const v1::MemoryBreakdown& memory = estimate.breakdown();
  EXPECT_EQ(memory.kv_bytes_per_token(), 23'040);
  EXPECT_EQ(memory.kv_cache_bytes(), 23'040 * 8192);
  EXPECT_EQ(memory.total_bytes(), memory.weights_bytes() + memory.kv_cache_bytes() + memory.compute_bytes() +
                                      memory.overhead_bytes());
  EXPECT_THAT(estimate.explanation(), HasSubstr("23040 bytes per token: 30 layers, 3 heads"));
  EXPECT_THAT(estimate.explanation(), HasSubstr("2048 for each of 4 requests"));
}

TEST(Estimate, WithoutAContextTakesTheUsualOne) {
  EXPECT_EQ(Estimate(SmolLm2(), {}).context_length(), 4096);
  v1::Model shorter = SmolLm2();
  shorter.mutable_details()->set_context_length(256);
  EXPECT_EQ(Estimate(shorter, {}).context_length(), 256);
  EXPECT_EQ(Estimate(shorter, {}).memory_min(), Estimate(shorter, {}).memory_recommended());
  EXPECT_LT(Estimate(SmolLm2(), {}).memory_min(), Estimate(SmolLm2(), {}).memory_recommended());
}

TEST(Estimate, WindowedLayersStopGrowing) {
  v1::Model model = SmolLm2();
  model.mutable_details()->set_kv_numbers_per_token(0);
  model.mutable_details()->set_kv_numbers_per_token_windowed(1000);
  model.mutable_details()->set_sliding_window(1024);
  EXPECT_EQ(Estimate(model, WithContext(1024), LlamaCpp()).breakdown().kv_cache_bytes(), 1024 * 2000);
  EXPECT_EQ(Estimate(model, WithContext(100'000), LlamaCpp()).breakdown().kv_cache_bytes(), (1024 + 512) * 2000);
  EXPECT_EQ(Estimate(model, WithContext(100'000)).breakdown().kv_cache_bytes(), int64_t{100'000} * 2000)
      << "an engine that tells nothing of windows may keep everything";
}

TEST(Estimate, UsesWhatTheEngineTellsOfItself) {
  const v1::EstimateResourcesResponse told = Estimate(SmolLm2(), {}, LlamaCpp());
  EXPECT_EQ(told.engine(), "llamacpp");
  EXPECT_THAT(told.explanation(), HasSubstr("the file of the engine 'llamacpp'"));
  EXPECT_THAT(Estimate(SmolLm2(), {}).explanation(), HasSubstr("assumed"));
  EngineFacts packed = LlamaCpp();
  packed.kv_number_millibytes = 1063;  // 8 bits and a scale per 32 numbers
  const v1::EstimateResourcesResponse less = Estimate(SmolLm2(), {}, packed);
  EXPECT_EQ(less.breakdown().kv_cache_bytes(), told.breakdown().kv_cache_bytes() * 1063 / 2000);
}

TEST(Estimate, OfAnEmbeddingModelCountsOneBatchOfAllTokensWithTheirScores) {
  // all-MiniLM-L6-v2, packed as Q8_0.
  v1::Model model;
  model.set_type(v1::MODEL_TYPE_EMBEDDING);
  model.set_format(v1::MODEL_FORMAT_GGUF);
  model.set_size(25'279'104);
  model.mutable_details()->set_embedding_length(384);
  model.mutable_details()->set_feed_forward_length(1536);
  model.mutable_details()->set_vocab_size(30'522);
  const v1::EstimateResourcesResponse estimate = Estimate(model, WithContext(512), LlamaCpp());
  EXPECT_EQ(estimate.breakdown().compute_bytes(),
            4 * 512 * (6 * 384 + 2 * 1536 + 30'522) + 2 * 512 * 512 + 30'522 * 400);
  // Measured after a text of 480 tokens.
  EXPECT_LT(std::abs(estimate.memory_recommended() / 1e6 - 133), 13);
}

TEST(Estimate, OfSeveralRequestsAtOnceCountsTheWindowOfEach) {
  v1::Model model = SmolLm2();
  model.mutable_details()->set_kv_numbers_per_token(0);
  model.mutable_details()->set_kv_numbers_per_token_windowed(1000);
  model.mutable_details()->set_sliding_window(1024);
  Serving serving = WithContext(32'768);
  serving.parallel = 4;
  EXPECT_EQ(Estimate(model, serving, LlamaCpp()).breakdown().kv_cache_bytes(), 4 * (1024 + 512) * 2000);
}

// A model as the header of its GGUF file describes it.
v1::Model FromHeader(const std::string& architecture, const std::map<std::string, int64_t>& keys, int64_t vocabulary) {
  Gguf gguf;
  gguf.texts["general.architecture"] = architecture;
  for (const auto& [key, value] : keys) gguf.integers[architecture + "." + key] = value;
  gguf.lengths["tokenizer.ggml.tokens"] = static_cast<uint64_t>(vocabulary);
  v1::Model model;
  model.set_type(v1::MODEL_TYPE_LLM);
  model.set_format(v1::MODEL_FORMAT_GGUF);
  *model.mutable_details() = DescribeGguf(gguf);
  return model;
}

v1::Model Llama31(int64_t layers, int64_t width, int64_t heads) {
  return FromHeader("llama", {{"block_count", layers}, {"context_length", 131'072}, {"embedding_length", width},
                              {"feed_forward_length", width * 7 / 2}, {"attention.head_count", heads},
                              {"attention.head_count_kv", 8}}, 128'256);
}

double KvGib(const v1::Model& model, int64_t context_length, const EngineFacts& facts = LlamaCpp()) {
  return static_cast<double>(Estimate(model, WithContext(context_length), facts).breakdown().kv_cache_bytes()) / (1 << 30);
}

TEST(PublishedFigures, OfTheKeysAndValuesOfLlama31) {
  // Hugging Face, "Llama 3.1", section "Inference Memory Requirements" (huggingface.co/blog/llama31): GiB in 16 bits for
  // 1 024, 16 000 and 128 000 tokens. (Its row for 405B counts 16 heads, as an earlier release of that model had.)
  const v1::Model small = Llama31(32, 4096, 32);
  EXPECT_NEAR(KvGib(small, 1024), 0.125, 0.0005);
  EXPECT_NEAR(KvGib(small, 16'000), 1.95, 0.005);
  EXPECT_NEAR(KvGib(small, 128'000), 15.62, 0.006);
  const v1::Model large = Llama31(80, 8192, 64);
  EXPECT_NEAR(KvGib(large, 1024), 0.313, 0.0006);
  EXPECT_NEAR(KvGib(large, 16'000), 4.88, 0.005);
  EXPECT_NEAR(KvGib(large, 128'000), 39.06, 0.006);
}

TEST(PublishedFigures, OfQwen25With7BWeights) {
  // 28 layers with keys and values of 512 numbers each take 112.00 MiB for 2 048 tokens in llama.cpp's own log
  // (github.com/JamePeng/llama-cpp-python, pull request 1).
  const v1::Model model =
      FromHeader("qwen2", {{"block_count", 28}, {"context_length", 32'768}, {"embedding_length", 3584},
                           {"feed_forward_length", 18'944}, {"attention.head_count", 28},
                           {"attention.head_count_kv", 4}}, 152'064);
  EXPECT_EQ(Estimate(model, WithContext(2048), LlamaCpp()).breakdown().kv_cache_bytes(), int64_t{112} << 20);
  EXPECT_EQ(Estimate(model, WithContext(2048), LlamaCpp()).breakdown().kv_bytes_per_token(), 56 * 1024);
}

TEST(PublishedFigures, OfMistral7BAndMixtral8x7BAreThoseOfTheirAttentionAlone) {
  // 32 layers, 8 heads of 128 numbers: Jiang et al., "Mistral 7B" (arXiv 2310.06825), table 1, and "Mixtral of Experts"
  // (arXiv 2401.04088), table 1; experts share their attention. 2 x 32 x 8 x 128 numbers of 16 bits a token. The files
  // name no window, and llama.cpp keeps none for them. Mixtral's header: github.com/abetlen/llama-cpp-python, issue 1226.
  std::map<std::string, int64_t> keys = {{"block_count", 32}, {"context_length", 32'768}, {"embedding_length", 4096},
                                         {"feed_forward_length", 14'336}, {"attention.head_count", 32},
                                         {"attention.head_count_kv", 8}};
  EXPECT_EQ(KvGib(FromHeader("llama", keys, 32'000), 32'768), 4);
  keys["expert_count"] = 8;
  keys["expert_used_count"] = 2;
  EXPECT_EQ(KvGib(FromHeader("llama", keys, 32'000), 32'768), 4);
}

TEST(PublishedFigures, OfGemma2With9BWeightsCountTheWindowOfEveryOtherLayer) {
  // 42 layers, 8 heads of 256 numbers, a window of 4 096 tokens in every other layer: "Gemma 2" (arXiv 2408.00118), table
  // 1 and section 2. How much a window takes: min(context, window x requests + n_ubatch), rounded up to 256 tokens
  // (llama.cpp's llama_kv_cache_iswa, as quoted in github.com/ikawrakow/ik_llama.cpp, issue 1607).
  const v1::Model model =
      FromHeader("gemma2", {{"block_count", 42}, {"context_length", 8192}, {"embedding_length", 3584},
                            {"feed_forward_length", 14'336}, {"attention.head_count", 16},
                            {"attention.head_count_kv", 8}, {"attention.key_length", 256},
                            {"attention.value_length", 256}, {"attention.sliding_window", 4096}}, 256'000);
  const int64_t layer_token = 2 * 8 * 256 * 2;
  EXPECT_EQ(Estimate(model, WithContext(8192), LlamaCpp()).breakdown().kv_cache_bytes(),
            layer_token * 21 * 8192 + layer_token * 21 * (4096 + 512));
  EXPECT_EQ(Estimate(model, WithContext(2048), LlamaCpp()).breakdown().kv_cache_bytes(), layer_token * 42 * 2048)
      << "within the window all layers keep the same";
  // An engine without windows keeps all: 2 688 MiB.
  EXPECT_EQ(Estimate(model, WithContext(8192)).breakdown().kv_cache_bytes(), int64_t{2688} << 20);
}

TEST(PublishedFigures, OfASmallWindowAreInWholeSteps) {
  // A context of 4 096 tokens, a window of 512 and batches of 1 024 make 1 536 cells instead of 4 096
  // (github.com/qualcomm/GenieX, pull request 1346).
  v1::Model model = SmolLm2();
  model.mutable_details()->set_kv_numbers_per_token(0);
  model.mutable_details()->set_kv_numbers_per_token_windowed(1000);
  model.mutable_details()->set_sliding_window(512);
  EngineFacts facts = LlamaCpp();
  facts.batch = 1024;
  EXPECT_EQ(Estimate(model, WithContext(4096), facts).breakdown().kv_cache_bytes(), 1536 * 2000);
  facts.batch = 1000;
  EXPECT_EQ(Estimate(model, WithContext(4096), facts).breakdown().kv_cache_bytes(), 1536 * 2000);
}

TEST(Estimate, NeverOverflows) {
  v1::Model model = SmolLm2();
  model.set_size(INT64_MAX);
  model.mutable_details()->set_kv_numbers_per_token(INT64_MAX / 3);
  EXPECT_EQ(Estimate(model, WithContext(10'000'000)).memory_recommended(), INT64_MAX);
}

TEST(Estimate, GpuFollowsFormatTypeAndSize) {
  v1::Model model = SmolLm2();
  EXPECT_EQ(Estimate(model, {}).gpu_type(), "none");
  model.set_size(int64_t{40} << 30);
  EXPECT_EQ(Estimate(model, {}).gpu_type(), "any");
  model.set_format(v1::MODEL_FORMAT_SAFETENSORS);
  EXPECT_EQ(Estimate(model, {}).gpu_type(), "nvidia");
}

}  // namespace
}  // namespace aima::model
