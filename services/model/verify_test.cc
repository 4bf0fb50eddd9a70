// Verification: every change to a model's files is found and told.
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <filesystem>

#include "services/model/model_units_for_test.h"

namespace aima::model {
namespace {

namespace fs = std::filesystem;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing::SafetensorsFile;
using testing::TinyLlama;

using VerifyTest = ModelUnitsTest;

TEST_F(VerifyTest, VerificationFindsOneChangedBit) {
  const std::string path = dir_.Write("a.gguf", TinyLlama().File());
  ASSERT_THAT(Import(path), IsOk());
  EXPECT_TRUE(Verify("a")->valid());
  const auto last = static_cast<int64_t>(fs::file_size(path)) - 1;
  FlipBit(path, last);
  const auto broken = Verify("a");
  ASSERT_THAT(broken, IsOk());
  EXPECT_FALSE(broken->valid());
  EXPECT_THAT(broken->issues(), ElementsAre(HasSubstr("has changed: its SHA-256 is")));
  EXPECT_EQ(Get("a")->status(), v1::MODEL_STATUS_ERROR);
  EXPECT_THAT(Get("a")->error(), HasSubstr("has changed"));
  FlipBit(path, last);
  EXPECT_TRUE(Verify("a")->valid());
  EXPECT_EQ(Get("a")->status(), v1::MODEL_STATUS_READY);
  EXPECT_EQ(Events(), "model.created model.verified model.verified model.verified");
}

TEST_F(VerifyTest, WhatWasFoundInOldFilesIsNotWrittenOverNewOnes) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  const v1::Model read = *Get("a");
  v1::Model placed = read;
  placed.set_path(dir_.Write("new.gguf", TinyLlama().File()));
  placed.set_digest(std::string(64, 'a'));
  *placed.mutable_update_time() = TimestampOf(absl::Now());
  ASSERT_THAT(Run(models_->Place(call_, placed, {})), IsOk());
  v1::Model verified = read;
  verified.set_status(v1::MODEL_STATUS_ERROR);
  EXPECT_THAT(Run(models_->Update(call_, read, verified, {})), FailsWith(v1::MODEL_NOT_READY, "got other files meanwhile"));
  EXPECT_EQ(Get("a")->status(), v1::MODEL_STATUS_READY);
  EXPECT_EQ(Get("a")->digest(), placed.digest());
  EXPECT_THAT(Run(models_->Update(call_, *Get("a"), verified, {})), IsOk());
}

TEST_F(VerifyTest, VerificationFindsTruncationExtensionAndMissingFiles) {
  const std::string whole = TinyLlama().File();
  ASSERT_THAT(Import(dir_.Write("a.gguf", whole)), IsOk());
  for (const std::string& bytes : {whole.substr(0, 100), whole + "x", std::string()}) {
    dir_.Write("a.gguf", bytes);
    EXPECT_THAT(Verify("a")->issues(), ElementsAre(HasSubstr(absl::StrCat("has ", bytes.size(), " bytes instead of"))));
  }
  fs::remove(dir_.path() + "/a.gguf");
  EXPECT_THAT(Verify("a")->issues(), ElementsAre(HasSubstr("No such file")));
  EXPECT_EQ(Get("a")->status(), v1::MODEL_STATUS_ERROR);
}

TEST_F(VerifyTest, VerificationFindsSwappedShards) {
  dir_.Write("m/config.json", R"({"architectures": ["LlamaForCausalLM"]})");
  dir_.Write("m/model.safetensors.index.json", R"({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})");
  dir_.Write("m/1.safetensors", SafetensorsFile(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1));
  dir_.Write("m/2.safetensors", SafetensorsFile(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1));
  ASSERT_THAT(Import(dir_.path() + "/m"), IsOk());
  ASSERT_TRUE(Verify("m")->valid());
  fs::rename(dir_.path() + "/m/1.safetensors", dir_.path() + "/m/t");
  fs::rename(dir_.path() + "/m/2.safetensors", dir_.path() + "/m/1.safetensors");
  fs::rename(dir_.path() + "/m/t", dir_.path() + "/m/2.safetensors");
  EXPECT_THAT(Verify("m")->issues(), SizeIs(2));
}

TEST_F(VerifyTest, AnExpectedChecksumIsComparedInAnyForm) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  const std::string digest = Get("a")->digest();
  EXPECT_TRUE(Verify("a", digest)->valid());
  EXPECT_TRUE(Verify("a", "sha256:" + digest)->valid());
  const auto other = Verify("a", std::string(64, '0'));
  EXPECT_FALSE(other->valid());
  EXPECT_THAT(other->issues(), ElementsAre(HasSubstr(digest)));
  EXPECT_EQ(Get("a")->status(), v1::MODEL_STATUS_READY) << "the files are as they were imported";
}

TEST_F(VerifyTest, DigestsThatWereLeftOpenAreComputedInTheBackground) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  const std::string digest = Get("a")->digest();
  // As an import of a large model leaves it.
  Sql("UPDATE models SET digest = '', files = (SELECT files FROM models WHERE id = 'a')");
  Restart();
  boost::asio::cancellation_signal stop;
  bool stopped = false;
  boost::asio::co_spawn(loop_, units_->ComputeDigests(call_),
                        boost::asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr) { stopped = true; }));
  const absl::Time deadline = absl::Now() + absl::Minutes(2);
  while (Get("a")->digest().empty() && absl::Now() < deadline) {
  }
  EXPECT_EQ(Get("a")->digest(), digest);
  EXPECT_EQ(Events(), "model.created model.verified");
  stop.emit(boost::asio::cancellation_type::terminal);
  loop_.restart();
  while (!stopped && loop_.run_one() > 0) {
  }
}

}  // namespace
}  // namespace aima::model
