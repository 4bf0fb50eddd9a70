#include "libs/rpc/headers.h"

#include <gtest/gtest.h>

namespace aima::rpc {
namespace {

TEST(Timeout, IsReadInEveryUnit) {
  EXPECT_EQ(ParseTimeout("1H"), absl::Hours(1));
  EXPECT_EQ(ParseTimeout("2M"), absl::Minutes(2));
  EXPECT_EQ(ParseTimeout("15S"), absl::Seconds(15));
  EXPECT_EQ(ParseTimeout("200m"), absl::Milliseconds(200));
  EXPECT_EQ(ParseTimeout("99999999u"), absl::Microseconds(99999999));
  EXPECT_EQ(ParseTimeout("0n"), absl::ZeroDuration());
}

TEST(Timeout, IsRefusedWhenItIsNone) {
  for (const char* text : {"", "S", "15", "15 S", "-1S", "123456789S", "1x", "1.5S"}) EXPECT_EQ(ParseTimeout(text), std::nullopt) << text;
}

TEST(Timeout, SurvivesTheWay) {
  for (const absl::Duration timeout : {absl::Milliseconds(1), absl::Seconds(30), absl::Hours(27), absl::Hours(24 * 365)}) {
    EXPECT_EQ(ParseTimeout(FormatTimeout(timeout)), timeout);
  }
  EXPECT_EQ(ParseTimeout(FormatTimeout(-absl::Seconds(1))), absl::Milliseconds(1)) << "a late call is still a call";
}

TEST(Status, SurvivesTheWayWithEveryByte) {
  std::string text;
  for (int c = 0; c < 256; ++c) text.push_back(static_cast<char>(c));
  Headers trailers;
  AppendStatus(absl::NotFoundError(text), trailers);
  for (const auto& [name, value] : trailers) {
    for (const unsigned char c : value) EXPECT_TRUE(c >= 32 && c < 127) << name;
  }
  const std::optional<absl::Status> status = StatusOf(trailers);
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(status->code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status->message(), text);
}

TEST(Status, IsAbsentWithoutTheField) { EXPECT_EQ(StatusOf({{"grpc-message", "x"}}), std::nullopt); }

TEST(Status, ThatIsNoNumberIsUnknown) {
  EXPECT_EQ(StatusOf({{"grpc-status", "seven"}})->code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(StatusOf({{"grpc-status", "99"}})->code(), absl::StatusCode::kUnknown);
}

}  // namespace
}  // namespace aima::rpc
