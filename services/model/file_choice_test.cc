#include "services/model/file_choice.h"

#include <gmock/gmock.h>

#include "aima/model/v1/model.pb.h"
#include "libs/testing/status_matchers.h"

namespace aima::model {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::UnorderedElementsAre;

absl::StatusOr<FileChoice> Choose(const std::vector<std::string>& names, const std::string& quantization = "") {
  std::vector<RepositoryFile> files;
  for (const std::string& name : names) files.push_back({name, 100, "", ""});
  return ChooseFiles("acme/x", files, quantization);
}

std::vector<std::string> NamesOf(const absl::StatusOr<FileChoice>& choice) {
  EXPECT_THAT(choice, IsOk());
  std::vector<std::string> names;
  if (choice.ok()) {
    for (const RepositoryFile& file : choice->files) names.push_back(file.name);
  }
  return names;
}

TEST(FileChoice, TheBestCompromiseOfManyPackingsIsTaken) {
  const std::vector<std::string> names = {"x-Q2_K.gguf", "x-Q4_K_M.gguf", "x-Q8_0.gguf", "x-f16.gguf", "README.md",
                                          "config.json", "x.imatrix.gguf", "notes.pdf"};
  EXPECT_THAT(NamesOf(Choose(names)), UnorderedElementsAre("x-Q4_K_M.gguf", "README.md", "config.json"));
  EXPECT_THAT(NamesOf(Choose(names, "F16")), UnorderedElementsAre("x-f16.gguf", "README.md", "config.json"));
  EXPECT_THAT(Choose(names, "Q5_0"), FailsWith(unit::v1::INVALID_INPUT, "F16, Q2_K, Q4_K_M, Q8_0"));
}

TEST(FileChoice, AllPartsOfASetComeAndHalfSetsDoNot) {
  EXPECT_THAT(NamesOf(Choose({"Q4_K_M/x-Q4_K_M-00001-of-00002.gguf", "Q4_K_M/x-Q4_K_M-00002-of-00002.gguf",
                              "Q4_0/x-Q4_0-00001-of-00002.gguf"})),
              UnorderedElementsAre("Q4_K_M/x-Q4_K_M-00001-of-00002.gguf", "Q4_K_M/x-Q4_K_M-00002-of-00002.gguf"));
}

TEST(FileChoice, AModelThatSeesComesWithOneProjector) {
  EXPECT_THAT(NamesOf(Choose({"x-Q4_K_M.gguf", "mmproj-x-f32.gguf", "mmproj-x-f16.gguf"})),
              UnorderedElementsAre("x-Q4_K_M.gguf", "mmproj-x-f16.gguf"));
}

TEST(FileChoice, SafetensorsComeWithConfigurationAndTokenizerAndWithoutOtherFormats) {
  EXPECT_THAT(NamesOf(Choose({"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors",
                              "model.safetensors.index.json", "consolidated.safetensors", "config.json", "tokenizer.model",
                              "pytorch_model.bin", "pytorch_model.bin.index.json", "onnx/model.onnx", "onnx/config.json",
                              "modeling.py", "1_Pooling/config.json", "LICENSE"})),
              UnorderedElementsAre("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                   "model.safetensors.index.json", "config.json", "tokenizer.model",
                                   "1_Pooling/config.json", "LICENSE"));
}

TEST(FileChoice, APipelineKeepsItsSubfoldersInOneVariant) {
  const std::vector<std::string> names = {"model_index.json",
                                          "unet/diffusion_pytorch_model.safetensors",
                                          "unet/diffusion_pytorch_model.fp16.safetensors",
                                          "unet/config.json",
                                          "vae/diffusion_pytorch_model.safetensors",
                                          "vae/diffusion_pytorch_model.fp16.safetensors",
                                          "whole_pipeline.safetensors"};
  EXPECT_THAT(NamesOf(Choose(names)),
              UnorderedElementsAre("model_index.json", "unet/diffusion_pytorch_model.safetensors", "unet/config.json",
                                   "vae/diffusion_pytorch_model.safetensors"));
  EXPECT_THAT(NamesOf(Choose(names, "FP16")),
              UnorderedElementsAre("model_index.json", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/config.json",
                                   "vae/diffusion_pytorch_model.fp16.safetensors"));
}

TEST(FileChoice, AnOnnxModelIsGivenByItsFile) {
  const auto choice = Choose({"onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_q4.onnx", "config.json"});
  EXPECT_THAT(NamesOf(choice), UnorderedElementsAre("onnx/model.onnx", "onnx/model.onnx_data", "config.json"));
  EXPECT_EQ(choice->main, "onnx/model.onnx");
  EXPECT_EQ(Choose({"onnx/model.onnx", "onnx/model_q4.onnx"}, "Q4")->main, "onnx/model_q4.onnx");
}

TEST(FileChoice, PickledWeightsAreNeverTaken) {
  EXPECT_THAT(Choose({"pytorch_model.bin", "config.json"}), FailsWith(v1::MODEL_FORMAT_UNSAFE, "pytorch_model.bin"));
  EXPECT_THAT(Choose({"README.md"}), FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "acme/x"));
}

TEST(FileChoice, PackingsAreReadFromNames) {
  EXPECT_EQ(PackingOf("x-Q4_K_M-00001-of-00002.gguf"), "Q4_K_M");
  EXPECT_EQ(PackingOf("x.iq4_xs.gguf"), "IQ4_XS");
  EXPECT_EQ(PackingOf("x-UD-Q2_K_XL.gguf"), "UD-Q2_K_XL");
  EXPECT_EQ(PackingOf("x-fp16.gguf"), "F16");
  EXPECT_EQ(PackingOf("seq8_0x.gguf"), "");
}

}  // namespace
}  // namespace aima::model
