// The units of the model service over a fake engine service and a real PostgreSQL.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "aima/engine/v1/engine.pb.h"
#include "libs/events/events.h"
#include "libs/testing/postgres.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "libs/unit/rules.h"
#include "services/model/model_files_for_test.h"
#include "services/model/model_units.h"

namespace aima::model {

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
      EXPECT_THAT(Run(db_->Migrate(std::string(AIMA_SOURCE_DIR) + directory)), aima::testing::IsOk());
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
  testing::TemporaryDirectory dir_;
  FakeEngine engine_;
  EngineInstances users_{engine_};
  CallContext call_;
  std::unique_ptr<pg::Database> db_;
  std::unique_ptr<events::EventOutbox> outbox_;
  std::unique_ptr<ModelStore> models_;
  std::unique_ptr<Pulls> pulls_;
  std::unique_ptr<ModelUnits> units_;
};

}  // namespace aima::model
