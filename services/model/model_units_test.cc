#include "services/model/model_units.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <fstream>

#include "aima/engine/v1/engine.pb.h"
#include "libs/events/events.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "libs/unit/rules.h"
#include "services/model/model_files_for_test.h"

namespace aima::model {
namespace {

namespace fs = std::filesystem;
using ::aima::testing::FailsWith;
using ::aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::SafetensorsFile;
using testing::TemporaryDirectory;
using testing::TinyLlama;
using testing::TinySafetensors;

// An engine service that answers with these instances, or cannot be reached.
struct FakeEngine : rpc::Client {
  std::optional<engine::v1::ListResponse> answer = engine::v1::ListResponse();

  void Run(const std::string& instance_id, const std::string& model_id, engine::v1::InstanceStatus status) {
    engine::v1::Instance& instance = *answer->add_items()->add_instances();
    instance.set_instance_id(instance_id);
    instance.set_model_id(model_id);
    instance.set_status(status);
  }
  Task<absl::Status> CallUntyped(const CallContext&, const google::protobuf::Message&,
                                 google::protobuf::Message& response) override {
    if (!answer) co_return absl::UnavailableError("engine is down");
    response.CopyFrom(*answer);
    co_return absl::OkStatus();
  }
  Task<absl::Status> CallDomain(const std::string&, const CallContext&, const google::protobuf::Message&,
                                google::protobuf::Message&) override {
    co_return absl::UnavailableError("no service");
  }
  std::unique_ptr<RawReader> StreamUntyped(const CallContext&, const google::protobuf::Message&) override {
    return nullptr;
  }
};

class ModelUnitsTest : public ::testing::Test {
 protected:
  ModelUnitsTest() {
    options_ = postgres_.FreshOptions("model");
    db_ = pg::Open(loop_, options_);
    for (const char* directory : {"/libs/events/migrations", "/services/model/migrations"}) {
      EXPECT_THAT(Run(db_->Migrate(std::string(AIMA_SOURCE_DIR) + directory)), IsOk());
    }
    outbox_ = std::make_unique<events::EventOutbox>(loop_, *db_, engine_);
    Restart();
  }

  // Units with these roots, as another process would have them.
  void Restart(std::vector<std::string> import_roots = {}) {
    units_.reset();
    pulls_.reset();
    models_ = std::make_unique<ModelStore>(*db_);
    Pulls::Settings settings;
    settings.storage_dir = dir_.path() + "/storage";
    settings.ollama_url = settings.huggingface_url = settings.modelscope_url = "http://127.0.0.1:1";  // nobody's
    pulls_ = std::make_unique<Pulls>(
        Pulls::Parts{loop_, *db_, *outbox_, *models_, users_,
                     [this](Task<void> task) { boost::asio::co_spawn(loop_, std::move(task), boost::asio::detached); },
                     [] { return CallContext(); }},
        settings);
    const ModelUnits::Parts parts{*db_, *outbox_, users_, *pulls_};
    units_ = std::make_unique<ModelUnits>(loop_, parts,
                                          ModelUnits::Settings{dir_.path() + "/storage", std::move(import_roots)});
  }

  template <class T>
  T Run(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }

  absl::StatusOr<v1::ImportResponse> Import(v1::ImportRequest request) {
    ApplyDefaults(request);
    return Run(units_->Import(call_, request));
  }
  absl::StatusOr<v1::ImportResponse> Import(const std::string& path, const std::string& name = "") {
    v1::ImportRequest request;
    request.set_path(path);
    request.set_name(name);
    return Import(request);
  }
  absl::StatusOr<v1::Model> Get(const std::string& id) {
    v1::GetRequest request;
    request.set_model_id(id);
    return Run(units_->Get(call_, request));
  }
  absl::StatusOr<v1::VerifyResponse> Verify(const std::string& id, const std::string& checksum = "") {
    v1::VerifyRequest request;
    request.set_model_id(id);
    request.set_checksum(checksum);
    return Run(units_->Verify(call_, request));
  }
  absl::StatusOr<v1::DeleteResponse> Delete(const std::string& id, bool force = false) {
    v1::DeleteRequest request;
    request.set_model_id(id);
    request.set_force(force);
    return Run(units_->Delete(call_, request));
  }
  v1::ListResponse List(v1::ListRequest request = {}) {
    ApplyDefaults(request);
    return Run(units_->List(call_, request)).value();
  }
  std::vector<std::string> Search(const std::string& query, const std::string& source = "") {
    v1::SearchRequest request;
    request.set_query(query);
    request.set_source(source);
    ApplyDefaults(request);
    std::vector<std::string> ids;
    const v1::SearchResponse found = Run(units_->Search(call_, request)).value();
    for (const v1::Model& model : found.results()) ids.push_back(model.id());
    return ids;
  }
  absl::StatusOr<v1::CreateResponse> Create(const std::string& name, v1::ModelType type = v1::MODEL_TYPE_LLM,
                                            const std::string& path = "") {
    v1::CreateRequest request;
    request.set_name(name);
    request.set_type(type);
    request.set_path(path);
    return Run(units_->Create(call_, request));
  }

  std::string Sql(const std::string& sql) { return postgres_.Execute(options_.url, "SET search_path = model; " + sql); }
  // Types of all events so far, oldest first.
  std::string Events() { return Sql("SELECT string_agg(type, ' ' ORDER BY seq) FROM outbox"); }

  static void FlipBit(const std::string& path, int64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char byte = static_cast<char>(file.get() ^ 0x10);
    file.seekp(at);
    file.put(byte);
  }

  Loop loop_;
  aima::testing::Postgres& postgres_ = aima::testing::Postgres::Shared();
  pg::Options options_;
  TemporaryDirectory dir_;
  FakeEngine engine_;
  EngineInstances users_{engine_};
  CallContext call_;
  std::unique_ptr<pg::Database> db_;
  std::unique_ptr<events::EventOutbox> outbox_;
  std::unique_ptr<ModelStore> models_;
  std::unique_ptr<Pulls> pulls_;
  std::unique_ptr<ModelUnits> units_;
};

TEST_F(ModelUnitsTest, AnImportedFileIsAModelThatIsReady) {
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

TEST_F(ModelUnitsTest, ImportingTheSameFilesAgainGivesTheSameModel) {
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

TEST_F(ModelUnitsTest, ImportsOfTheSameFileAtOnceMakeOneModel) {
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

TEST_F(ModelUnitsTest, OtherFilesAtAKnownPathAreRefused) {
  const std::string path = dir_.Write("a.gguf", TinyLlama().File());
  ASSERT_THAT(Import(path), IsOk());
  dir_.Write("a.gguf", TinyLlama("Other").File());
  EXPECT_THAT(Import(path), FailsWith(v1::MODEL_EXISTS, "is the model 'a', which was imported when"));
}

TEST_F(ModelUnitsTest, NamesThatAreTakenAreToldApart) {
  ASSERT_THAT(Import(dir_.Write("1/m.gguf", TinyLlama("1").File())), IsOk());
  EXPECT_EQ(Import(dir_.Write("2/m.gguf", TinyLlama("2").File()))->model_id(), "m-f32");
  EXPECT_EQ(Import(dir_.Write("3/m.gguf", TinyLlama("3").File()))->model_id(), "m-2");
  EXPECT_THAT(Import(dir_.Write("4/m.gguf", TinyLlama("4").File()), "M"), FailsWith(v1::MODEL_EXISTS, "'m'"));
  EXPECT_THAT(Import(dir_.Write("4/m.gguf", TinyLlama("4").File()), "+++"),
              FailsWith(unit::v1::INVALID_INPUT, "name"));
}

TEST_F(ModelUnitsTest, ACorruptFileIsRefusedAndLeavesNothing) {
  const std::string whole = TinyLlama().File();
  EXPECT_THAT(Import(dir_.Write("a.gguf", whole.substr(0, whole.size() - 100))),
              FailsWith(v1::MODEL_FILE_CORRUPT, "the file is incomplete"));
  EXPECT_THAT(Import(dir_.path() + "/absent.gguf"), FailsWith(v1::MODEL_FILE_NOT_FOUND, "absent.gguf"));
  EXPECT_THAT(Import(dir_.Write("a.pt", "\x80\x02")), FailsWith(v1::MODEL_FORMAT_UNSAFE, "a.pt"));
  EXPECT_EQ(List().total(), 0);
  EXPECT_EQ(Events(), "");
}

TEST_F(ModelUnitsTest, FilesThatDoNotTellTheirTypeNeedOne) {
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

TEST_F(ModelUnitsTest, OnlyFilesBelowTheImportRootsAreRead) {
  Restart({dir_.path() + "/allowed"});
  ASSERT_THAT(Import(dir_.Write("allowed/a.gguf", TinyLlama("a").File())), IsOk());
  EXPECT_THAT(Import(dir_.Write("b.gguf", TinyLlama("b").File())), FailsWith(v1::MODEL_PATH_REFUSED, "b.gguf"));
}

TEST_F(ModelUnitsTest, ACopyIsIndependentAndGoesWithTheModel) {
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

TEST_F(ModelUnitsTest, ACopyThatIsThereAlreadyIsUsedOnlyIfItIsRight) {
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

TEST_F(ModelUnitsTest, WhatAnInterruptedCopyLeftIsRemovedAtTheNextStart) {
  dir_.Write("storage/.incoming-1/m.gguf", "half");
  dir_.Write("storage/sha256-1/m.gguf", "whole");
  Restart();
  EXPECT_FALSE(fs::exists(dir_.path() + "/storage/.incoming-1"));
  EXPECT_TRUE(fs::exists(dir_.path() + "/storage/sha256-1/m.gguf"));
}

TEST_F(ModelUnitsTest, VerificationFindsOneChangedBit) {
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

TEST_F(ModelUnitsTest, VerificationFindsTruncationExtensionAndMissingFiles) {
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

TEST_F(ModelUnitsTest, VerificationFindsSwappedShards) {
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

TEST_F(ModelUnitsTest, AnExpectedChecksumIsComparedInAnyForm) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  const std::string digest = Get("a")->digest();
  EXPECT_TRUE(Verify("a", digest)->valid());
  EXPECT_TRUE(Verify("a", "sha256:" + digest)->valid());
  const auto other = Verify("a", std::string(64, '0'));
  EXPECT_FALSE(other->valid());
  EXPECT_THAT(other->issues(), ElementsAre(HasSubstr(digest)));
  EXPECT_EQ(Get("a")->status(), v1::MODEL_STATUS_READY) << "the files are as they were imported";
}

TEST_F(ModelUnitsTest, DigestsThatWereLeftOpenAreComputedInTheBackground) {
  ASSERT_THAT(Import(dir_.Write("a.gguf", TinyLlama().File())), IsOk());
  const std::string digest = Get("a")->digest();
  // As an import of a large model leaves it.
  Sql("UPDATE models SET digest = '', files = (SELECT files FROM models WHERE id = 'a')");
  Restart();
  boost::asio::cancellation_signal stop;
  bool stopped = false;
  boost::asio::co_spawn(loop_, units_->ComputeDigests(call_),
                        boost::asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr) { stopped = true; }));
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (Get("a")->digest().empty() && absl::Now() < deadline) {
  }
  EXPECT_EQ(Get("a")->digest(), digest);
  EXPECT_EQ(Events(), "model.created model.verified");
  stop.emit(boost::asio::cancellation_type::terminal);
  loop_.restart();
  while (!stopped && loop_.run_one() > 0) {
  }
}

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

TEST_F(ModelUnitsTest, AnImportUnderTheNameOfAPendingRecordFillsIt) {
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
