#include "services/gateway/edge.h"

#include <gmock/gmock.h>

#include "libs/testing/status_matchers.h"

namespace aima::gateway {
namespace {

using aima::testing::IsOk;
using ::testing::HasSubstr;

class EdgeTest : public ::testing::Test {
 protected:
  EdgeTest() { api_.set_listen_addr("127.0.0.1:9090"); }

  int Refusal(const std::string& host, const std::string& origin = "") {
    http::Request request;
    request.headers.Add("host", host);
    if (!origin.empty()) request.headers.Add("origin", origin);
    return Edge(api_).Refusal(request, message_);
  }

  config::v1::Api api_;
  std::string message_;
};

TEST_F(EdgeTest, TheHostMustBeANameOfThisListener) {
  api_.add_allowed_hosts("Spark.example");
  for (const char* good : {"127.0.0.1", "127.0.0.1:1", "localhost:9090", "LocalHost", "[::1]:9090", "[::1]", "spark.example:80"}) {
    EXPECT_EQ(Refusal(good), 0) << good;
  }
  for (const char* bad : {"evil.example", "evil.example:9090", "", ":9090", "127.0.0.1.evil.example", "localhost.evil.example",
                          "localhost@evil.example", "[::2]:9090", "evil.example#localhost", "xlocalhost"}) {
    EXPECT_EQ(Refusal(bad), 421) << bad;
  }
  EXPECT_THAT(message_, HasSubstr("allowed_hosts"));
}

TEST_F(EdgeTest, PagesMayNotCallUnlessTheirOriginIsAllowed) {
  api_.add_allowed_origins("https://console.example");
  EXPECT_EQ(Refusal("localhost", "https://console.example"), 403) << "CORS is off";
  api_.set_enable_cors(true);
  EXPECT_EQ(Refusal("localhost", "https://console.example"), 0);
  for (const char* bad : {"https://evil.example", "http://console.example", "https://console.example.evil.example", "null"}) {
    EXPECT_EQ(Refusal("localhost", bad), 403) << bad;
  }
  EXPECT_EQ(Refusal("localhost"), 0);
}

TEST_F(EdgeTest, PagesThatThisListenerServesMayCallIt) {
  EXPECT_EQ(Refusal("localhost:9090", "http://localhost:9090"), 0);
  EXPECT_EQ(Refusal("localhost:9090", "http://localhost:9091"), 403) << "another program of this machine";
  EXPECT_EQ(Refusal("evil.example:9090", "http://evil.example:9090"), 421) << "a name that was rebound";
}

TEST_F(EdgeTest, AnswersNameTheOriginOnlyWhereItIsAllowed) {
  http::Request request;
  request.headers.Add("origin", "https://console.example");
  http::Headers answer;
  Edge(api_).AllowOrigin(request, answer);
  EXPECT_TRUE(answer.empty());
  api_.set_enable_cors(true);
  api_.add_allowed_origins("https://console.example");
  Edge(api_).AllowOrigin(request, answer);
  EXPECT_EQ(answer.Get("access-control-allow-origin"), "https://console.example");
  EXPECT_THAT(answer.Get("access-control-expose-headers"), HasSubstr("ETag"));
  EXPECT_EQ(answer.Get("vary"), "Origin");
}

TEST_F(EdgeTest, OtherOriginsMayNotReadEvenTheirRefusal) {
  api_.set_enable_cors(true);
  api_.add_allowed_origins("https://console.example");
  http::Headers answer;
  Edge(api_).AllowOrigin({.headers = {{"Origin", "http://evil.example"}}}, answer);
  EXPECT_EQ(answer.Find("access-control-allow-origin"), nullptr);
  EXPECT_EQ(answer.Get("vary"), "Origin") << "a cache must not mix the two up";
}

TEST_F(EdgeTest, BrowsersMaySendTheHeadersThatTheyAskForAndRememberThat) {
  api_.set_enable_cors(true);
  api_.add_allowed_origins("https://console.example");
  const auto preflight = [this](const std::string& origin, const std::string& headers) {
    http::Headers answer;
    Edge(api_).AllowOrigin(
        {.method = "OPTIONS", .headers = {{"Origin", origin}, {"Access-Control-Request-Headers", headers}}}, answer);
    return answer;
  };
  const http::Headers answer = preflight("https://console.example", "authorization, x-stainless-os,anthropic-version");
  EXPECT_EQ(answer.Get("access-control-max-age"), "600");
  EXPECT_EQ(answer.Get("access-control-allow-headers"), "authorization, x-stainless-os,anthropic-version");
  EXPECT_EQ(answer.Get("vary"), "Origin, Access-Control-Request-Headers");
  EXPECT_EQ(preflight("http://evil.example", "authorization").Find("access-control-allow-headers"), nullptr);
  EXPECT_EQ(preflight("https://console.example", "a\tb; c").Find("access-control-allow-headers"), nullptr);
}

TEST(CheckListener, TheNetworkNeedsTlsAndAKey) {
  for (const char* local : {"127.0.0.1:9090", "localhost:9090", "[::1]:9090", ""}) {
    EXPECT_THAT(CheckListener("api.listen_addr", local, false, false), IsOk()) << local;
  }
  for (const char* open : {"0.0.0.0:9090", "192.0.2.1:9090", "[::]:9090", "spark.example:9090"}) {
    EXPECT_FALSE(CheckListener("api.listen_addr", open, false, false).ok()) << open;
    EXPECT_FALSE(CheckListener("api.listen_addr", open, true, false).ok()) << open;
    EXPECT_FALSE(CheckListener("api.listen_addr", open, false, true).ok()) << open;
    EXPECT_THAT(CheckListener("api.listen_addr", open, true, true), IsOk()) << open;
  }
  const std::string refusal(CheckListener("api.listen_addr", "0.0.0.0:9090", false, false).message());
  EXPECT_THAT(refusal, HasSubstr("api.tls_cert"));
  EXPECT_THAT(refusal, HasSubstr("a key"));
}

}  // namespace
}  // namespace aima::gateway
