#include "libs/unit/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "aima/config/v1/config.pb.h"
#include "aima/event/v1/event.pb.h"

namespace aima {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Broken(const google::protobuf::Message& message) {
  std::vector<std::string> texts;
  for (const FieldViolation& violation : BrokenRules(message)) texts.push_back(violation.field + " " + violation.description);
  return texts;
}

TEST(Rules, UnsetOptionalFieldsGetTheirDefaults) {
  event::v1::QueryRequest request;
  ApplyDefaults(request);
  EXPECT_EQ(request.limit(), 100);
  EXPECT_FALSE(request.has_after());
  EXPECT_THAT(Broken(request), IsEmpty());
}

TEST(Rules, AGivenValueIsNotReplacedByItsDefault) {
  event::v1::QueryRequest request;
  request.set_limit(0);
  ApplyDefaults(request);
  EXPECT_THAT(Broken(request), ElementsAre("limit must be at least 1"));
}

TEST(Rules, EveryBrokenRuleIsReportedWithItsPath) {
  event::v1::SubscribeRequest request;
  request.add_types("ok");
  request.add_types(std::string(129, 'x'));
  request.set_after(-1);
  EXPECT_THAT(Broken(request),
              ElementsAre("types[1] has 129 bytes, at most 128 are allowed", "after must be at least 0"));
}

TEST(Rules, OfManyBrokenOnesTheFirstAreReported) {
  event::v1::SubscribeRequest request;
  for (int i = 0; i < 90; ++i) request.add_types(std::string(129, 'x'));
  EXPECT_EQ(Broken(request).size(), kMaxViolations);
}

TEST(Rules, PatternsMatchTheWholeText) {
  config::v1::Config config;
  config.mutable_api()->set_listen_addr("nowhere");
  config.mutable_logging()->set_level("informative");
  EXPECT_THAT(Broken(config), ElementsAre("api.listen_addr must match .+:[0-9]{1,5}",
                                          "logging.level must match trace|debug|info|warn|error"));
}

TEST(Rules, NotANumberIsOutsideEveryRange) {
  config::v1::Resource resource;
  resource.set_inference_pool_pct(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(Broken(resource), ElementsAre("inference_pool_pct must be at least 0"));
}

TEST(Rules, TooFewEntriesAreRefused) {
  EXPECT_THAT(Broken(event::v1::PublishRequest()), ElementsAre("events needs at least 1 entries"));
}

}  // namespace
}  // namespace aima
