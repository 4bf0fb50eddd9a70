#include "libs/base/utf8.h"

#include <gtest/gtest.h>

namespace aima {
namespace {

TEST(Utf8, ValidTextStaysAsItIs) {
  for (const char* text : {"", "plain", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(ValidUtf8(text), text);
  }
  EXPECT_EQ(ValidUtf8(std::string("a\0b", 3)), std::string("a\0b", 3));
}

TEST(Utf8, EachByteOfNoSequenceIsReplaced) {
  EXPECT_EQ(ValidUtf8("a\xff" "b"), "a\xef\xbf\xbd" "b");
  EXPECT_EQ(ValidUtf8("\xe2\x82"), "\xef\xbf\xbd\xef\xbf\xbd") << "cut off";
  EXPECT_EQ(ValidUtf8("\xc0\x80"), "\xef\xbf\xbd\xef\xbf\xbd") << "overlong";
  EXPECT_EQ(ValidUtf8("\xed\xa0\x80").substr(0, 3), "\xef\xbf\xbd") << "a surrogate";
  EXPECT_EQ(ValidUtf8("\xf4\x90\x80\x80").substr(0, 3), "\xef\xbf\xbd") << "beyond the last code point";
  EXPECT_EQ(ValidUtf8("\xa3\xc3\xa4"), "\xef\xbf\xbd\xc3\xa4");
}

}  // namespace
}  // namespace aima
