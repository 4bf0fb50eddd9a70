#include "libs/errors/errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "aima/resource/v1/resource.pb.h"
#include "libs/errors/missing_memory.h"

namespace aima {
namespace {

using unit::v1::INVALID_INPUT;
using unit::v1::OVERLOADED;

TEST(Errors, AReasonKeepsItsCodeRemedyAndMetadataAcrossTheWire) {
  const absl::Status sent = Error(OVERLOADED, "busy with 8 calls", {{"limit", "8"}});
  const absl::Status received =
      StatusFromWire(static_cast<int>(sent.code()), sent.message(), SerializeDetails(sent));
  EXPECT_EQ(received, sent);
  const ErrorDetails details = DetailsOf(received);
  EXPECT_EQ(details.reason, "OVERLOADED");
  EXPECT_TRUE(details.retryable);
  EXPECT_THAT(details.remedy, testing::HasSubstr("try again"));
  EXPECT_EQ(details.metadata.at("limit"), "8");
  EXPECT_EQ(HttpStatusOf(received), 429);
}

TEST(Errors, HowMuchMemoryIsMissingIsKnownWhereTheLedgerSaysIt) {
  using resource::v1::RESOURCE_INSUFFICIENT;
  const auto missing = [](Metadata metadata) {
    return MissingMemory(Error(RESOURCE_INSUFFICIENT, "full", std::move(metadata)));
  };
  EXPECT_EQ(missing({{"class", "memory_bytes"}, {"needed", "7"}, {"available", "4"}}), 3);
  EXPECT_EQ(missing({{"class", "memory_bytes"}, {"needed", "7"}, {"available", "9"}}), 1) << "it was refused all the same";
  EXPECT_EQ(missing({{"class", "gpus"}, {"needed", "7"}, {"available", "4"}}), std::nullopt);
  EXPECT_EQ(missing({{"class", "memory_bytes"}, {"needed", "7"}}), std::nullopt);
  EXPECT_EQ(missing({{"class", "memory_bytes"}, {"needed", "7"}, {"available", "some"}}), std::nullopt);
  EXPECT_EQ(MissingMemory(Error(OVERLOADED, "busy", {{"class", "memory_bytes"}, {"needed", "7"}, {"available", "4"}})),
            std::nullopt);
  EXPECT_EQ(MissingMemory(absl::OkStatus()), std::nullopt);
}

TEST(Errors, InvalidInputNamesEveryWrongField) {
  const absl::Status status = InvalidInput({{"a", "is required"}, {"b[1]", "is too long"}});
  EXPECT_TRUE(HasReason(status, INVALID_INPUT));
  const ErrorDetails details = DetailsOf(status);
  ASSERT_EQ(details.violations.size(), 2u);
  EXPECT_EQ(details.violations[1].field, "b[1]");
  EXPECT_EQ(details.message, "a: is required; b[1]: is too long");
}

TEST(Errors, AStatusWithoutAReasonReportsTheCommonOneOfItsCode) {
  EXPECT_EQ(DetailsOf(absl::UnavailableError("gone")).reason, "UNAVAILABLE");
  EXPECT_EQ(DetailsOf(absl::DataLossError("x")).reason, "INTERNAL_ERROR");
}

TEST(Errors, TextThatIsNoUtf8LeavesTheRestOfAnErrorReadable) {
  const absl::Status sent = InvalidInput({{"a\xff", "is \xc3"}});
  for (const absl::Status& status : {sent, Error(OVERLOADED, "busy with \xa3", {{"k\xa3", "v\xff"}})}) {
    const absl::Status received =
        StatusFromWire(static_cast<int>(status.code()), status.message(), SerializeDetails(status));
    EXPECT_EQ(DetailsOf(received).reason, DetailsOf(status).reason);
    EXPECT_EQ(received, status);
  }
  EXPECT_EQ(DetailsOf(Error(OVERLOADED, "b", {{"k", "v\xff"}})).metadata.at("k"), "v\xef\xbf\xbd");
  EXPECT_EQ(DetailsOf(sent).violations.at(0).description, "is \xef\xbf\xbd");
  absl::Status plain = Error(OVERLOADED, "b");
  absl::Status made_elsewhere(plain.code(), "b\xff");
  plain.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { made_elsewhere.SetPayload(url, payload); });
  const absl::Status received = StatusFromWire(8, made_elsewhere.message(), SerializeDetails(made_elsewhere));
  EXPECT_EQ(DetailsOf(received).reason, "OVERLOADED");
  EXPECT_TRUE(DetailsOf(received).retryable);
}

TEST(Errors, GarbageDetailsAreIgnored) {
  EXPECT_EQ(StatusFromWire(5, "no", "\xff\xff\xff").message(), "no");
}

}  // namespace
}  // namespace aima
