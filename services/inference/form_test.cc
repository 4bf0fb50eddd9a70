#include "services/inference/form.h"

#include <gtest/gtest.h>

#include "libs/testing/status_matchers.h"

namespace aima::inference {
namespace {

using testing::FailsWith;
using testing::IsOk;

std::string Form(const std::string& model, const std::string& file) {
  return "before\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n" + model +
         "\r\n--b \t\r\nContent-Disposition: form-data; name=file; filename=\"a\\\"; name=model\"\r\n\r\n" + file +
         "\r\n--b--";
}

constexpr char kType[] = "Multipart/Form-Data; charset=utf-8; boundary=b";

TEST(Form, TheModelIsReplacedAndNothingElse) {
  const std::string body = Form("ears", "\r\n--bb\r\n--b-\r\n");
  const auto scan = ScanForm(body, kType);
  ASSERT_THAT(scan, IsOk());
  EXPECT_EQ(scan->model, "ears");
  EXPECT_EQ(EngineForm(body, *scan, "whisper"), Form("whisper", "\r\n--bb\r\n--b-\r\n"));
}

TEST(Form, WhatOnlyBeginsLikeAPartBelongsToTheFile) {
  const auto scan =
      ScanForm(Form("ears", "\r\n--bb\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\neyes"), kType);
  ASSERT_THAT(scan, IsOk());
  EXPECT_EQ(scan->model, "ears");
}

TEST(Form, AModelThatIsGivenTwiceIsRefused) {
  const std::string part = "--b\r\ncontent-disposition: form-data; NAME=\"model\"\r\n\r\nx\r\n";
  EXPECT_THAT(ScanForm(part + "--b--", kType), IsOk());
  EXPECT_THAT(ScanForm(part + part + "--b--", kType), FailsWith(unit::v1::INVALID_INPUT, "twice"));
}

TEST(Form, AModelWhoseNameIsLongerThanAnyIsRefused) {
  EXPECT_THAT(ScanForm(Form(std::string(200, 'a'), "speech"), kType), IsOk());
  EXPECT_THAT(ScanForm(Form(std::string(201, 'a'), "speech"), kType),
              FailsWith(unit::v1::INVALID_INPUT, "model: has 201 bytes, at most 200 are allowed"));
  EXPECT_THAT(ScanForm(Form("", "speech"), kType), FailsWith(unit::v1::INVALID_INPUT, "model: is required"));
}

TEST(Form, NoBeginningOfAFormIsAForm) {
  const std::string whole = Form("ears", "speech");
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(ScanForm(whole.substr(0, size), kType), FailsWith(unit::v1::INVALID_INPUT, "")) << size;
  }
}

TEST(Form, WhateverIsChangedTheModelStaysWithinTheBody) {
  const std::string whole = Form("ears", "speech");
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char c : {'\r', '\n', '-', 'b', '"', ';', '=', '\\', '\0'}) {
      std::string body = whole;
      body[at] = c;
      const auto scan = ScanForm(body, kType);
      if (!scan.ok()) continue;
      ASSERT_LE(scan->model_at.end, body.size());
      EXPECT_EQ(body.substr(scan->model_at.begin, scan->model_at.end - scan->model_at.begin), scan->model);
    }
  }
}

}  // namespace
}  // namespace aima::inference
