#include "services/gateway/openapi/document.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "services/gateway/openapi/paths.h"

namespace aima::gateway::openapi {
namespace {

class OpenApiDocument : public ::testing::Test {
 protected:
  ordered_json For(Role role) { return ordered_json::parse(DocumentText(*catalogue_, role)); }

  // Names of the units that have a path.
  static std::set<std::string> UnitsOf(const ordered_json& document) {
    std::set<std::string> units;
    for (const auto& [path, item] : document["paths"].items()) {
      if (!item.contains("x-aima-unit")) continue;
      const std::string unit = item["x-aima-unit"]["name"];
      EXPECT_TRUE(path == "/api/v2/command/" + unit || path == "/api/v2/query/" + unit) << path;
      units.insert(unit);
    }
    return units;
  }

  std::unique_ptr<Catalogue> catalogue_ = Catalogue::Load(AIMA_BINARY_DIR "/share/aima/units.binpb").value();
};

void CollectRefs(const ordered_json& json, std::set<std::string>& refs) {
  if (json.is_object() && json.contains("$ref")) refs.insert(json["$ref"].get<std::string>());
  if (!json.is_structured()) return;
  for (const ordered_json& inner : json) CollectRefs(inner, refs);
}

TEST_F(OpenApiDocument, HasOnePathPerUnitThatTheRoleMayCall) {
  for (const Role role : {Role::kRead, Role::kOperate, Role::kAdmin}) {
    std::set<std::string> expected;
    for (const UnitInfo& unit : catalogue_->units()) {
      // ACCESS: INTERNAL 1, READ 2, OPERATE 3, ADMIN 4.
      const int needed = unit.options.access();
      if (needed > 1 && needed <= static_cast<int>(role) + 1) expected.insert(unit.name);
    }
    EXPECT_EQ(UnitsOf(For(role)), expected) << RoleName(role);
  }
}

TEST_F(OpenApiDocument, DoesNotNameWhatTheRoleMayNotCall) {
  ASSERT_TRUE(UnitsOf(For(Role::kAdmin)).contains("device.set_power_limit"));
  const ordered_json document = For(Role::kOperate);
  EXPECT_FALSE(document["paths"].contains("/api/v2/command/device.set_power_limit"));
  EXPECT_FALSE(document["components"]["schemas"].contains("device.SetPowerLimitRequest"));
  EXPECT_EQ(document.dump().find("event.publish"), std::string::npos) << "nobody outside calls it";
}

TEST_F(OpenApiDocument, RefersOnlyToWhatItHas) {
  for (const Role role : {Role::kRead, Role::kOperate, Role::kAdmin}) {
    const ordered_json document = For(role);
    std::set<std::string> refs;
    CollectRefs(document, refs);
    EXPECT_GT(refs.size(), 50u);
    for (const std::string& ref : refs) {
      ASSERT_EQ(ref.front(), '#') << ref;
      EXPECT_TRUE(document.contains(ordered_json::json_pointer(ref.substr(1)))) << ref;
    }
  }
}

TEST_F(OpenApiDocument, CallsAMessageTheSameForEveryRole) {
  const ordered_json admin = For(Role::kAdmin)["components"]["schemas"];
  const ordered_json read = For(Role::kRead)["components"]["schemas"];
  for (const auto& [name, schema] : read.items()) EXPECT_EQ(admin.value(name, ordered_json()), schema) << name;
}

TEST_F(OpenApiDocument, TellsWhatAUnitTakesAnswersAndHowItFails) {
  const ordered_json document = For(Role::kOperate);
  const ordered_json chat = document["paths"]["/api/v2/command/inference.chat"]["post"];
  EXPECT_EQ(chat["operationId"], "inference.chat");
  EXPECT_EQ(chat["tags"][0], "inference");
  const ordered_json body = chat["requestBody"]["content"]["application/json"];
  EXPECT_EQ(body["schema"]["$ref"], "#/components/schemas/inference.ChatRequest");
  EXPECT_FALSE(body["examples"].empty());
  const ordered_json answers = chat["responses"]["200"]["content"];
  EXPECT_EQ(answers["application/json"]["schema"]["properties"]["data"]["$ref"], "#/components/schemas/inference.ChatResponse");
  EXPECT_EQ(answers["text/event-stream"]["schema"]["$ref"], "#/components/schemas/inference.ChatChunk");
  EXPECT_TRUE(answers.contains("application/x-ndjson"));
  EXPECT_TRUE(chat["responses"].contains("202"));
  EXPECT_TRUE(chat["responses"]["404"]["content"]["application/problem+json"]["examples"].contains("INFERENCE_MODEL_NOT_FOUND"));
  const ordered_json problem = document["components"]["examples"]["INFERENCE_MODEL_NOT_FOUND"]["value"];
  EXPECT_EQ(problem["status"], 404);
  EXPECT_EQ(problem["error"]["code"], "INFERENCE_MODEL_NOT_FOUND");
  // A single value stands for a list, but the schema does not say so.
  const ordered_json embed = document["paths"]["/api/v2/command/inference.embed"]["post"]["requestBody"];
  for (const ordered_json& example : embed["content"]["application/json"]["examples"]) {
    EXPECT_TRUE(example["value"]["input"].is_array()) << example;
  }
  // A declared reason and a common one can have the same status.
  const ordered_json busy = document["paths"]["/api/v2/query/event.subscribe"]["post"]["responses"]["429"];
  EXPECT_TRUE(busy["content"]["application/problem+json"]["examples"].contains("SUBSCRIBER_TOO_SLOW")) << busy;
  EXPECT_TRUE(busy["content"]["application/problem+json"]["examples"].contains("OVERLOADED")) << busy;
  // A unit that only streams has no other answer, and is no operation.
  const ordered_json follow = document["paths"]["/api/v2/query/event.subscribe"]["post"]["responses"];
  EXPECT_FALSE(follow["200"]["content"].contains("application/json"));
  EXPECT_FALSE(follow.contains("202"));
}

TEST_F(OpenApiDocument, QueriesCanBeAskedByAddressIfTheirInputFitsIntoOne) {
  const ordered_json document = For(Role::kRead);
  const ordered_json list = document["paths"]["/api/v2/query/event.query"];
  std::set<std::string> names;
  for (const ordered_json& parameter : list["get"]["parameters"]) names.insert(parameter.value("name", ""));
  EXPECT_TRUE(names.contains("limit"));
  EXPECT_TRUE(names.contains("since"));
  EXPECT_FALSE(For(Role::kOperate)["paths"]["/api/v2/command/model.import"].contains("get"));
  const ordered_json info = document["paths"]["/api/v2/resource/device/{device_id}/info"];
  EXPECT_EQ(info["parameters"][0]["name"], "device_id");
  EXPECT_TRUE(document["paths"].contains("/api/v2/resource/device/{device_id}/info/watch"));
}

TEST_F(OpenApiDocument, UnitsForAdminsNeedAKeyFromEverywhere) {
  const ordered_json document = For(Role::kAdmin);
  const ordered_json security = document["paths"]["/api/v2/command/device.set_power_limit"]["post"]["security"];
  EXPECT_EQ(security.dump(), R"([{"bearer":[]},{"key":[]}])");
  EXPECT_EQ(document["security"].dump(), R"([{"bearer":[]},{"key":[]},{}])");
}

TEST_F(OpenApiDocument, IsMadeOncePerRole) {
  Documents documents(*catalogue_);
  EXPECT_EQ(&documents.For(Role::kRead), &documents.For(Role::kRead));
  EXPECT_NE(documents.For(Role::kRead).etag, documents.For(Role::kAdmin).etag);
  EXPECT_LT(documents.For(Role::kAdmin).gzip.size() * 4, documents.For(Role::kAdmin).body.size());
}

}  // namespace
}  // namespace aima::gateway::openapi
