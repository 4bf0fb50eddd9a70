#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>

#include "libs/http/server.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/model/hub_source.h"
#include "services/model/ollama_source.h"

namespace aima::model {
namespace {

using aima::testing::FailsWith;
using aima::testing::IsOk;

constexpr char kDigest[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

std::string Layer(const std::string& kind, const std::string& digest, int64_t size = 5) {
  return absl::StrCat(R"({"mediaType": "application/vnd.ollama.image.)", kind, R"(", "digest": ")", digest,
                      R"(", "size": )", size, "}");
}
absl::StatusOr<v1::PullPlan> Plan(const std::string& layers) {
  Wish wish;
  wish.source = v1::MODEL_SOURCE_OLLAMA;
  wish.repo = "library/x";
  wish.tag = "latest";
  return PlanOfManifest(wish, "https://r.example", absl::StrCat(R"({"layers": [)", layers, "]}"));
}

TEST(OllamaManifest, LayersBecomeFiles) {
  const std::string digest = absl::StrCat("sha256:", kDigest);
  const auto plan = Plan(Layer("model", digest) + "," + Layer("license", digest) + "," + Layer("license", digest) +
                         "," + Layer("future", digest));
  ASSERT_THAT(plan, IsOk());
  ASSERT_EQ(plan->files_size(), 3);
  EXPECT_EQ(plan->files(0).name(), "model.gguf");
  EXPECT_EQ(plan->files(0).url(), absl::StrCat("https://r.example/v2/library/x/blobs/", digest));
  EXPECT_EQ(plan->files(2).name(), "LICENSE-2");
}

TEST(OllamaManifest, WhatIsNoDigestNeverBecomesAName) {
  for (const std::string bad : {"sha256:../../etc/passwd", "sha256:", "md5:abc", "sha256:2CF2", "sha256-x", ""}) {
    EXPECT_THAT(Plan(Layer("model", bad)), FailsWith(v1::MODEL_SOURCE_UNREACHABLE, "digest")) << bad;
  }
  EXPECT_THAT(Plan(Layer("model", absl::StrCat("sha256:", kDigest), -1)),
              FailsWith(v1::MODEL_SOURCE_UNREACHABLE, "size"));
}

TEST(OllamaManifest, SizesThatNoModelHasAreRefused) {
  const std::string digest = absl::StrCat("sha256:", kDigest);
  constexpr int64_t kMost = int64_t{1} << 43;
  EXPECT_THAT(Plan(Layer("model", digest, kMost)), IsOk());
  EXPECT_THAT(Plan(Layer("model", digest, kMost + 1)), FailsWith(v1::MODEL_SOURCE_UNREACHABLE, "too large"));
  EXPECT_THAT(Plan(Layer("model", digest, kMost) + "," + Layer("license", digest)),
              FailsWith(v1::MODEL_SOURCE_UNREACHABLE, "too large"));
}

TEST(OllamaManifest, DeepNestingIsNotRead) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_THAT(Plan(deep), FailsWith(v1::MODEL_SOURCE_UNREACHABLE, "not JSON"));
  const std::string text = absl::StrCat(R"({"mediaType": "\")", std::string(100, '['), R"("})");
  EXPECT_THAT(Plan(Layer("model", absl::StrCat("sha256:", kDigest)) + "," + text), IsOk())
      << "brackets in texts do not count";
}

TEST(OllamaManifest, WhatOnlyOllamaCanReadIsRefused) {
  const std::string digest = absl::StrCat("sha256:", kDigest);
  EXPECT_THAT(Plan(Layer("tensor", digest)), FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "tensor by tensor"));
  EXPECT_THAT(Plan(Layer("model", digest) + "," + Layer("adapter", digest)),
              FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "adapter"));
  EXPECT_THAT(Plan(Layer("license", digest)), FailsWith(v1::MODEL_FORMAT_UNSUPPORTED, "no layer with a model"));
}

// A registry that wants a token from everybody, and a Hub's searches.
class SourcesTest : public ::testing::Test {
 protected:
  SourcesTest() { EXPECT_THAT(server_.Start(), IsOk()); }
  ~SourcesTest() override { aima::testing::Run(loop_, Stopped()); }
  Task<bool> Stopped() {
    co_await server_.Shutdown(absl::Now());
    co_return true;
  }
  Task<void> Answer(http::Exchange& exchange) {
    const std::string& target = exchange.request().target;
    http::Response response;
    if (target.starts_with("/token?")) {
      token_asked_ = target;
      response.body = R"({"token": "let-me-in"})";
    } else if (target.starts_with("/v2/_catalog")) {
      response.body = R"([{"repositories": ["library/x"]}])";
    } else if (target.starts_with("/v2/")) {
      if (exchange.request().headers.Get("authorization") != "Bearer let-me-in") {
        response.status = 401;
        response.headers.Add(
            "www-authenticate",
            absl::StrCat("Bearer realm=\"", Url(), "/token\",service=\"r\",scope=\"repository:library/x:pull\""));
      } else {
        response.body = absl::StrCat(R"({"layers": [)", Layer("model", absl::StrCat("sha256:", kDigest)), "]}");
      }
    } else if (target.starts_with("/api/models?search=smol%20lm")) {
      response.body =
          R"([{"id": "a/SmolLM", "pipeline_tag": "text-generation", "downloads": 12, "likes": 3}, {"id": 7}, {"id": "b/SmolLM"}])";
    } else if (target.starts_with("/openapi/v1/models?search=smol%20lm")) {
      response.body =
          R"({"success": true, "data": {"models": [{"id": "c/SmolLM", "tasks": ["text-generation"], "downloads": 5}]}})";
    } else {
      response.status = 500;
    }
    (void)co_await exchange.Send(std::move(response));
  }
  std::string Url() const { return absl::StrCat("http://127.0.0.1:", server_.port()); }
  template <class T>
  T Run(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }

  Loop loop_;
  http::Server server_{loop_, {}, [this](http::Exchange& exchange) { return Answer(exchange); }};
  http::Outbound web_{loop_, {"127.0.0.1"}};
  std::string token_asked_;
};

TEST_F(SourcesTest, ARegistryThatWantsATokenGetsTheOneThatItGives) {
  OllamaSource source(web_, Url());
  Wish wish;
  wish.repo = "library/x";
  wish.tag = "latest";
  ASSERT_THAT(Run(source.Plan(wish)), IsOk());
  EXPECT_EQ(token_asked_, "/token?service=r&scope=repository%3Alibrary%2Fx%3Apull");
  const auto credentials = Run(source.Credentials(wish));
  ASSERT_THAT(credentials, IsOk());
  EXPECT_EQ(credentials->Get("authorization"), "Bearer let-me-in");
}

TEST_F(SourcesTest, ACatalogueThatIsNoneOffersNothing) {
  OllamaSource source(web_, Url());
  const auto offers = Run(source.Search("x", 5));
  ASSERT_THAT(offers, IsOk());
  EXPECT_TRUE(offers->empty());
}

TEST_F(SourcesTest, HubsAreSearched) {
  HuggingFaceSource huggingface(web_, Url(), "");
  const auto offers = Run(huggingface.Search("smol lm", 2));
  ASSERT_THAT(offers, IsOk());
  ASSERT_EQ(offers->size(), 2u);
  EXPECT_EQ(offers->at(0).repo(), "a/SmolLM");
  EXPECT_EQ(offers->at(0).downloads(), 12);
  EXPECT_EQ(offers->at(1).repo(), "b/SmolLM");
  ModelScopeSource modelscope(web_, Url());
  const auto others = Run(modelscope.Search("smol lm", 5));
  ASSERT_THAT(others, IsOk());
  EXPECT_EQ(others->at(0).repo(), "c/SmolLM");
  EXPECT_EQ(TypeOfTask(others->at(0).task()), v1::MODEL_TYPE_LLM);
}

TEST_F(SourcesTest, AnUnreadableTokenFileIsSaidAndMirrorsNeverSeeTheToken) {
  HuggingFaceSource source(web_, Url(), "/nonexistent");
  Wish wish;
  EXPECT_THAT(Run(source.Credentials(wish)), FailsWith(v1::MODEL_SOURCE_DENIED, "/nonexistent"));
  wish.mirror = Url();
  const auto credentials = Run(source.Credentials(wish));
  ASSERT_THAT(credentials, IsOk());
  EXPECT_TRUE(credentials->empty());
}

}  // namespace
}  // namespace aima::model
