// Servers that run already, against one that replays what Ollama answers.
#include "services/engine/external.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/base/utf8.h"
#include "libs/http/server.h"
#include "libs/testing/status_matchers.h"
#include "services/engine/engine_units_for_test.h"

namespace aima::engine {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::HasSubstr;

// As Ollama 0.17.4 answers, with fewer models.
constexpr char kVersion[] = R"({"version":"0.17.4"})";
constexpr char kTags[] = R"({"models":[
  {"name":"smollm2:135m","model":"smollm2:135m","modified_at":"2026-11-20T10:11:12.131415161Z","size":270898672,
   "digest":"9077fe9d2ae1a4a41a868836b56b8163731a8fe16621397028c2c76f838c6907",
   "details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"134.52M",
              "quantization_level":"F16"}},
  {"name":"all-minilm:latest","model":"all-minilm:latest","modified_at":"2026-11-20T10:10:12.131415161Z","size":45960996,
   "digest":"1b226e2802dbb772b5fc32a58f103ca1804ef7501331012de126ab22f67475ef",
   "details":{"parent_model":"","format":"gguf","family":"bert","families":["bert"],"parameter_size":"23M",
              "quantization_level":"F16"}}]})";

TEST(ExternalOllama, ReadsModelsWithTheirTypes) {
  const absl::StatusOr<OllamaServer> server = ReadOllama(kVersion, kTags);
  ASSERT_THAT(server, IsOk());
  EXPECT_EQ(server->version, "0.17.4");
  ASSERT_EQ(server->models.size(), 2u);
  EXPECT_EQ(server->models[0].name(), "all-minilm:latest");
  EXPECT_EQ(server->models[0].type(), "embedding");
  EXPECT_EQ(server->models[1].name(), "smollm2:135m");
  EXPECT_EQ(server->models[1].type(), "llm");
  EXPECT_THAT(server->models[1].description(), HasSubstr("134.52M"));
  EXPECT_TRUE(ReadOllama(kVersion, R"({"models":null})")->models.empty());
}

TEST(ExternalOllama, ADescriptionThatIsCutIsText) {
  const std::string tags =
      absl::StrCat(R"({"models":[{"name":"a","details":{"family":")", std::string(199, 'x'), R"(é"}}]})");
  const absl::StatusOr<OllamaServer> server = ReadOllama(kVersion, tags);
  ASSERT_THAT(server, IsOk());
  const std::string& description = server->models.at(0).description();
  EXPECT_EQ(description, ValidUtf8(description));
}

TEST(ExternalOllama, WhatIsNotOllamaIsNotTakenForIt) {
  EXPECT_FALSE(ReadOllama("<html>", kTags).ok());
  EXPECT_FALSE(ReadOllama(R"({"version":7})", kTags).ok());
  EXPECT_FALSE(ReadOllama(kVersion, "{}").ok());
  EXPECT_FALSE(ReadOllama(kVersion, R"({"models":{"name":"x"}})").ok());
  EXPECT_TRUE(ReadOllama(kVersion, R"({"models":[7,{"name":7},{}]})")->models.empty());
  EXPECT_FALSE(ReadOllama(kVersion, std::string(1'000'000, '[')).ok());
  EXPECT_FALSE(ReadOllama(kVersion, R"({"models":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}").ok());
}

class ExternalOllamaTest : public EngineUnitsTest {
 protected:
  void SetUp() override {
    EngineUnitsTest::SetUp();
    std::filesystem::copy(AIMA_SOURCE_DIR "/configs/engines/ollama.yaml", dir_ + "/configs/ollama.yaml");
    EngineUnitsTest::Restart();
    server_ = std::make_unique<http::Server>(loop_, http::ServerOptions(), [this](http::Exchange& exchange) {
      return Answer(exchange);
    });
    ASSERT_THAT(server_->Start(), IsOk());
    ollama_ = std::make_unique<ExternalOllama>(loop_, *service_->outbox, absl::StrCat("localhost:", server_->port()),
                                               [this](int port) { return port == our_port_; });
    service_->units.Offer(*ollama_);
  }
  void TearDown() override {
    EngineUnitsTest::TearDown();
    server_.reset();
  }

  Task<void> Answer(http::Exchange& exchange) {
    http::Response response;
    response.status = status_;
    response.body = exchange.request().target == "/api/version" ? kVersion : tags_;
    (void)co_await exchange.Send(std::move(response));
  }
  void Look() {
    Await([this]() -> Task<bool> {
      co_await ollama_->Look(call_);
      co_return true;
    }());
  }
  v1::EndpointsResponse Endpoints() { return *Await(service_->units.Endpoints(call_, {})); }

  std::string tags_ = kTags;
  int status_ = 200;
  int our_port_ = 0;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<ExternalOllama> ollama_;
};

TEST_F(ExternalOllamaTest, AServerThatIsThereIsListedAndOfferedWithItsModelsAndNeverStopped) {
  EXPECT_EQ(Endpoints().items_size(), 0);
  Look();
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.started") == 1; }));
  ASSERT_EQ(Endpoints().items_size(), 1);
  const v1::Endpoint endpoint = Endpoints().items(0);
  EXPECT_EQ(endpoint.dialect(), v1::DIALECT_OLLAMA);
  EXPECT_EQ(endpoint.port(), server_->port());
  EXPECT_TRUE(endpoint.external());
  ASSERT_EQ(endpoint.own_models_size(), 2);
  EXPECT_EQ(endpoint.own_models(1).name(), "smollm2:135m");

  v1::ListRequest running;
  running.set_status(v1::ENGINE_STATUS_RUNNING);
  const v1::ListResponse list = *Await(service_->units.List(call_, running));
  ASSERT_EQ(list.items_size(), 1);
  EXPECT_EQ(list.items(0).version(), "0.17.4");
  EXPECT_TRUE(list.items(0).instances(0).external());
  EXPECT_EQ(Get(ExternalOllama::kInstance).status(), v1::INSTANCE_STATUS_RUNNING);
  for (const char* name : {"ollama", ExternalOllama::kInstance}) {
    EXPECT_THAT(Stop(name), FailsWith(v1::ENGINE_EXTERNAL, name));
    EXPECT_THAT(RestartUnit(name), FailsWith(v1::ENGINE_EXTERNAL, name));
  }
}

TEST_F(ExternalOllamaTest, ItIsGoneWhenItDoesNotAnswerAndBackWhenItDoes) {
  Look();
  Look();
  status_ = 500;
  Look();
  EXPECT_EQ(Endpoints().items_size(), 1) << "one look may fail";
  Look();
  EXPECT_EQ(Endpoints().items_size(), 0);
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.stopped") == 1; }));
  EXPECT_EQ(around_.LastEvent<v1::EngineStopped>().reason(), "gone");
  EXPECT_THAT(Stop("ollama"), IsOk()) << "nothing of it runs";
  status_ = 200;
  Look();
  EXPECT_EQ(Endpoints().items(0).generation(), 2);
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.started") == 2; }));
}

TEST_F(ExternalOllamaTest, OtherModelsAreToldAndTheSameOnesAreNot) {
  Look();
  Look();
  tags_ = R"({"models":[]})";
  Look();
  EXPECT_TRUE(Eventually([&] { return around_.CountEvents("engine.started") == 2; }));
  EXPECT_EQ(Endpoints().items(0).own_models_size(), 0);
}

TEST_F(ExternalOllamaTest, AnInstanceOfOursIsNotFoundAgain) {
  our_port_ = server_->port();
  Look();
  EXPECT_EQ(Endpoints().items_size(), 0);
}

}  // namespace
}  // namespace aima::engine
