#include "libs/http/range.h"

#include <gmock/gmock.h>

namespace aima::http {
namespace {

constexpr char kTag[] = "\"film\"";

Part Asked(Headers headers, uint64_t size = 1000, const char* method = "GET") {
  return PartOf({method, "/film", std::move(headers), ""}, size, kTag);
}

// The part of a thousand bytes that a Range asks for, as "status begin size".
std::string Of(const char* range, uint64_t size = 1000) {
  const Part part = Asked({{"Range", range}}, size);
  EXPECT_EQ(part.whole, size);
  return std::to_string(part.status) + " " + std::to_string(part.begin) + " " + std::to_string(part.size);
}

TEST(Range, APartIsWhatWasAskedForAsFarAsThereIsAny) {
  EXPECT_EQ(Of("bytes=0-499"), "206 0 500");
  EXPECT_EQ(Of("bytes=500-999"), "206 500 500");
  EXPECT_EQ(Of("bytes=999-"), "206 999 1");
  EXPECT_EQ(Of("bytes=0-"), "206 0 1000");
  EXPECT_EQ(Of("Bytes=0-0"), "206 0 1");
  EXPECT_EQ(Of("bytes=-1"), "206 999 1");
  EXPECT_EQ(Of("bytes=-2000"), "206 0 1000");
  EXPECT_EQ(Of("bytes=900-2000"), "206 900 100");
  EXPECT_EQ(Of("bytes=0-18446744073709551615"), "206 0 1000");
}

TEST(Range, WhatBeginsBehindTheEndIsRefused) {
  EXPECT_EQ(Of("bytes=1000-"), "416 0 0");
  EXPECT_EQ(Of("bytes=5000-6000"), "416 0 0");
  EXPECT_EQ(Of("bytes=-0"), "416 0 0");
  EXPECT_EQ(Of("bytes=0-", 0), "416 0 0");
}

TEST(Range, WhatIsNoSingleRangeIsTheWhole) {
  for (const char* range : {"", "bytes", "bytes=", "bytes=-", "bytes=5", "bytes=5-4", "bytes=a-b", "bytes=0-1,5-6", "bytes=+1-5",
                            "bytes= 1-5", "bytes=1--5", "bytes=--5", "bytes=0x1-5", "lines=0-5", "bytes=18446744073709551616-"}) {
    EXPECT_EQ(Of(range), "200 0 1000") << range;
  }
  EXPECT_EQ(Asked({}).size, 1000u);
  EXPECT_EQ(Asked({{"Range", "bytes=0-1"}}, 1000, "HEAD").status, 200);
}

TEST(Range, OfWhatHasChangedTheWholeIsSent) {
  EXPECT_EQ(Asked({{"Range", "bytes=0-1"}, {"If-Range", kTag}}).status, 206);
  EXPECT_EQ(Asked({{"Range", "bytes=0-1"}, {"If-Range", "\"other\""}}).status, 200);
  EXPECT_EQ(Asked({{"Range", "bytes=0-1"}, {"If-Range", "W/\"film\""}}).status, 200);
  EXPECT_EQ(Asked({{"Range", "bytes=0-1"}, {"If-Range", "Sat, 21 Nov 2026 23:00:00 GMT"}}).status, 200);
}

TEST(Range, WhoHasItGetsNothing) {
  EXPECT_EQ(Asked({{"If-None-Match", kTag}, {"Range", "bytes=0-1"}}).status, 304);
  EXPECT_EQ(Asked({{"If-None-Match", "\"other\""}}).status, 200);
}

TEST(Range, AnAnswerTellsWhichPartItIs) {
  const auto told = [](const Part& part, const char* name) {
    Headers headers;
    part.Describe(kTag, headers);
    EXPECT_EQ(headers.Get("accept-ranges"), "bytes");
    EXPECT_EQ(headers.Get("etag"), kTag);
    return std::string(headers.Get(name));
  };
  EXPECT_EQ(told(Asked({{"Range", "bytes=900-2000"}}), "content-range"), "bytes 900-999/1000");
  EXPECT_EQ(told(Asked({{"Range", "bytes=1000-"}}), "content-range"), "bytes */1000");
  EXPECT_EQ(told(Asked({}), "content-range"), "");
}

}  // namespace
}  // namespace aima::http
