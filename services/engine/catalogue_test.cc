#include "services/engine/catalogue.h"

#include <absl/strings/str_replace.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/ids.h"
#include "libs/testing/status_matchers.h"

namespace aima::engine {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Key;
using unit::v1::INVALID_INPUT;

constexpr char kMinimal[] = R"(
name: demo
type: demo
description: A demonstration.
dialect: openai
model_types: [llm]
install:
  detect: [demo-server]
launch:
  args: [--port, "{port}"]
health:
  path: /health
  stall_timeout: 2m
)";

TEST(EngineCatalogue, TheShippedEnginesAreValid) {
  const absl::StatusOr<EngineCatalogue> catalogue = EngineCatalogue::Load(AIMA_SOURCE_DIR "/configs/engines");
  ASSERT_THAT(catalogue, IsOk());
  EXPECT_THAT(catalogue->engines(), 
              ElementsAre(Key("centernet"), Key("faster-whisper"), Key("hibari"), Key("llamacpp"), Key("ollama"),
                          Key("piper"), Key("sglang"), Key("sglang-diffusion"), Key("terrain"), Key("vllm")));
  const v1::EngineSpec* llamacpp = catalogue->Find("llamacpp");
  EXPECT_EQ(llamacpp->dialect(), v1::DIALECT_OPENAI);
  EXPECT_EQ(llamacpp->install().python().packages(0).version(), "2026.10.11549");
  EXPECT_EQ(llamacpp->stop().timeout(), 5000);
  for (const auto& [name, spec] : catalogue->engines()) {
    EXPECT_TRUE(spec.install().has_python() || !spec.install().by_hand().empty()) << name << " tells no way to get it";
  }
}

TEST(EngineCatalogue, EnginesOfOnesOwnComeFirst) {
  const std::filesystem::path own = ::testing::TempDir() + "/" + NewId("engines-");
  std::filesystem::create_directories(own);
  std::ofstream(own / "demo.yaml") << kMinimal;
  std::ofstream(own / "vllm.yaml") << absl::StrReplaceAll(kMinimal, {{"name: demo", "name: vllm"}});
  absl::StatusOr<EngineCatalogue> catalogue = EngineCatalogue::Load(AIMA_SOURCE_DIR "/configs/engines");
  ASSERT_THAT(catalogue, IsOk());
  ASSERT_THAT(catalogue->Add((own / "nothing").string()), IsOk()) << "there need not be any";
  ASSERT_THAT(catalogue->Add(own.string()), IsOk());
  EXPECT_NE(catalogue->Find("demo"), nullptr);
  EXPECT_EQ(catalogue->Find("vllm")->description(), "A demonstration.");
  EXPECT_NE(catalogue->Find("llamacpp"), nullptr);
  std::ofstream(own / "wrong.yaml") << kMinimal;
  EXPECT_THAT(std::string(catalogue->Add(own.string()).message()), HasSubstr("name: must be wrong"));
  std::filesystem::remove_all(own);
}

TEST(EngineCatalogue, QuantitiesAreReadWithTheirUnits) {
  const absl::StatusOr<v1::EngineSpec> spec = ParseEngineSpec(kMinimal);
  ASSERT_THAT(spec, IsOk());
  EXPECT_EQ(spec->health().stall_timeout(), 120000);
}

TEST(EngineCatalogue, UnknownKeysAndWrongValuesAreNamed) {
  EXPECT_THAT(ParseEngineSpec(std::string(kMinimal) + "colour: red\n"), FailsWith(INVALID_INPUT, "colour"));
  std::string nested = kMinimal;
  nested.replace(nested.find("detect"), 6, "detects");
  EXPECT_THAT(ParseEngineSpec(nested), FailsWith(INVALID_INPUT, "detects"));
  std::string dialect = kMinimal;
  dialect.replace(dialect.find("openai"), 6, "latin");
  EXPECT_THAT(ParseEngineSpec(dialect), FailsWith(INVALID_INPUT, "dialect"));
  std::string path = kMinimal;
  path.replace(path.find("/health"), 7, "health");
  EXPECT_THAT(ParseEngineSpec(path), FailsWith(INVALID_INPUT, "health.path"));
}

TEST(EngineCatalogue, AliasesAreRefused) {
  EXPECT_THAT(ParseEngineSpec("name: &x demo\ntype: *x\n"), FailsWith(INVALID_INPUT, "not allowed"));
}

TEST(EngineCatalogue, AnEngineThatCannotGetOnTheMachineIsRefused) {
  std::string text = kMinimal;
  text.replace(text.find("detect: [demo-server]"), 21, "by_hand: no way");
  EXPECT_THAT(ParseEngineSpec(text), FailsWith(INVALID_INPUT, "install"));
}

}  // namespace
}  // namespace aima::engine
