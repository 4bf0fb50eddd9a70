#include "services/engine/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "libs/testing/status_matchers.h"

namespace aima::engine {
namespace {

using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

v1::EngineSpec Spec() {
  v1::EngineSpec spec;
  spec.mutable_launch()->add_args("--model={model_path}");
  spec.mutable_launch()->add_args("{host}:{port}");
  v1::ConditionalArgs& embedding = *spec.mutable_launch()->add_when();
  embedding.set_model_type("embedding");
  embedding.add_args("--embedding");
  (*spec.mutable_launch()->mutable_env())["KEY"] = "{api_key}";
  spec.mutable_launch()->add_pass_env("CUDA_VISIBLE_DEVICES");
  v1::ExitCode& code = *spec.add_exit_codes();
  code.set_code(132);
  code.set_meaning("wrong processor");
  return spec;
}

std::optional<std::string> Environment(const std::string& name) {
  const std::map<std::string, std::string> variables = {
      {"PATH", "/bin"}, {"CUDA_VISIBLE_DEVICES", "1"}, {"AWS_SECRET_ACCESS_KEY", "x"}};
  const auto found = variables.find(name);
  return found == variables.end() ? std::nullopt : std::optional<std::string>(found->second);
}

LaunchValues Values() {
  LaunchValues values;
  values.model_path = "/models/a b;{port}$(x)";
  values.port = 1234;
  values.api_key = "sekret";
  values.model_type = "llm";
  return values;
}

TEST(Launch, ArgumentsAreFilledInOneByOneAndOnce) {
  const auto command = MakeCommand(Spec(), {"/opt/engine", "serve"}, Values(), Environment);
  ASSERT_THAT(command, IsOk());
  EXPECT_THAT(command->argv, ElementsAre("/opt/engine", "serve", "--model=/models/a b;{port}$(x)", "127.0.0.1:1234"));
}

TEST(Launch, ArgumentsForATypeOfModelAreAddedForItOnly) {
  LaunchValues values = Values();
  values.model_type = "embedding";
  EXPECT_THAT(MakeCommand(Spec(), {"/opt/engine"}, values, Environment)->argv.back(), "--embedding");
}

TEST(Launch, OnlyDeclaredVariablesReachTheEngine) {
  EXPECT_THAT(MakeCommand(Spec(), {"/opt/engine"}, Values(), Environment)->env,
              UnorderedElementsAre("PATH=/bin", "CUDA_VISIBLE_DEVICES=1", "KEY=sekret"));
}

TEST(Launch, AnUnknownPlaceholderIsNamed) {
  v1::EngineSpec spec = Spec();
  spec.mutable_launch()->add_args("{modell}");
  const absl::Status status = MakeCommand(spec, {"/opt/engine"}, Values(), Environment).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("{modell}"));
}

TEST(Launch, ExitsAreExplained) {
  EXPECT_EQ(ExplainExit(Spec(), {.signal = 4}), "was killed by signal 4 (Illegal instruction): wrong processor");
  EXPECT_EQ(ExplainExit(Spec(), {.code = 9}), "exited with code 9");
}

}  // namespace
}  // namespace aima::engine
