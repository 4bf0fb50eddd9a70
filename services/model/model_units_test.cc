#include "services/model/model_units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "aima/engine/v1/engine.pb.h"
#include "services/model/model_units_for_test.h"

namespace aima::model {
namespace {

namespace fs = std::filesystem;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TinyLlama;

TEST_F(ModelUnitsTest, AModelThatIsServedIsNotDeletedUnlessForced) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  engine_.Run("a", "a", engine::v1::INSTANCE_STATUS_RUNNING);
  engine_.Run("b", "b", engine::v1::INSTANCE_STATUS_RUNNING);
  engine_.Run("a-2", "a", engine::v1::INSTANCE_STATUS_STARTING);
  engine_.Run("a-3", "a", engine::v1::INSTANCE_STATUS_STOPPED);
  EXPECT_THAT(Delete("a"), FailsWith(v1::MODEL_IN_USE, "served by: a, a-2"));
  engine_.answer.reset();
  EXPECT_THAT(Delete("a"), FailsWith(unit::v1::UNAVAILABLE, "engine is down"));
  EXPECT_THAT(Get("a"), IsOk());
  EXPECT_THAT(Delete("a", /*force=*/true), IsOk());
  EXPECT_THAT(Get("a"), FailsWith(v1::MODEL_NOT_FOUND, "'a'"));
  EXPECT_THAT(Delete("a", /*force=*/true), FailsWith(v1::MODEL_NOT_FOUND, "'a'"));
  EXPECT_TRUE(fs::exists(dir_.path() + "/a.gguf")) << "the file is not AIMA's";
  EXPECT_EQ(Events(), "model.created model.deleted");
}

TEST_F(ModelUnitsTest, ARecordWithoutFilesIsPending) {
  const auto created = Create("My Model");
  ASSERT_THAT(created, IsOk());
  EXPECT_EQ(created->model_id(), "my-model");
  EXPECT_EQ(Get("my-model")->status(), v1::MODEL_STATUS_PENDING);
  EXPECT_FALSE(Get("my-model")->has_requirements()) << "nobody knows what it will need";
  EXPECT_THAT(Create("my model"), FailsWith(v1::MODEL_EXISTS, "'my-model'"));
  EXPECT_THAT(Verify("my-model"), FailsWith(v1::MODEL_NOT_READY, "my-model"));
  v1::EstimateResourcesRequest request;
  request.set_model_id("my-model");
  EXPECT_THAT(Run(units_->EstimateResources(call_, request)), FailsWith(v1::MODEL_NOT_READY, "my-model"));
}

TEST_F(ModelUnitsTest, ARecordWithFilesIsReady) {
  const std::string path = dir_.Write("a.gguf", TinyLlama().File());
  ASSERT_THAT(Create("Mine", v1::MODEL_TYPE_EMBEDDING, path), IsOk());
  EXPECT_EQ(Get("mine")->status(), v1::MODEL_STATUS_READY);
  EXPECT_EQ(Get("mine")->type(), v1::MODEL_TYPE_EMBEDDING);
  EXPECT_THAT(Create("Again", v1::MODEL_TYPE_LLM, path), FailsWith(v1::MODEL_EXISTS, "'mine'"));
  v1::CreateRequest request;
  request.set_name("Wrong");
  request.set_type(v1::MODEL_TYPE_LLM);
  request.set_format(v1::MODEL_FORMAT_ONNX);
  request.set_path(path);
  EXPECT_THAT(Run(units_->Create(call_, request)), FailsWith(unit::v1::INVALID_INPUT, "format"));
}

TEST_F(ModelUnitsTest, ListsAreFilteredPagedAndCounted) {
  for (const char* name : {"c", "a", "b", "e", "d"}) ASSERT_THAT(Create(name), IsOk());
  ASSERT_THAT(Create("v", v1::MODEL_TYPE_EMBEDDING), IsOk());
  ASSERT_THAT(Import(dir_.Write("r.gguf", TinyLlama().File())), IsOk());
  v1::ListRequest request;
  request.set_type(v1::MODEL_TYPE_LLM);
  request.set_status(v1::MODEL_STATUS_PENDING);
  request.set_limit(2);
  std::string seen;
  do {
    const v1::ListResponse page = List(request);
    EXPECT_EQ(page.total(), 5);
    for (const v1::Model& model : page.items()) seen += model.id();
    request.set_after(page.next_after());
  } while (!request.after().empty());
  EXPECT_EQ(seen, "abcde");
  request.set_offset(3);
  EXPECT_EQ(List(request).items(0).id(), "d");
  EXPECT_EQ(List().total(), 7);
  ASSERT_THAT(Delete("b"), IsOk());
  EXPECT_EQ(List().total(), 6);
  request.Clear();
  request.set_format(v1::MODEL_FORMAT_GGUF);
  EXPECT_EQ(List(request).total(), 1);
}

TEST_F(ModelUnitsTest, SearchFindsEveryWordAndTakesWildcardsLiterally) {
  for (const char* name : {"SmolLM2 135M Instruct", "SmolLM2 1.7B", "Instructor XL", "100%_sure"}) {
    ASSERT_THAT(Create(name), IsOk());
  }
  ASSERT_THAT(Import(dir_.Write("tiny.gguf", TinyLlama().File())), IsOk());
  EXPECT_THAT(Search("smol"), ElementsAre("smollm2-1.7b", "smollm2-135m-instruct"));
  EXPECT_THAT(Search("INSTRUCT 135m"), ElementsAre("smollm2-135m-instruct"));
  EXPECT_THAT(Search("instruct"), ElementsAre("instructor-xl", "smollm2-135m-instruct"));
  EXPECT_THAT(Search("llama"), ElementsAre("tiny")) << "by architecture";
  EXPECT_THAT(Search("%"), ElementsAre("100-sure"));
  EXPECT_THAT(Search("_sur"), ElementsAre("100-sure"));
  EXPECT_THAT(Search("\\"), IsEmpty());
  EXPECT_THAT(Search("smol' OR '1'='1"), IsEmpty());
  EXPECT_THAT(Search("i", "local"), ElementsAre("tiny"));
}

TEST_F(ModelUnitsTest, TheEstimateGrowsWithTheContext) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  v1::EstimateResourcesRequest request;
  request.set_model_id("a");
  ApplyDefaults(request);
  const auto usual = Run(units_->EstimateResources(call_, request));
  ASSERT_THAT(usual, IsOk());
  EXPECT_EQ(usual->context_length(), 256) << "what the model was made for";
  request.set_context_length(100'256);
  const auto longer = Run(units_->EstimateResources(call_, request));
  EXPECT_EQ(longer->breakdown().kv_cache_bytes() - usual->breakdown().kv_cache_bytes(), 100'000 * 2 * 64);
}

TEST_F(ModelUnitsTest, AnImportTellsTheNeedsThatTheModelHasAfterwards) {
  engine::v1::Engine& engine = *engine_.answer->add_items();
  engine.set_name("here");
  engine.set_path("/opt/here");
  engine.add_formats("gguf");
  engine.add_model_types("llm");
  engine.mutable_memory_facts()->set_process(222);
  const auto imported = Import(dir_.Write("a.gguf", TinyLlama().File()));
  ASSERT_THAT(imported, IsOk());
  EXPECT_EQ(imported->model().requirements().DebugString(), Get("a")->requirements().DebugString());
}

TEST_F(ModelUnitsTest, AModelThatAnEngineBringsAlongIsToldAsThat) {
  engine::v1::Engine& engine = *engine_.answer->add_items();
  engine.set_name("parrot");
  engine.set_path("/opt/parrot");
  engine::v1::OwnModel& own = *engine.add_own_models();
  own.set_name("polly");
  own.set_type("tts");
  EXPECT_THAT(Get("polly"), FailsWith(v1::MODEL_NOT_FOUND, "the engine 'parrot' brings it along"));
  EXPECT_THAT(Get("polly"), FailsWith(v1::MODEL_NOT_FOUND, "ask it with inference.synthesize"));
  EXPECT_THAT(Get("nobody"), FailsWith(v1::MODEL_NOT_FOUND, "there is no model 'nobody'"));
}

TEST_F(ModelUnitsTest, AModelWhoseEngineWaitsForItsNextStartIsInUse) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  engine_.Run("a", "a", engine::v1::INSTANCE_STATUS_FAILED);
  engine_.answer->mutable_items(0)->mutable_instances(0)->mutable_next_start_at()->set_seconds(2'000'000'000);
  EXPECT_THAT(Delete("a"), FailsWith(v1::MODEL_IN_USE, "served by: a"));
  engine_.answer->mutable_items(0)->mutable_instances(0)->clear_next_start_at();
  EXPECT_THAT(Delete("a"), IsOk());
}

TEST_F(ModelUnitsTest, WhatNoSourceHasConfirmedIsNoModelAfterwards) {
  v1::PullRequest request;
  request.set_repo("mistyped");
  const auto run = Run(pulls_->Begin(call_, request));
  ASSERT_THAT(run, IsOk());
  EXPECT_THAT(Get("mistyped"), IsOk()) << "while it is looked for";
  EXPECT_THAT(Run((*run)->feed().Result()), FailsWith(v1::MODEL_SOURCE_UNREACHABLE, ""));
  EXPECT_THAT(Get("mistyped"), FailsWith(v1::MODEL_NOT_FOUND, "mistyped"));
  EXPECT_EQ(Sql("SELECT count(*) FROM pulls"), "0");
  EXPECT_THAT(Events(), HasSubstr("model.pull_progress model.deleted"));
}

TEST_F(ModelUnitsTest, WhatWasBegunKeepsItsRecordWhenItsSourceIsAway) {
  v1::PullRequest request;
  request.set_repo("begun");
  auto run = Run(pulls_->Begin(call_, request));
  ASSERT_THAT(run, IsOk());
  EXPECT_THAT(Run((*run)->feed().Result()), FailsWith(v1::MODEL_SOURCE_UNREACHABLE, ""));
  // As it would be had the source answered, and then broken off.
  v1::Model model;
  model.set_id("begun");
  PullRow row;
  row.model_id = "begun";
  row.wish = (*run)->row().wish;
  row.status = v1::PULL_STATUS_FAILED;
  row.own_record = row.confirmed = true;
  ModelStore::Also also;
  also.push_back(PullStore::InsertOf(row));
  ASSERT_THAT(Run(models_->Insert(call_, model, std::move(also))), IsOk());
  run = Run(pulls_->Begin(call_, request));
  ASSERT_THAT(run, IsOk());
  EXPECT_THAT(Run((*run)->feed().Result()), FailsWith(v1::MODEL_SOURCE_UNREACHABLE, ""));
  EXPECT_EQ(Get("begun")->status(), v1::MODEL_STATUS_ERROR);
}

TEST_F(ModelUnitsTest, TheEstimateUsesTheFactsOfTheEngineThatIsToServeTheModel) {
  const auto know = [this](const std::string& name, const std::string& path, int64_t process) {
    engine::v1::Engine& engine = *engine_.answer->add_items();
    engine.set_name(name);
    engine.set_path(path);
    engine.add_formats("gguf");
    engine.add_model_types("llm");
    engine.mutable_memory_facts()->set_process(process);
  };
  know("absent", "", 111);
  know("here", "/opt/here", 222);
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  v1::EstimateResourcesRequest request;
  request.set_model_id("a");
  ApplyDefaults(request);
  EXPECT_EQ(Run(units_->EstimateResources(call_, request))->engine(), "here");
  EXPECT_EQ(Run(units_->EstimateResources(call_, request))->breakdown().overhead_bytes(), 222);
  request.set_engine("absent");
  EXPECT_EQ(Run(units_->EstimateResources(call_, request))->breakdown().overhead_bytes(), 111);
  request.set_engine("nope");
  EXPECT_THAT(Run(units_->EstimateResources(call_, request)), FailsWith(unit::v1::INVALID_INPUT, "nope"));
  request.clear_engine();
  engine_.answer.reset();
  EXPECT_EQ(Run(units_->EstimateResources(call_, request))->engine(), "here") << "as it was known a moment ago";
  Restart();
  EXPECT_THAT(Run(units_->EstimateResources(call_, request))->explanation(), HasSubstr("assumed"));
}

TEST_F(ModelUnitsTest, CompatibilityNamesEnginesByFormatAndType) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  ASSERT_THAT(Create("b"), IsOk());
  v1::CompatibilityRequest request;
  ApplyDefaults(request);
  const auto answer = Run(units_->Compatibility(call_, request));
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->items_size(), 2);
  EXPECT_THAT(answer->items(0).engine_types(), ElementsAre("llamacpp", "ollama"));
  EXPECT_THAT(answer->items(1).engine_types(), IsEmpty());
  EXPECT_THAT(answer->items(1).note(), HasSubstr("no files"));
}

TEST_F(ModelUnitsTest, CompatibilityTellsWhichEnginesOfThisMachineRunAModelAndWhyOthersDoNot) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  const auto know = [this](const std::string& name, const std::string& path, const std::string& format, const std::string& type) {
    engine::v1::Engine& engine = *engine_.answer->add_items();
    engine.set_name(name);
    engine.set_path(path);
    engine.add_formats(format);
    engine.add_model_types(type);
  };
  know("here", "/opt/here", "gguf", "llm");
  know("absent", "", "gguf", "llm");
  know("other", "/opt/other", "safetensors", "llm");
  know("speech", "/opt/speech", "gguf", "asr");
  v1::CompatibilityRequest request;
  ApplyDefaults(request);
  const auto answer = Run(units_->Compatibility(call_, request));
  ASSERT_THAT(answer, IsOk());
  std::map<std::string, std::string> reasons;
  for (const v1::EngineFit& fit : answer->items(0).engines()) {
    EXPECT_EQ(fit.runs(), fit.reason().empty());
    reasons[fit.engine()] = fit.reason();
  }
  ASSERT_EQ(reasons.size(), 4u);
  EXPECT_EQ(reasons["here"], "");
  EXPECT_THAT(reasons["absent"], HasSubstr("engine.install --name absent"));
  EXPECT_THAT(reasons["other"], HasSubstr("does not read gguf"));
  EXPECT_THAT(reasons["speech"], HasSubstr("type llm"));
  engine_.answer.reset();
  const auto unknown = Run(units_->Compatibility(call_, request));
  ASSERT_THAT(unknown, IsOk());
  EXPECT_THAT(unknown->items(0).note(), HasSubstr("cannot be found out"));
}

}  // namespace
}  // namespace aima::model
