#include "services/model/safetensors.h"

#include <gtest/gtest.h>

#include <random>

#include "aima/model/v1/model.pb.h"
#include "libs/testing/status_matchers.h"
#include "services/model/model_files_for_test.h"

namespace aima::model {
namespace {

using ::aima::testing::FailsWith;
using ::aima::testing::IsOk;
using testing::SafetensorsFile;
using testing::TinySafetensors;

absl::StatusOr<Safetensors> Parse(const std::string& bytes) {
  return ReadSafetensors(MemoryBytes("m.safetensors", bytes));
}

TEST(Safetensors, TensorsAreCountedByType) {
  const auto header = Parse(TinySafetensors());
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->tensors, 2u);
  EXPECT_EQ(header->parameters, 14u);
  EXPECT_EQ(header->tensor_bytes, 40u);
  EXPECT_EQ(header->MainType(), "BF16");
}

TEST(Safetensors, PaddingBehindTheHeaderIsAllowed) {
  EXPECT_THAT(Parse(SafetensorsFile(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   )", 1)), IsOk());
}

TEST(Safetensors, WhatIsWrongIsNamed) {
  const auto one = [](const std::string& fields) { return SafetensorsFile("{\"a\":{" + fields + "}}", 8); };
  const struct {
    std::string bytes;
    const char* says;
  } cases[] = {
      {"1234", "takes 8 bytes, but only 4 are left"},
      {testing::Number(UINT64_MAX) + "{}", "claims a header of 18446744073709551615 bytes"},
      {testing::Number<uint64_t>(100) + "{}", "claims a header of 100 bytes"},
      {SafetensorsFile("[]", 0), "does not begin with '{'"},
      {SafetensorsFile("{\"a\":", 0), "invalid JSON"},
      {SafetensorsFile("{\"a\":7}", 0), "a number where none belongs"},
      {SafetensorsFile("{\"a\":{\"b\":{\"c\":{}}}}", 0), "an object where none belongs"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"x":[1])"), "a list where none belongs"},
      {one(R"("dtype":"F99","shape":[2],"data_offsets":[0,8])"), "unknown type 'F99'"},
      {one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "the negative number -2"},
      {one(R"("dtype":"F32","shape":[2e9],"data_offsets":[0,8])"), "not whole or too large"},
      {one(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8])"), "not whole or too large"},
      {one(R"("dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8])"), "too many numbers"},
      {one(R"("dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,8])"), "does not take 8 bytes"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "from 8 to 0 of 8 bytes"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[8,16])"), "from 8 to 16 of 8 bytes"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), "without a beginning and an end"},
      {one(R"("dtype":"F32","shape":[2])"), "without a beginning and an end"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), "no tensor covers the data from 0 to 4"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), "take 4 bytes of data, but the file holds 8"},
      {SafetensorsFile(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],)"
                       R"("data_offsets":[2,4]}})", 4),
       "tensors overlap from 2 to 4"},
      {SafetensorsFile(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],)"
                       R"("data_offsets":[1,2]}})", 2),
       "tensor 'a' is there twice"},
      {SafetensorsFile("{\"a\":" + std::string(100'000, '['), 0), "a list where none belongs"},
  };
  for (const auto& [bytes, says] : cases) {
    EXPECT_THAT(Parse(bytes), FailsWith(v1::MODEL_FILE_CORRUPT, says)) << says;
  }
}

TEST(Safetensors, EveryTruncationAndExtensionIsFound) {
  const std::string whole = TinySafetensors();
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(Parse(whole.substr(0, size)).ok()) << size;
  EXPECT_FALSE(Parse(whole + "x").ok());
}

TEST(Safetensors, RandomDamageNeverDoesMoreThanFail) {
  const std::string whole = TinySafetensors();
  std::mt19937 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 1 + round % 4; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    (void)Parse(bytes);
  }
}

TEST(Safetensors, AnIndexNamesFilesBesideItOnly) {
  const auto names = [](const std::string& text) { return ReadShardNames(MemoryBytes("index.json", text)); };
  const auto good = names(R"({"weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}})");
  ASSERT_THAT(good, IsOk());
  EXPECT_EQ(*good, (std::vector<std::string>{"m-1.safetensors", "m-2.safetensors"}));
  EXPECT_THAT(names(R"({"weight_map": {"a": "../m.safetensors"}})"), FailsWith(v1::MODEL_FILE_CORRUPT, "'a'"));
  EXPECT_THAT(names(R"({"weight_map": {"a": "m.bin"}})"), FailsWith(v1::MODEL_FILE_CORRUPT, "no safetensors file"));
  EXPECT_THAT(names(R"({"weight_map": {}})"), FailsWith(v1::MODEL_FILE_CORRUPT, "empty"));
  EXPECT_THAT(names("{"), FailsWith(v1::MODEL_FILE_CORRUPT, "weight_map"));
}

}  // namespace
}  // namespace aima::model
