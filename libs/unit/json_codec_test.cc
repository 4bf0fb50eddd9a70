#include "libs/unit/json_codec.h"

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "aima/config/v1/config.pb.h"
#include "aima/event/v1/event.pb.h"
#include "aima/inference/v1/inference.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/testing/status_matchers.h"

namespace aima {
namespace {

using testing::FailsWith;
using testing::IsOk;
using ::testing::HasSubstr;
using unit::v1::INVALID_INPUT;

absl::Status Parse(std::string_view text, google::protobuf::Message& message) {
  absl::StatusOr<nlohmann::json> json = ParseJsonText(text);
  return json.ok() ? ParseJson(*json, message) : json.status();
}

TEST(JsonCodec, WhatIsWrittenReadsBackToTheSameMessage) {
  event::v1::QueryRequest request;
  request.set_domain("mod\"el\n\x01ü");
  request.mutable_since()->set_seconds(1'767'225'600);
  request.mutable_since()->set_nanos(250'000'000);
  request.set_after(int64_t{1} << 60);
  request.set_limit(7);
  const std::string text = ToJson(request);
  EXPECT_THAT(text, HasSubstr("\"since\":\"2026-01-01T00:00:00.25Z\""));
  EXPECT_THAT(text, HasSubstr("\"after\":1152921504606846976"));
  event::v1::QueryRequest again;
  ASSERT_THAT(Parse(text, again), IsOk());
  EXPECT_EQ(again.SerializeAsString(), request.SerializeAsString());
}

TEST(JsonCodec, ASingleValueStandsForAListOfOne) {
  event::v1::SubscribeRequest request;
  ASSERT_THAT(Parse(R"({"types": "model"})", request), IsOk());
  ASSERT_EQ(request.types_size(), 1);
  EXPECT_EQ(request.types(0), "model");
}

TEST(JsonCodec, AnAnyIsWrittenAsTheMessageInside) {
  event::v1::Event event;
  event::v1::SubscribeRequest inside;
  inside.set_domain("x");
  event.mutable_payload()->PackFrom(inside);
  EXPECT_THAT(ToJson(event), HasSubstr(R"("payload":{"types":[],"domain":"x"})"));
}

TEST(JsonCodec, AnEmptyListIsWrittenUnlessItsRulesLeaveItOut) {
  EXPECT_EQ(ToJson(inference::v1::ModelsResponse()), R"({"models":[]})");
  inference::v1::ChatChunk piece;
  piece.set_content("Hi");
  EXPECT_EQ(ToJson(piece), R"({"content":"Hi"})");
  piece.add_tool_calls()->set_name("weather");
  EXPECT_THAT(ToJson(piece), HasSubstr(R"("tool_calls":[{"id":"","name":"weather","arguments":""}])"));
}

TEST(JsonCodec, AStructIsFreeJsonAlsoAtTheTop) {
  google::protobuf::Struct object;
  ASSERT_THAT(Parse(R"({"a": {"b": [1, true, null, "x"]}})", object), IsOk());
  EXPECT_EQ(ToJson(object), R"({"a":{"b":[1,true,null,"x"]}})");
}

TEST(JsonCodec, AllWrongFieldsAreNamedAtOnce) {
  event::v1::QueryRequest request;
  const absl::Status status = Parse(R"({"limt": 1, "limit": "many", "after": 1.5, "since": "yesterday"})", request);
  const ErrorDetails details = DetailsOf(status);
  std::map<std::string, std::string> by_field;
  for (const FieldViolation& violation : details.violations) by_field[violation.field] = violation.description;
  EXPECT_EQ(by_field.size(), 4u);
  EXPECT_EQ(by_field["limt"], "is not a field; did you mean limit?");
  EXPECT_EQ(by_field["limit"], "must be an integer, not string");
  EXPECT_THAT(by_field["since"], HasSubstr("2026-01-31T12:00:00Z"));
}

TEST(JsonCodec, OfManyWrongFieldsTheFirstAreNamed) {
  nlohmann::json input;
  for (int i = 0; i < 1000; ++i) input["wrong" + std::to_string(i)] = i;
  event::v1::QueryRequest request;
  EXPECT_EQ(DetailsOf(ParseJson(input, request)).violations.size(), kMaxViolations);
  inference::v1::RerankRequest rerank;
  input = {{"documents", nlohmann::json(500, 1)}};
  EXPECT_EQ(DetailsOf(ParseJson(input, rerank)).violations.size(), kMaxViolations);
}

TEST(JsonCodec, AListThatIsTooLongIsRefusedBeforeItsEntriesAreMade) {
  inference::v1::ChatRequest request;
  const nlohmann::json input = {{"messages", nlohmann::json(10'001, nlohmann::json::object())}};
  EXPECT_THAT(ParseJson(input, request),
              FailsWith(INVALID_INPUT, "messages: has 10001 entries, at most 10000 are allowed"));
  EXPECT_EQ(request.messages_size(), 0);
}

TEST(JsonCodec, AKeyThatIsNoFieldIsToldByItsBeginning) {
  event::v1::QueryRequest request;
  const absl::Status status = Parse(absl::StrCat(R"({")", std::string(100'000, 'x'), R"(": 1})"), request);
  EXPECT_THAT(status, FailsWith(INVALID_INPUT, "is not a field"));
  EXPECT_LT(status.message().size(), 1000u);
}

TEST(JsonCodec, IntegersOutsideTheirTypeAreRefused) {
  event::v1::QueryRequest request;
  EXPECT_THAT(Parse(R"({"limit": 2147483648})", request), FailsWith(INVALID_INPUT, "limit: must be at most 2147483647"));
  EXPECT_THAT(Parse(R"({"after": 9223372036854775808})", request), FailsWith(INVALID_INPUT, "after"));
  EXPECT_THAT(Parse(R"({"after": 1e300})", request), FailsWith(INVALID_INPUT, "after"));
  EXPECT_THAT(Parse(R"({"after": "9007199254740993"})", request), IsOk());
  EXPECT_EQ(request.after(), 9007199254740993);
}

TEST(JsonCodec, QuantitiesMayCarryTheirUnit) {
  config::v1::Gateway gateway;
  ASSERT_THAT(Parse(R"({"max_request_size": "10MB", "request_timeout": "30s"})", gateway), IsOk());
  EXPECT_EQ(gateway.max_request_size(), 10'000'000);
  EXPECT_EQ(gateway.request_timeout(), 30'000);
}

TEST(JsonText, MalformedTextIsRefusedWithItsPlace) {
  EXPECT_THAT(ParseJsonText("{\"a\": }"), FailsWith(INVALID_INPUT, "at byte 7"));
  EXPECT_THAT(ParseJsonText(""), FailsWith(INVALID_INPUT, "not valid JSON"));
  EXPECT_THAT(ParseJsonText("{\"a\": 1, \"a\": 2}"), FailsWith(INVALID_INPUT, "occurs twice"));
  EXPECT_THAT(ParseJsonText("\"\xff\""), FailsWith(INVALID_INPUT, "not valid JSON"));
}

TEST(JsonText, DepthIsBounded) {
  EXPECT_THAT(ParseJsonText(std::string(64, '[') + std::string(64, ']')), IsOk());
  EXPECT_THAT(ParseJsonText(std::string(200, '[') + std::string(200, ']')), FailsWith(INVALID_INPUT, "deeper than 64"));
  EXPECT_THAT(ParseJsonText(std::string(2'000'000, '[')), FailsWith(INVALID_INPUT, "deeper than 64"));
}

TEST(JsonStrings, InvalidUtf8IsReplaced) {
  std::string out;
  AppendJsonString("a\xff\xe2\x82z\xed\xa0\x80", out);
  EXPECT_EQ(out, "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST(Enums, TheirJsonFormHasNoPrefix) {
  const auto& type = *unit::v1::Access_descriptor();
  EXPECT_EQ(EnumText(*type.FindValueByName("OPERATE")), "operate");
  EXPECT_EQ(FindEnumValue(type, "operate")->number(), unit::v1::OPERATE);
  EXPECT_EQ(FindEnumValue(type, "OPERATE")->number(), unit::v1::OPERATE);
  EXPECT_EQ(FindEnumValue(type, "boss"), nullptr);
}

}  // namespace
}  // namespace aima
