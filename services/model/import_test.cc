// Imports: what becomes a model, what is refused, and where the files are kept.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <filesystem>

#include "services/model/model_units_for_test.h"

namespace aima::model {
namespace {

namespace fs = std::filesystem;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::SizeIs;
using testing::TinyLlama;
using testing::TinySafetensors;

using ImportTest = ModelUnitsTest;

TEST_F(ImportTest, AnImportedFileIsAModelThatIsReady) {
  const std::string path = dir_.Write("Tiny-Llama.Q4_1.gguf", TinyLlama().File());
  const auto imported = Import(path);
  ASSERT_THAT(imported, IsOk());
  EXPECT_EQ(imported->model_id(), "tiny-llama");
  EXPECT_TRUE(imported->created());

  const auto model = Get("tiny-llama");
  ASSERT_THAT(model, IsOk());
  EXPECT_EQ(model->name(), "Tiny-Llama");
  EXPECT_EQ(model->type(), v1::MODEL_TYPE_LLM);
  EXPECT_EQ(model->format(), v1::MODEL_FORMAT_GGUF);
  EXPECT_EQ(model->status(), v1::MODEL_STATUS_READY);
  EXPECT_EQ(model->path(), path);
  EXPECT_EQ(model->size(), static_cast<int64_t>(fs::file_size(path)));
  EXPECT_EQ(model->details().parameters(), 3232);
  EXPECT_THAT(model->digest(), SizeIs(64));
  EXPECT_GT(model->requirements().memory_recommended(), model->size());
  EXPECT_EQ(model->requirements().gpu_type(), "none");
  EXPECT_EQ(Events(), "model.created");
  EXPECT_EQ(model->DebugString(), imported->model().DebugString()) << "what is returned is what is kept";
}

TEST_F(ImportTest, ImportingTheSameFilesAgainGivesTheSameModel) {
  const std::string path = dir_.Write("a.gguf", TinyLlama().File());
  ASSERT_THAT(Import(path), IsOk());
  for (const std::string& again : {path, dir_.Write("copy-of-a.gguf", TinyLlama().File())}) {
    const auto imported = Import(again);
    ASSERT_THAT(imported, IsOk());
    EXPECT_EQ(imported->model_id(), "a");
    EXPECT_FALSE(imported->created());
  }
  EXPECT_EQ(List().total(), 1);
  EXPECT_EQ(Events(), "model.created");
}

TEST_F(ImportTest, ImportsOfTheSameFileAtOnceMakeOneModel) {
  v1::ImportRequest request;
  request.set_path(dir_.Write("a.gguf", TinyLlama().File()));
  ApplyDefaults(request);
  std::vector<absl::StatusOr<v1::ImportResponse>> results;
  const auto import = [&](v1::ImportRequest request) -> Task<void> {
    CallContext call;
    results.push_back(co_await units_->Import(call, request));
  };
  for (int i = 0; i < 8; ++i) boost::asio::co_spawn(loop_, import(request), boost::asio::detached);
  loop_.restart();
  while (results.size() < 8 && loop_.run_one() > 0) {
  }
  int created = 0;
  for (const auto& result : results) {
    ASSERT_THAT(result, IsOk());
    EXPECT_EQ(result->model_id(), "a");
    created += result->created();
  }
  EXPECT_EQ(created, 1);
  EXPECT_EQ(Events(), "model.created");
}

TEST_F(ImportTest, OtherFilesAtAKnownPathAreRefused) {
  const std::string path = dir_.Write("a.gguf", TinyLlama().File());
  ASSERT_THAT(Import(path), IsOk());
  dir_.Write("a.gguf", TinyLlama("Other").File());
  EXPECT_THAT(Import(path), FailsWith(v1::MODEL_EXISTS, "is the model 'a', which was imported when"));
}

TEST_F(ImportTest, NamesThatAreTakenAreToldApart) {
  ASSERT_THAT(Import(dir_.Write("1/m.gguf", TinyLlama("1").File())), IsOk());
  EXPECT_EQ(Import(dir_.Write("2/m.gguf", TinyLlama("2").File()))->model_id(), "m-f32");
  EXPECT_EQ(Import(dir_.Write("3/m.gguf", TinyLlama("3").File()))->model_id(), "m-2");
  EXPECT_THAT(Import(dir_.Write("4/m.gguf", TinyLlama("4").File()), "M"), FailsWith(v1::MODEL_EXISTS, "'m'"));
  EXPECT_THAT(Import(dir_.Write("4/m.gguf", TinyLlama("4").File()), "+++"),
              FailsWith(unit::v1::INVALID_INPUT, "name"));
}

TEST_F(ImportTest, ACorruptFileIsRefusedAndLeavesNothing) {
  const std::string whole = TinyLlama().File();
  EXPECT_THAT(Import(dir_.Write("a.gguf", whole.substr(0, whole.size() - 100))),
              FailsWith(v1::MODEL_FILE_CORRUPT, "the file is incomplete"));
  EXPECT_THAT(Import(dir_.path() + "/absent.gguf"), FailsWith(v1::MODEL_FILE_NOT_FOUND, "absent.gguf"));
  EXPECT_THAT(Import(dir_.Write("a.pt", "\x80\x02")), FailsWith(v1::MODEL_FORMAT_UNSAFE, "a.pt"));
  EXPECT_EQ(List().total(), 0);
  EXPECT_EQ(Events(), "");
}

TEST_F(ImportTest, FilesThatDoNotTellTheirTypeNeedOne) {
  v1::ImportRequest request;
  request.set_path(dir_.Write("net.onnx", "\x08\x07rest"));
  EXPECT_THAT(Import(request), FailsWith(v1::MODEL_TYPE_UNKNOWN, "net.onnx"));
  request.set_auto_detect(false);
  EXPECT_THAT(Import(request), FailsWith(unit::v1::INVALID_INPUT, "type"));
  request.set_type(v1::MODEL_TYPE_DETECTION);
  ASSERT_THAT(Import(request), IsOk());
  EXPECT_EQ(Get("net")->type(), v1::MODEL_TYPE_DETECTION);
  EXPECT_EQ(Get("net")->format(), v1::MODEL_FORMAT_ONNX);
}

TEST_F(ImportTest, OnlyFilesBelowTheImportRootsAreRead) {
  Restart({dir_.path() + "/allowed"});
  ASSERT_THAT(Import(dir_.Write("allowed/a.gguf", TinyLlama("a").File())), IsOk());
  EXPECT_THAT(Import(dir_.Write("b.gguf", TinyLlama("b").File())), FailsWith(v1::MODEL_PATH_REFUSED, "b.gguf"));
}

TEST_F(ImportTest, ACopyIsIndependentAndGoesWithTheModel) {
  const std::string path = dir_.Write("mini/model.safetensors", TinySafetensors());
  dir_.Write("mini/config.json", R"({"model_type": "bert", "architectures": ["BertModel"]})");
  dir_.Write("mini/1_Pooling/config.json", "{}");
  v1::ImportRequest request;
  request.set_path(dir_.path() + "/mini");
  request.set_copy(true);
  const auto imported = Import(request);
  ASSERT_THAT(imported, IsOk());
  const v1::Model& model = imported->model();
  EXPECT_TRUE(model.stored());
  EXPECT_EQ(model.path(), absl::StrCat(dir_.path(), "/storage/sha256-", model.digest()));
  fs::remove_all(dir_.path() + "/mini");
  EXPECT_TRUE(Verify("mini")->valid());

  const auto deleted = Delete("mini");
  ASSERT_THAT(deleted, IsOk());
  EXPECT_EQ(deleted->freed_bytes(), model.size());
  EXPECT_TRUE(fs::is_empty(dir_.path() + "/storage"));
}

TEST_F(ImportTest, ACopyThatIsThereAlreadyIsUsedOnlyIfItIsRight) {
  v1::ImportRequest request;
  request.set_path(dir_.Write("a.gguf", TinyLlama().File()));
  request.set_copy(true);
  const std::string path = Import(request)->model().path();
  Sql("DELETE FROM models");  // as if the deletion of its files had been interrupted
  FlipBit(path, static_cast<int64_t>(fs::file_size(path)) - 1);
  ASSERT_EQ(Import(request)->model().path(), path);
  EXPECT_TRUE(Verify("a")->valid());
  Sql("DELETE FROM models");
  ASSERT_EQ(Import(request)->model().path(), path);
  EXPECT_TRUE(Verify("a")->valid());
}

TEST_F(ImportTest, WhatAnInterruptedCopyLeftIsRemovedAtTheNextStart) {
  dir_.Write("storage/.incoming-1/m.gguf", "half");
  dir_.Write("storage/sha256-1/m.gguf", "whole");
  Restart();
  EXPECT_FALSE(fs::exists(dir_.path() + "/storage/.incoming-1"));
  EXPECT_TRUE(fs::exists(dir_.path() + "/storage/sha256-1/m.gguf"));
}

TEST_F(ImportTest, AnImportUnderTheNameOfAPendingRecordFillsIt) {
  ASSERT_THAT(Create("Mine", v1::MODEL_TYPE_EMBEDDING), IsOk());
  const auto imported = Import(dir_.Write("a.gguf", TinyLlama().File()), "mine");
  ASSERT_THAT(imported, IsOk());
  EXPECT_EQ(imported->model_id(), "mine");
  const v1::Model model = Get("mine").value();
  EXPECT_EQ(model.DebugString(), imported->model().DebugString());
  EXPECT_EQ(model.name(), "Mine");
  EXPECT_EQ(model.status(), v1::MODEL_STATUS_READY);
  EXPECT_EQ(model.type(), v1::MODEL_TYPE_EMBEDDING) << "as it was created";
  EXPECT_EQ(model.details().layers(), 2);
  EXPECT_EQ(Events(), "model.created model.verified");
  EXPECT_THAT(Import(dir_.Write("b.gguf", TinyLlama("b").File()), "mine"), FailsWith(v1::MODEL_EXISTS, "'mine'"));
  v1::ListRequest ready;
  ready.set_status(v1::MODEL_STATUS_READY);
  EXPECT_EQ(List(ready).total(), 1);
}

}  // namespace
}  // namespace aima::model
