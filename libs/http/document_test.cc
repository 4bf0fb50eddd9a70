#include "libs/http/document.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include "libs/testing/task.h"

namespace aima::http {
namespace {

std::string Unpack(const std::string& packed) {
  z_stream stream = {};
  inflateInit2(&stream, 15 + 16);
  std::string text(10 << 20, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  text.resize(text.size() - stream.avail_out);
  inflateEnd(&stream);
  return text;
}

TEST(Gzip, EveryLengthUnpacksToTheSame) {
  Loop loop;
  for (const size_t size : {0, 1, 1000, 65'536, 65'537, 1'000'000}) {
    std::string text;
    for (size_t i = 0; i < size; ++i) text += static_cast<char>((i * i) >> 7);
    EXPECT_EQ(Unpack(testing::Run(loop, Gzip(text, 1))), text) << size;
    EXPECT_EQ(Unpack(GzipNow(text)), text) << size;
  }
}

TEST(Gzip, IsSentOnlyToThoseWhoWantIt) {
  EXPECT_TRUE(WantsGzip("gzip"));
  EXPECT_TRUE(WantsGzip("br;q=1.0, GZIP;q=0.5"));
  EXPECT_TRUE(WantsGzip("*"));
  EXPECT_FALSE(WantsGzip(""));
  EXPECT_FALSE(WantsGzip("br, zstd"));
  EXPECT_FALSE(WantsGzip("gzip;q=0"));
  EXPECT_FALSE(WantsGzip("*;q=0"));
  EXPECT_FALSE(WantsGzip("*, gzip;q=0"));
  EXPECT_FALSE(WantsGzip("gzip;q=abc"));
}

TEST(EntityTags, AreComparedWeakly) {
  const std::string tag = EntityTag("a");
  EXPECT_NE(tag, EntityTag("b"));
  EXPECT_TRUE(HoldsTag(tag, tag));
  EXPECT_TRUE(HoldsTag("\"x\", W/" + tag + " ,\"y\"", tag));
  EXPECT_TRUE(HoldsTag(tag, EntityTag("a", /*weak=*/true)));
  EXPECT_TRUE(HoldsTag("*", tag));
  EXPECT_FALSE(HoldsTag("\"x\"", tag));
  EXPECT_FALSE(HoldsTag("", tag));
}

TEST(Documents, GoOutOnceInEachForm) {
  const Document document("text/css", std::string(5000, 'x'));
  Request request;
  const Response plain = DocumentResponse(request, document);
  EXPECT_EQ(plain.body, document.body);
  EXPECT_EQ(plain.headers.Get("vary"), "Accept-Encoding");
  EXPECT_EQ(plain.headers.Find("content-encoding"), nullptr);
  request.headers.Add("accept-encoding", "gzip, br");
  const Response packed = DocumentResponse(request, document);
  EXPECT_EQ(packed.headers.Get("content-encoding"), "gzip");
  EXPECT_EQ(Unpack(packed.body), document.body);
  EXPECT_NE(packed.headers.Get("etag"), plain.headers.Get("etag")) << "a strong tag names bytes";
  request.headers.Add("if-none-match", std::string(packed.headers.Get("etag")));
  const Response again = DocumentResponse(request, document);
  EXPECT_EQ(again.status, 304);
  EXPECT_EQ(again.body, "");
  EXPECT_EQ(again.headers.Get("etag"), packed.headers.Get("etag"));
  EXPECT_EQ(again.headers.Find("content-encoding"), nullptr);
}

TEST(Documents, SmallOnesStayAsTheyAre) {
  Request request;
  request.headers.Add("accept-encoding", "gzip");
  const Response response = DocumentResponse(request, Document("text/plain", "short"));
  EXPECT_EQ(response.body, "short");
  EXPECT_EQ(response.headers.Find("vary"), nullptr);
}

}  // namespace
}  // namespace aima::http
