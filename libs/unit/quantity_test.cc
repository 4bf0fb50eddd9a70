#include "libs/unit/quantity.h"

#include <gtest/gtest.h>
#include <re2/re2.h>

namespace aima {
namespace {

using unit::v1::BYTES;
using unit::v1::MILLISECONDS;

TEST(Quantity, BytesHaveDecimalAndBinaryUnits) {
  EXPECT_EQ(*ParseQuantity("512", BYTES), 512);
  EXPECT_EQ(*ParseQuantity("10MB", BYTES), 10'000'000);
  EXPECT_EQ(*ParseQuantity("2 GiB", BYTES), int64_t{2} << 30);
  EXPECT_EQ(*ParseQuantity("1.5kb", BYTES), 1500);
}

TEST(Quantity, DurationsAreHeldInMilliseconds) {
  EXPECT_EQ(*ParseQuantity("1500", MILLISECONDS), 1500);
  EXPECT_EQ(*ParseQuantity("30s", MILLISECONDS), 30'000);
  EXPECT_EQ(*ParseQuantity("720h", MILLISECONDS), 2'592'000'000);
}

TEST(Quantity, NonsenseIsRefused) {
  for (const char* text : {"", "s", "1.2.3s", "-5s", "10XB", "99999999999999TB", "1e5"}) {
    EXPECT_FALSE(ParseQuantity(text, BYTES).ok()) << text;
    EXPECT_FALSE(ParseQuantity(text, MILLISECONDS).ok()) << text;
  }
}

TEST(Quantity, ThePatternMatchesWhatIsRead) {
  for (const unit::v1::Quantity quantity : {BYTES, MILLISECONDS}) {
    const RE2 pattern(QuantityPattern(quantity));
    for (const char* text : {"512", "10MB", "2 GiB", "1.5kb", "3b", "7tib", "1500ms", "30s", "5M", "0.5h", "", "s", "1.2.3s", "-5s",
                             "10XB", "1e5", "30 seconds", "5mib"}) {
      EXPECT_EQ(RE2::FullMatch(text, pattern), ParseQuantity(text, quantity).ok()) << text;
    }
  }
}

TEST(Quantity, WhatIsFormattedReadsBack) {
  for (int64_t amount : {0L, 1L, 999L, 1'000L, 1'024L, 10'000'000L, 3L << 30, 90'000L}) {
    EXPECT_EQ(*ParseQuantity(FormatQuantity(amount, BYTES), BYTES), amount);
    EXPECT_EQ(*ParseQuantity(FormatQuantity(amount, MILLISECONDS), MILLISECONDS), amount);
  }
}

}  // namespace
}  // namespace aima
