#include "libs/config/config.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "libs/config/yaml_tree.h"
#include "libs/testing/status_matchers.h"
#include "libs/unit/catalogue.h"

namespace aima::config {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using unit::v1::INVALID_INPUT;

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    setenv("HOME", "/home/ada", 1);
    unsetenv("AIMA_DATA_DIR");
    path_ = std::filesystem::temp_directory_path() / ("aima-config-test-" + std::to_string(getpid()) + ".yaml");
  }
  ~ConfigTest() override { std::filesystem::remove(path_); }

  absl::StatusOr<v1::Config> LoadText(const std::string& yaml, std::vector<std::string> sets = {}) {
    std::ofstream(path_) << yaml;
    return Load({path_.string(), std::move(sets)});
  }

  std::filesystem::path path_;
};

TEST_F(ConfigTest, WithoutSourcesEverySettingHasItsDefault) {
  const absl::StatusOr<v1::Config> config = Load({});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->general().data_dir(), "/home/ada/.aima");
  EXPECT_EQ(config->api().listen_addr(), "127.0.0.1:9090");
  EXPECT_EQ(config->gateway().request_timeout(), 30'000);
  EXPECT_EQ(config->gateway().max_request_size(), 10'000'000);
  EXPECT_EQ(config->event().retention(), 30LL * 24 * 3'600'000);
  EXPECT_DOUBLE_EQ(config->resource().inference_pool_pct(), 0.6);
  EXPECT_TRUE(config->engine().auto_start());
  EXPECT_EQ(config->model().storage_dir(), "/home/ada/.aima/models");
  EXPECT_EQ(config->logging().dir(), "/home/ada/.aima/logs");
}

TEST_F(ConfigTest, TheShippedFileSaysExactlyTheDefaults) {
  const absl::StatusOr<v1::Config> shipped = Load({AIMA_SOURCE_DIR "/configs/aima.yaml", {}});
  ASSERT_THAT(shipped, IsOk());
  EXPECT_EQ(shipped->DebugString(), Load({})->DebugString());
}

TEST_F(ConfigTest, TheShippedFileMentionsEveryKeyWithAComment) {
  std::ifstream file(AIMA_SOURCE_DIR "/configs/aima.yaml");
  std::stringstream text;
  text << file.rdbuf();
  const google::protobuf::Descriptor& type = *v1::Config::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const std::string section = "\n" + type.field(i)->name() + ":\n";
    const size_t begin = text.str().find(section);
    ASSERT_NE(begin, std::string::npos) << section;
    std::string body = text.str().substr(begin + section.size());
    body = body.substr(0, body.find("\n\n"));
    std::istringstream lines(body);
    std::vector<std::string> keys;
    for (std::string line, previous; std::getline(lines, line); previous = line) {
      if (line.starts_with("  #")) continue;
      EXPECT_TRUE(previous.starts_with("  # ")) << "no comment above: " << line;
      keys.push_back(line.substr(2, line.find(':') - 2));
    }
    std::vector<std::string> fields;
    for (int j = 0; j < type.field(i)->message_type()->field_count(); ++j) {
      fields.push_back(type.field(i)->message_type()->field(j)->name());
    }
    EXPECT_EQ(keys, fields) << section;
  }
}

TEST_F(ConfigTest, AcceptsEveryKeyOfTheArchitectureDocument) {
  const absl::StatusOr<v1::Config> config = LoadText(R"(
general: {data_dir: "~/.aima", hostname: "", device_id: ""}
api: {listen_addr: "127.0.0.1:9090", enable_cors: false, tls_cert: "", tls_key: ""}
gateway: {request_timeout: "30s", max_request_size: "10MB", enable_tracing: false}
resource: {system_reserved_mb: 10240, inference_pool_pct: 0.6, container_pool_pct: 0.2, pressure_threshold: 0.9}
model: {storage_dir: "~/.aima/models", default_source: "ollama", max_cache_gb: 50}
engine: {auto_start: true, ollama_addr: "localhost:11434"}
workflow: {max_concurrent_steps: 10, step_timeout: "5m", enable_caching: true}
alert: {enabled: true, check_interval: "1m"}
remote: {enabled: false, provider: "frp"}
security: {api_key: "", rate_limit_per_min: 120}
logging: {level: "info", format: "json", file: "~/.aima/logs/aima.log"}
)");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->workflow().step_timeout(), 300'000);
  EXPECT_EQ(config->logging().dir(), "/home/ada/.aima/logs");
}

TEST_F(ConfigTest, LaterSourcesOutrankEarlierOnes) {
  setenv("AIMA_DATA_DIR", "/srv/env", 1);
  const std::string yaml = "general:\n  data_dir: /srv/file\nmodel:\n  import_roots: [/a, /b]\n";
  EXPECT_EQ(LoadText(yaml)->general().data_dir(), "/srv/env");
  const absl::StatusOr<v1::Config> config = LoadText(
      yaml, {"general.data_dir=/srv/set", "gateway.request_timeout=1500ms", "gateway.max_request_size=2MiB",
             "model.import_roots=/c, /d", "api.listen_addr=127.0.0.1:19090", "api.enable_cors=true"});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->general().data_dir(), "/srv/set");
  EXPECT_EQ(config->gateway().request_timeout(), 1500);
  EXPECT_EQ(config->gateway().max_request_size(), 2 << 20);
  EXPECT_THAT(config->model().import_roots(), ElementsAre("/c", "/d"));
  EXPECT_TRUE(config->api().enable_cors());
}

TEST_F(ConfigTest, AnUnknownKeyIsNamedWithItsLineAndTheNearestKey) {
  EXPECT_THAT(LoadText("api:\n  grpc_addr: ''\n  listen_adr: 127.0.0.1:1\n"),
              FailsWith(INVALID_INPUT, "api.listen_adr: line 3: is not a key; did you mean listen_addr?"));
  EXPECT_THAT(LoadText("apy: {}\n"), FailsWith(INVALID_INPUT, "did you mean api?"));
  EXPECT_THAT(Load({"", {"api.listen_adr=x"}}), FailsWith(INVALID_INPUT, "did you mean listen_addr?"));
  EXPECT_THAT(Load({"", {"api=x"}}), FailsWith(INVALID_INPUT, "is a section"));
  EXPECT_THAT(Load({"", {"api.listen_addr.port=1"}}), FailsWith(INVALID_INPUT, "no keys of its own"));
  EXPECT_THAT(Load({"", {"api.listen_addr"}}), FailsWith(INVALID_INPUT, "section.key=value"));
}

TEST_F(ConfigTest, EveryWrongValueIsNamedAtOnce) {
  const absl::Status status = LoadText(
                                  "gateway:\n  request_timeout: 30 lightyears\n  enable_tracing: maybe\n"
                                  "resource:\n  system_reserved_mb: lots\n  inference_pool_pct: [1]\n")
                                  .status();
  for (const char* part :
       {"gateway.request_timeout: line 2: must be a duration", "enable_tracing: line 3: must be true or false",
        "system_reserved_mb: line 5: must be a whole number", "inference_pool_pct: line 6: must be one value"}) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
}

TEST_F(ConfigTest, RulesOfTheProtoHold) {
  EXPECT_THAT(LoadText("resource:\n  inference_pool_pct: 1.5\n"),
              FailsWith(INVALID_INPUT, "resource.inference_pool_pct: line 2: must be at most 1"));
  EXPECT_THAT(Load({"", {"logging.level=loud"}}), FailsWith(INVALID_INPUT, "logging.level: must match"));
  EXPECT_THAT(Load({"", {"api.listen_addr=nowhere"}}), FailsWith(INVALID_INPUT, "api.listen_addr"));
  EXPECT_THAT(Load({"", {"workflow.max_concurrent_steps=99999999999"}}), FailsWith(INVALID_INPUT, "too large"));
  EXPECT_THAT(Load({"", {"resource.pressure_threshold=nan"}}), FailsWith(INVALID_INPUT, "must be a number"));
}

TEST_F(ConfigTest, WhatMakesASmallFileMeanALargeOneIsRefused) {
  EXPECT_THAT(LoadText("general: &a {data_dir: x}\n"), FailsWith(INVALID_INPUT, "line 1: anchors"));
  EXPECT_THAT(LoadText("general: {data_dir: &a x, hostname: *a}\n"), FailsWith(INVALID_INPUT, "not allowed"));
  EXPECT_THAT(LoadText("general: {data_dir: !!str x}\n"), FailsWith(INVALID_INPUT, "tags"));
  EXPECT_THAT(LoadText("api: {}\n---\napi: {}\n"), FailsWith(INVALID_INPUT, "only one document"));
  EXPECT_THAT(LoadText("api:\n  tls_key: a\n  tls_key: b\n"), FailsWith(INVALID_INPUT, "line 3: the key tls_key"));
  EXPECT_THAT(LoadText(std::string(5000, '[')), FailsWith(INVALID_INPUT, ""));
  EXPECT_THAT(LoadText("#" + std::string(kMaxFileBytes, 'x')), FailsWith(INVALID_INPUT, "larger than 256 KiB"));
  EXPECT_THAT(LoadText("api: [\n"), FailsWith(INVALID_INPUT, "line"));
  EXPECT_THAT(Load({"/nonexistent/aima.yaml", {}}),
              FailsWith(INVALID_INPUT, "/nonexistent/aima.yaml: cannot be read"));
}

TEST_F(ConfigTest, AnEmptyFileAndEmptyKeysMeanDefaults) {
  EXPECT_EQ(LoadText("# nothing\n")->DebugString(), Load({})->DebugString());
  EXPECT_EQ(LoadText("api:\n  listen_addr:\nevent:\n")->DebugString(), Load({})->DebugString());
}

TEST_F(ConfigTest, PathsAreExpandedAndMadeAbsolute) {
  const absl::StatusOr<v1::Config> config =
      Load({"", {"general.data_dir=~", "model.storage_dir=models/x/../y/", "logging.file=~/log/aima.log"}});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->general().data_dir(), "/home/ada");
  EXPECT_EQ(config->model().storage_dir(), std::filesystem::current_path().string() + "/models/y");
  EXPECT_EQ(config->logging().dir(), "/home/ada/log");
}

TEST_F(ConfigTest, WrittenAsYamlItReadsBackTheSame) {
  const absl::StatusOr<v1::Config> config =
      Load({"",
            {"database.url=host=/x user='a b'", "security.api_key=s3cret\"\\", "event.retention=90m",
             "gateway.max_request_size=65537", "resource.pressure_threshold=0.123456789",
             "api.allowed_origins=https://a.example,https://b.example"}});
  ASSERT_THAT(config, IsOk());
  const absl::StatusOr<v1::Config> again = LoadText(ToYaml(*config, true));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->DebugString(), config->DebugString());
  EXPECT_THAT(ToYaml(*config, false), ::testing::Not(HasSubstr("s3cret")));
}

}  // namespace
}  // namespace aima::config
