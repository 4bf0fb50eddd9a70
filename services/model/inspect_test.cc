#include "services/model/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "libs/testing/status_matchers.h"
#include "services/model/model_files_for_test.h"

namespace aima::model {
namespace {

namespace fs = std::filesystem;
using ::aima::testing::FailsWith;
using ::aima::testing::IsOk;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;
using testing::TinyLlama;
using testing::TinySafetensors;

constexpr char kBertConfig[] = R"({"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 384,
  "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 30522,
  "max_position_embeddings": 512})";

constexpr char kLlamaConfig[] = R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
  "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100,
  "max_position_embeddings": 2048, "auto_map": {}})";

class InspectTest : public ::testing::Test {
 protected:
  absl::StatusOr<Inspection> Look(const std::string& path) { return Inspect(ImportRoots({}), path); }
  TemporaryDirectory dir_;
};

TEST_F(InspectTest, AGgufFileGetsItsNameFromTheFile) {
  const auto found = Look(dir_.Write("SmolLM2-135M-Instruct.Q4_1.gguf", TinyLlama().File()));
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->name, "SmolLM2-135M-Instruct");
  EXPECT_EQ(found->format, v1::MODEL_FORMAT_GGUF);
  EXPECT_EQ(found->type, v1::MODEL_TYPE_LLM);
  ASSERT_EQ(found->files.size(), 1u);
  EXPECT_EQ(found->files[0].size(), found->size);
}

TEST_F(InspectTest, AFileNameThatSaysNothingGivesWayToTheNameInTheFile) {
  EXPECT_EQ(Look(dir_.Write("sha256-" + std::string(64, 'a'), TinyLlama("Tiny One").File()))->name, "Tiny One");
  EXPECT_EQ(Look(dir_.Write("tiny-two/ggml-model-q4_0.gguf", TinyLlama("").File()))->name, "tiny-two");
}

TEST(ModelName, IsTheFileNameWithoutFormatPackingAndPart) {
  EXPECT_EQ(ModelNameOf("Qwen3-8B-UD-Q4_K_XL.gguf"), "Qwen3-8B");
  EXPECT_EQ(ModelNameOf("llama-70b-Q8_0-00001-of-00003.gguf"), "llama-70b");
  EXPECT_EQ(ModelNameOf("gemma-3-4b-it-bf16.gguf"), "gemma-3-4b-it");
  EXPECT_EQ(ModelNameOf("yolo.onnx"), "yolo");
}

TEST_F(InspectTest, PartsOfAGgufModelAreOneModel) {
  const auto part = [](uint32_t number) {
    testing::GgufWriter writer;
    if (number == 0) writer = TinyLlama();
    writer.U32("split.count", 2).U32("split.no", number);
    if (number == 1) writer.Tensor("more.weight", {32, 8});
    return writer.File();
  };
  const std::string first = dir_.Write("big-00001-of-00002.gguf", part(0));
  EXPECT_THAT(Look(first), FailsWith(v1::MODEL_FILE_NOT_FOUND, "big-00002-of-00002.gguf"));
  const std::string second = dir_.Write("big-00002-of-00002.gguf", part(1));
  const auto found = Look(first);
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->name, "big");
  EXPECT_EQ(found->files.size(), 2u);
  EXPECT_EQ(found->details.parameters(), 3232 + 256);
  EXPECT_THAT(Look(second), FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "import the first one"));
  EXPECT_THAT(Look(dir_.path()), IsOk());
}

TEST_F(InspectTest, ADirectoryOfAnEmbeddingModel) {
  dir_.Write("mini/model.safetensors", TinySafetensors());
  dir_.Write("mini/config.json", kBertConfig);
  dir_.Write("mini/modules.json", "[]");
  dir_.Write("mini/tokenizer.json", "{}");
  dir_.Write("mini/1_Pooling/config.json", "{}");
  dir_.Write("mini/pytorch_model.bin", "\x80\x02");
  dir_.Write("mini/README.md", "---\nlicense: apache-2.0\n---\n");
  const auto found = Look(dir_.path() + "/mini");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->name, "mini");
  EXPECT_EQ(found->type, v1::MODEL_TYPE_EMBEDDING);
  EXPECT_EQ(found->format, v1::MODEL_FORMAT_SAFETENSORS);
  EXPECT_EQ(found->files[0].path(), dir_.path() + "/mini/model.safetensors");
  EXPECT_EQ(found->files.size(), 5u) << "weights, three at the top and one below; no pickle";
  EXPECT_EQ(found->details.license(), "apache-2.0");
  EXPECT_EQ(found->details.parameters(), 14);
  EXPECT_EQ(found->details.quantization(), "BF16");
  EXPECT_EQ(found->details.kv_numbers_per_token(), 0);
}

TEST_F(InspectTest, ShardsAreFoundThroughTheIndex) {
  dir_.Write("config.json", kLlamaConfig);
  dir_.Write("model.safetensors.index.json", R"({"weight_map": {"x": "s1.safetensors", "y": "s2.safetensors"}})");
  dir_.Write("s1.safetensors", TinySafetensors());
  EXPECT_THAT(Look(dir_.path()), FailsWith(v1::MODEL_FILE_NOT_FOUND, "s2.safetensors"));
  dir_.Write("s2.safetensors", TinySafetensors());
  const auto found = Look(dir_.path());
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->type, v1::MODEL_TYPE_LLM);
  EXPECT_EQ(found->details.parameters(), 28);
  EXPECT_EQ(found->details.kv_numbers_per_token(), 3 * 2 * 32);
  EXPECT_TRUE(found->details.custom_code());
  dir_.Write("s2.safetensors", TinySafetensors() + "x");
  EXPECT_THAT(Look(dir_.path()), FailsWith(v1::MODEL_FILE_CORRUPT, "s2.safetensors"));
}

TEST_F(InspectTest, AProjectorMakesALanguageModelSee) {
  dir_.Write("m.gguf", TinyLlama().File());
  const std::string projector =
      dir_.Write("mmproj-m.gguf", testing::GgufWriter().Text("general.architecture", "clip").File());
  const auto found = Look(dir_.path());
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->type, v1::MODEL_TYPE_VLM);
  EXPECT_EQ(found->details.projector_path(), projector);
  EXPECT_THAT(Look(projector), FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "no model by itself"));
}

TEST_F(InspectTest, PickledWeightsAreRefusedWhateverTheyAreCalled) {
  const std::string pickle("\x80\x02}q\x00.", 6);
  EXPECT_THAT(Look(dir_.Write("model.pt", pickle)), FailsWith(v1::MODEL_FORMAT_UNSAFE, "pickled"));
  EXPECT_THAT(Look(dir_.Write("renamed.gguf", pickle)), FailsWith(v1::MODEL_FORMAT_UNSAFE, "renamed.gguf"));
  EXPECT_THAT(Look(dir_.Write("pytorch_model.bin", "PK\x03\x04....")), FailsWith(v1::MODEL_FORMAT_UNSAFE, "pickled"));
  fs::remove(dir_.path() + "/renamed.gguf");
  EXPECT_THAT(Look(dir_.path()), FailsWith(v1::MODEL_FORMAT_UNSAFE, "pickled"));
}

TEST_F(InspectTest, OtherFilesAreRefused) {
  EXPECT_THAT(Look(dir_.Write("notes.txt", "hello")), FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "notes.txt"));
  EXPECT_THAT(Look(dir_.Write("empty.gguf", "")), FailsWith(v1::MODEL_FILE_CORRUPT, "empty.gguf"));
  EXPECT_THAT(Look(dir_.Write("noise.gguf", "hello")), FailsWith(v1::MODEL_FILE_CORRUPT, "does not begin with 'GGUF'"));
  EXPECT_THAT(Look(dir_.path() + "/absent.gguf"), FailsWith(v1::MODEL_FILE_NOT_FOUND, "absent.gguf"));
  EXPECT_THAT(Look("relative.gguf"), FailsWith(unit::v1::INVALID_INPUT, "path"));
  EXPECT_THAT(Look("/dev/zero"), FailsWith(v1::MODEL_PATH_REFUSED, "not a regular file"));
}

TEST_F(InspectTest, AFifoIsRefusedWithoutWaitingForAWriter) {
  const std::string fifo = dir_.path() + "/pipe.gguf";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(Look(fifo), FailsWith(v1::MODEL_PATH_REFUSED, "not a regular file"));
}

TEST_F(InspectTest, LinksCountAsWhatTheyLeadTo) {
  const std::string inside = dir_.Write("roots/m.gguf", TinyLlama().File());
  const std::string outside = dir_.Write("outside/m.gguf", TinyLlama().File());
  const ImportRoots roots({dir_.path() + "/roots"});
  EXPECT_THAT(Inspect(roots, inside), IsOk());
  EXPECT_THAT(Inspect(roots, outside), FailsWith(v1::MODEL_PATH_REFUSED, "not below"));
  fs::create_symlink(outside, dir_.path() + "/roots/link.gguf");
  EXPECT_THAT(Inspect(roots, dir_.path() + "/roots/link.gguf"), FailsWith(v1::MODEL_PATH_REFUSED, "not below"));
  EXPECT_THAT(Inspect(roots, dir_.path() + "/roots/../outside/m.gguf"), FailsWith(v1::MODEL_PATH_REFUSED, "not below"));
  fs::create_symlink(inside, dir_.path() + "/outside/link.gguf");
  const auto linked = Inspect(roots, dir_.path() + "/outside/link.gguf");
  ASSERT_THAT(linked, IsOk());
  EXPECT_EQ(linked->path, inside);
  EXPECT_THAT(Inspect(ImportRoots({dir_.path() + "/root"}), inside), FailsWith(v1::MODEL_PATH_REFUSED, "not below"));
}

TEST_F(InspectTest, ConfigurationsThatAreNoneAreNamed) {
  dir_.Write("model.safetensors", TinySafetensors());
  dir_.Write("config.json", "[1]");
  EXPECT_THAT(Look(dir_.path()), FailsWith(v1::MODEL_FILE_CORRUPT, "config.json"));
  dir_.Write("config.json", R"({"quoted": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "deep": )" + std::string(33, '[') + std::string(33, ']') + "}");
  EXPECT_THAT(Look(dir_.path()), FailsWith(v1::MODEL_FILE_CORRUPT, "config.json")) << "too deep";
  dir_.Write("config.json", R"({"num_hidden_layers": -5, "hidden_size": "many", "model_type": 7})");
  const auto found = Look(dir_.path());
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->details.layers(), 0);
  EXPECT_EQ(found->type, v1::MODEL_TYPE_UNSPECIFIED);
}

}  // namespace
}  // namespace aima::model
