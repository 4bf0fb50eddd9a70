#include "libs/http/sse.h"

#include <gmock/gmock.h>

namespace aima::http {
namespace {

TEST(SseParser, CutsEventsWhereverTheBytesAreCut) {
  const std::string stream = ": hello\r\nid: 7\nevent: data\ndata: one\ndata:two\r\n\r\nevent: lost\n\ndata: {}\r\r";
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    SseParser parser;
    std::vector<SseEvent> events;
    for (size_t i = 0; i < stream.size(); i += piece) {
      parser.Push(std::string_view(stream).substr(i, piece));
      while (auto event = parser.Next()) events.push_back(*std::move(event));
    }
    parser.Push("\n");  // shows that the last \r stood alone or not; an empty line either way
    while (auto event = parser.Next()) events.push_back(*std::move(event));
    ASSERT_EQ(events.size(), 2u) << "in pieces of " << piece;
    EXPECT_EQ(events[0].event, "data");
    EXPECT_EQ(events[0].data, "one\ntwo");
    EXPECT_EQ(events[0].id, "7");
    EXPECT_EQ(events[1].event, "");
    EXPECT_EQ(events[1].data, "{}");
    EXPECT_EQ(events[1].id, "7");
  }
}

TEST(FormatSse, IsReadBackBySseParser) {
  SseParser parser;
  parser.Push(FormatSse("update", "a\nb\r\n\nc", "42"));
  parser.Push(FormatSse("", ""));
  auto first = parser.Next();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->event, "update");
  EXPECT_EQ(first->data, "a\nb\n\nc");
  EXPECT_EQ(first->id, "42");
  auto second = parser.Next();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->data, "");
  EXPECT_FALSE(parser.Next());
  EXPECT_EQ(parser.pending(), 0u);
}

}  // namespace
}  // namespace aima::http
