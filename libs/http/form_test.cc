#include "libs/http/form.h"

#include <gmock/gmock.h>

#include "aima/unit/v1/errors.pb.h"
#include "libs/testing/status_matchers.h"

namespace aima::http {
namespace {

using testing::FailsWith;
using testing::IsOk;
using ::testing::ElementsAre;

// Each field as name=value, files as name@value.
std::vector<std::string> Read(std::string_view body, std::string_view type) {
  const auto fields = ReadForm(body, type);
  EXPECT_THAT(fields, IsOk());
  std::vector<std::string> read;
  if (!fields.ok()) return read;
  for (const FormField& field : *fields) {
    read.push_back(field.name + (field.is_file ? "@" : "=") + std::string(field.ValueIn(body)));
  }
  return read;
}

TEST(Form, WhatIsWrittenIsRead) {
  FormWriter writer;
  writer.Field("language", "en");
  writer.Field("nothing", "");
  writer.File("file", std::string("\r\n--\0", 5));
  writer.File("picture", "PNG", "a.png", "image/png");
  const std::string type = writer.content_type();
  EXPECT_TRUE(IsForm(type));
  EXPECT_THAT(Read(std::move(writer).Finish(), type),
              ElementsAre("language=en", "nothing=", "file@" + std::string("\r\n--\0", 5), "picture@PNG"));
}

constexpr char kType[] = "Multipart/Form-Data; charset=utf-8; boundary=b";

TEST(Form, WhatComesBeforeBlanksAndQuotesAreRead) {
  EXPECT_TRUE(IsForm(kType));
  EXPECT_FALSE(IsForm("application/json"));
  const std::string body =
      "before\r\n--b\r\ncontent-disposition: form-data; NAME=a[b]\r\n\r\n1\r\n--b \t\r\nX: y\r\nContent-Disposition: "
      "form-data; name=c; filename=\"a\\\"; name=d\"\r\n\r\n\r\n--bb\r\n--b-\r\n\r\n--b--after";
  EXPECT_THAT(Read(body, kType), ElementsAre("a[b]=1", "c@\r\n--bb\r\n--b-\r\n"));
}

TEST(Form, NoBeginningOfAFormIsAForm) {
  const std::string whole = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--";
  EXPECT_THAT(Read(whole, kType), ElementsAre("a=1"));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(ReadForm(whole.substr(0, size), kType), FailsWith(unit::v1::INVALID_INPUT, "body")) << size;
  }
  EXPECT_THAT(ReadForm(whole, "multipart/form-data"), FailsWith(unit::v1::INVALID_INPUT, "boundary"));
}

TEST(Form, AFormOfTooManyFieldsIsRefused) {
  std::string body = "--b";
  for (int i = 0; i < 1000; ++i) body += "\r\n\r\n\r\n--b";
  EXPECT_EQ(Read(body + "--", kType).size(), 1000u);
  EXPECT_THAT(ReadForm(body + "\r\n\r\n\r\n--b--", kType), FailsWith(unit::v1::INVALID_INPUT, "1000"));
}

}  // namespace
}  // namespace aima::http
