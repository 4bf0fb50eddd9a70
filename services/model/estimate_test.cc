#include "services/model/estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

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

TEST(Estimate, IsWithinATenthOfWhatTheEngineTakes) {
  // Resident megabytes of llama.cpp with this model, measured.
  const std::pair<int64_t, double> measured[] = {{512, 160}, {2048, 197}, {4096, 238}, {8192, 328}};
  for (const auto& [context_length, megabytes] : measured) {
    const double estimate = Estimate(SmolLm2(), WithContext(context_length)).memory_recommended() / 1e6;
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
  EXPECT_EQ(Estimate(model, WithContext(1024)).breakdown().kv_cache_bytes(), 1024 * 2000);
  EXPECT_EQ(Estimate(model, WithContext(100'000)).breakdown().kv_cache_bytes(), (1024 + 512) * 2000);
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
