#include "services/model/gguf.h"

#include <absl/strings/str_cat.h>
#include <gtest/gtest.h>

#include <random>

#include "aima/model/v1/model.pb.h"
#include "libs/testing/status_matchers.h"
#include "services/model/describe_gguf.h"
#include "services/model/model_files_for_test.h"

namespace aima::model {
namespace {

using ::aima::testing::FailsWith;
using ::aima::testing::IsOk;
using testing::GgufWriter;
using testing::Number;
using testing::TinyLlama;

absl::StatusOr<Gguf> Parse(const std::string& bytes) { return ReadGguf(MemoryBytes("m.gguf", bytes)); }

TEST(Gguf, FiguresOfAModelAreRead) {
  for (const uint32_t version : {2u, 3u}) {
    const auto gguf = Parse(TinyLlama().File(version));
    ASSERT_THAT(gguf, IsOk());
    const v1::Details details = DescribeGguf(*gguf);
    EXPECT_EQ(TypeOfGguf(*gguf), v1::MODEL_TYPE_LLM);
    EXPECT_EQ(details.architecture(), "llama");
    EXPECT_EQ(details.parameters(), 3232);
    EXPECT_EQ(details.tensor_bytes(), 4 * 3232);
    EXPECT_EQ(details.quantization(), "F32");
    EXPECT_EQ(details.context_length(), 256);
    EXPECT_EQ(details.layers(), 2);
    EXPECT_EQ(details.kv_heads(), 2);
    EXPECT_EQ(details.key_length(), 8);
    EXPECT_EQ(details.kv_numbers_per_token(), 2 * 2 * (8 + 8));
    EXPECT_EQ(details.vocab_size(), 100);
    EXPECT_TRUE(details.chat_template());
    EXPECT_EQ(details.license(), "apache-2.0");
  }
}

TEST(Gguf, LayersThatDifferAreSummedEachByItself) {
  GgufWriter writer;
  writer.Text("general.architecture", "mixed").U32("mixed.block_count", 4).U32("mixed.embedding_length", 64);
  writer.U32("mixed.attention.head_count", 4).List("mixed.attention.head_count_kv", {0, 2, 4, 0});
  writer.U32("mixed.attention.key_length", 10).U32("mixed.attention.value_length", 6);
  writer.U32("mixed.attention.sliding_window", 128).List("mixed.attention.sliding_window_pattern", {1, 1, 0, 0});
  const auto gguf = Parse(writer.File());
  ASSERT_THAT(gguf, IsOk());
  const v1::Details details = DescribeGguf(*gguf);
  EXPECT_EQ(details.kv_heads(), 4);
  EXPECT_EQ(details.kv_numbers_per_token(), 4 * 16);
  EXPECT_EQ(details.kv_numbers_per_token_windowed(), 2 * 16);
  EXPECT_EQ(details.sliding_window(), 128);
}

TEST(Gguf, EncodersAreEmbeddingModelsAndKeepNothing) {
  GgufWriter writer;
  writer.Text("general.architecture", "bert").U32("bert.block_count", 6).U32("bert.embedding_length", 384);
  writer.U32("bert.attention.head_count", 12).U32("bert.pooling_type", 1);
  const auto gguf = Parse(writer.File());
  ASSERT_THAT(gguf, IsOk());
  EXPECT_EQ(TypeOfGguf(*gguf), v1::MODEL_TYPE_EMBEDDING);
  EXPECT_EQ(DescribeGguf(*gguf).pooling(), "mean");
  EXPECT_EQ(DescribeGguf(*gguf).kv_numbers_per_token(), 0);
}

TEST(Gguf, ARankHeadMakesARerankModel) {
  GgufWriter writer;
  writer.Text("general.architecture", "qwen3").U32("qwen3.pooling_type", 4);
  const auto gguf = Parse(writer.File());
  ASSERT_THAT(gguf, IsOk());
  EXPECT_EQ(TypeOfGguf(*gguf), v1::MODEL_TYPE_RERANK);
}

TEST(Gguf, WhatIsWrongIsNamedWithItsPlace) {
  const std::string k = GgufWriter::Name("k");
  const struct {
    std::string bytes;
    const char* says;
  } cases[] = {
      {"", "takes 4 bytes, but only 0 are left"},
      {"GGML" + std::string(40, '\0'), "does not begin with 'GGUF'"},
      {GgufWriter().Claim(uint64_t{1} << 63, 0).Header(), "at byte 8 of 24: it claims 9223372036854775808 tensors"},
      {GgufWriter().Claim(0, UINT64_MAX).Header(), "at byte 16 of 24: it claims 18446744073709551615 keys"},
      {GgufWriter().Raw(Number<uint64_t>(UINT64_MAX) + "key" + std::string(20, 'x')).Header(),
       "the name of key 0 has 18446744073709551615 bytes"},
      {GgufWriter().Raw(k + Number<uint32_t>(8) + Number<uint64_t>(UINT64_MAX - 7)).Header(),
       "the value of 'k' takes 18446744073709551608 bytes"},
      {GgufWriter().Raw(k + Number<uint32_t>(77) + std::string(8, 'x')).Header(), "unknown type 77"},
      {GgufWriter().Raw(k + Number<uint32_t>(9) + Number<uint32_t>(4) + Number<uint64_t>(1ull << 62)).Header(),
       "the value of 'k' claims 4611686018427387904 entries"},
      {GgufWriter().Raw(k + Number<uint32_t>(9) + Number<uint32_t>(9) + Number<uint64_t>(1)).Header(),
       "array of arrays"},
      {GgufWriter().Raw(k + Number<uint32_t>(7) + "\x02").Header(), "neither true nor false"},
      {GgufWriter().U32("k", 1).U32("k", 2).Header(), "'k' is there twice"},
      {GgufWriter().U32("general.alignment", 24).File(), "general.alignment is 24, not a power of two"},
      {GgufWriter().U32("general.alignment", 0).File(), "general.alignment is 0"},
      {GgufWriter().RawTensor("t", {1ull << 40, 1ull << 40}, 0, 0).File(), "more numbers than can be counted"},
      {GgufWriter().RawTensor("t", {1ull << 62}, 0, 0).File(), "tensor 't' has rows of 4611686018427387904 numbers"},
      {GgufWriter().RawTensor("t", {0}, 0, 0).File(), "tensor 't' is empty"},
      {GgufWriter().RawTensor("t", {}, 0, 0).File() + std::string(64, 'x'), "has 0 dimensions"},
      {GgufWriter().RawTensor("t", {1, 1, 1, 1, 1}, 0, 0).File(), "has 5 dimensions"},
      {GgufWriter().RawTensor("t", {31}, 2, 0).File(), "rows of 31 numbers, which cannot be packed as Q4_0"},
      {GgufWriter().RawTensor("t", {1}, 0, 64).File(), "begins at 64 of the data instead of 0"},
      {GgufWriter().RawTensor("t", {1 << 20}, 0, 0).File(), "go past the end of the file"},
  };
  for (const auto& [bytes, says] : cases) {
    EXPECT_THAT(Parse(bytes), FailsWith(v1::MODEL_FILE_CORRUPT, says)) << says;
  }
  EXPECT_THAT(Parse(GgufWriter().Header(1)), FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "GGUF version 1"));
  EXPECT_THAT(Parse(GgufWriter().Header(3u << 24)), FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "big-endian"));
  EXPECT_THAT(Parse(GgufWriter().RawTensor("t", {1}, 99, 0).File()), FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "(99)"));
}

TEST(Gguf, EveryTruncationIsFound) {
  const std::string whole = TinyLlama().File();
  ASSERT_THAT(Parse(whole), IsOk());
  // The padding behind the last tensor may be missing; here there is none.
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(Parse(whole.substr(0, size)).ok()) << size;
  }
}

TEST(Gguf, LongTextsAreSkippedAndNotKept) {
  GgufWriter writer;
  writer.Text("general.architecture", "llama").Text("general.description", std::string(70'000, 'x'));
  const auto gguf = Parse(writer.File());
  ASSERT_THAT(gguf, IsOk());
  EXPECT_EQ(gguf->Text("general.description"), "");
  EXPECT_EQ(gguf->lengths.at("general.description"), 70'000u);
}

TEST(Gguf, AFileOfHugeTextsDoesNotFillMemory) {
  GgufWriter writer;
  for (int i = 0; i < 200; ++i) writer.Text(absl::StrCat("k", i), std::string(60'000, 'x'));
  EXPECT_THAT(Parse(writer.File()), FailsWith(v1::MODEL_FILE_CORRUPT, "keys and texts take more than"));
}

TEST(Gguf, OutlandishFiguresDoNotOverflowWhatIsComputedFromThem) {
  GgufWriter writer;
  writer.Text("general.architecture", "llama").U32("llama.block_count", UINT32_MAX).U32("llama.embedding_length", 1);
  writer.U32("llama.attention.head_count", 1).U32("llama.attention.head_count_kv", UINT32_MAX);
  writer.U32("llama.attention.key_length", 1'000'000'000).U32("llama.attention.value_length", UINT32_MAX);
  const auto gguf = Parse(writer.File());
  ASSERT_THAT(gguf, IsOk());
  EXPECT_GE(DescribeGguf(*gguf).kv_numbers_per_token(), 0);
}

TEST(Gguf, TextThatIsNoUtf8IsMadeFitToBeStored) {
  EXPECT_EQ(CleanText("a\xff\x01z", 10), "a? z");
  EXPECT_EQ(CleanText("\xed\xa0\x80", 10), "???");
  EXPECT_EQ(CleanText("h\xc3\xa9llo", 2), "h");
  EXPECT_EQ(CleanText(std::string("a\0b", 3), 10), "a b");
}

TEST(Gguf, RandomDamageNeverDoesMoreThanFail) {
  const std::string whole = TinyLlama().File();
  std::mt19937 random(7);
  int failed = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 1 + round % 4; ++i) bytes[random() % 900] = static_cast<char>(random());
    failed += !Parse(bytes).ok();
  }
  EXPECT_GT(failed, 10'000);
}

}  // namespace
}  // namespace aima::model
