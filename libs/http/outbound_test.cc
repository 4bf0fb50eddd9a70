#include "libs/http/outbound.h"

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>

#include "libs/http/server.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::http {
namespace {

using aima::testing::IsOk;
using ::testing::HasSubstr;

std::string Parsed(const std::string& text) {
  const absl::StatusOr<Url> url = ParseUrl(text);
  return url.ok() ? url->Text() : "refused";
}

std::string Resolved(const std::string& base, const std::string& location) {
  const absl::StatusOr<Url> url = ResolveUrl(*ParseUrl(base), location);
  return url.ok() ? url->Text() : "refused";
}

TEST(Url, IsReadAndWrittenTheSame) {
  for (const char* same : {"https://hub.example/a/b?c=d", "http://127.0.0.1:5000/", "https://[2001:db8::1]:8443/x"}) {
    EXPECT_EQ(Parsed(same), same);
  }
  EXPECT_EQ(Parsed("HTTPS://Hub.Example"), "https://hub.example/");
  EXPECT_EQ(Parsed("https://hub.example:443?q=1#part"), "https://hub.example/?q=1");
}

TEST(Url, WhatTwoProgramsCouldReadInTwoWaysIsRefused) {
  for (const char* bad : {"ftp://a/", "a/b", "http:a", "http://", "http://user@host/", "http://good.example\\@evil.example/",
                          "http://a b/", "http://a\r\nb/", "http://a:0/", "http://a:65536/", "http://a:80x/", "http://a:/",
                          "http://[::1/", "http://[::1]x/", "http://a%2eb/", "http://\xc3\xa9/", "http:///path", ""}) {
    EXPECT_EQ(Parsed(bad), "refused") << bad;
  }
}

TEST(Url, LocationsAreResolvedAgainstTheirBase) {
  const std::string base = "https://hub.example:8443/org/model/resolve?x=1";
  EXPECT_EQ(Resolved(base, "https://cdn.example/y"), "https://cdn.example/y");
  EXPECT_EQ(Resolved(base, "//cdn.example/y"), "https://cdn.example/y");
  EXPECT_EQ(Resolved(base, "/y?z"), "https://hub.example:8443/y?z");
  EXPECT_EQ(Resolved(base, "blob"), "https://hub.example:8443/org/model/blob");
  EXPECT_EQ(Resolved(base, "?z=2"), "https://hub.example:8443/org/model/resolve?z=2");
  EXPECT_EQ(Resolved(base, "file:///etc/passwd"), "refused");
}

TEST(Url, SegmentsAreEncoded) {
  EXPECT_EQ(PercentEncode("a b/c?d#e%\xc3\xa9"), "a%20b%2Fc%3Fd%23e%25%C3%A9");
  EXPECT_EQ(PercentEncode("a b/c", true), "a%20b/c");
}

TEST(Addresses, OnlyThoseOfThePublicInternetArePublic) {
  for (const char* text : {"8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111"}) {
    EXPECT_TRUE(IsPublicAddress(boost::asio::ip::make_address(text))) << text;
  }
  for (const char* text :
       {"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1",
        "172.31.255.255", "192.0.2.1", "192.168.1.1", "198.19.0.1", "224.0.0.1", "255.255.255.255", "::", "::1",
        "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "fe80::1", "fc00::1", "fd12::1", "ff02::1",
        "2001:db8::1", "2001::1", "2002:7f00:1::1"}) {
    EXPECT_FALSE(IsPublicAddress(boost::asio::ip::make_address(text))) << text;
  }
}

class OutboundTest : public ::testing::Test {
 protected:
  // A server that keeps what it was asked and answers /to/<address> with a redirect there.
  struct Site {
    explicit Site(Loop& loop) : server(loop, {}, [this](Exchange& exchange) { return Answer(exchange); }) {
      EXPECT_THAT(server.Start(), IsOk());
    }
    Task<void> Answer(Exchange& exchange) {
      ++requests;
      credentials = std::string(exchange.request().headers.Get("authorization"));
      Response response;
      response.body = "body of " + exchange.request().target;
      if (exchange.request().target.starts_with("/to/")) {
        response.status = 302;
        response.headers.Add("location", exchange.request().target.substr(4));
      }
      (void)co_await exchange.Send(std::move(response));
    }
    std::string Url(const std::string& path, const std::string& host = "127.0.0.1") const {
      return absl::StrCat("http://", host, ":", server.port(), path);
    }
    std::string Authority() const { return absl::StrCat("127.0.0.1:", server.port()); }

    int requests = 0;
    std::string credentials;
    Server server;
  };

  ~OutboundTest() override { aima::testing::Run(loop_, Stopped()); }
  Task<bool> Stopped() {
    co_await hub_.server.Shutdown(absl::Now());
    co_await cdn_.server.Shutdown(absl::Now());
    co_return true;
  }

  absl::StatusOr<Response> Get(std::vector<std::string> trusted, const std::string& url) {
    Outbound outbound(loop_, std::move(trusted));
    Headers headers;
    headers.Add("authorization", "Bearer secret");
    return aima::testing::Run(loop_, outbound.Get(*ParseUrl(url), headers, absl::Now() + absl::Seconds(20), 1000));
  }

  Loop loop_;
  Site hub_{loop_};
  Site cdn_{loop_};
};

TEST_F(OutboundTest, AnAnswerIsReadWhole) {
  const auto answer = Get({hub_.Authority()}, hub_.Url("/x?y=1"));
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->body, "body of /x?y=1");
  EXPECT_EQ(hub_.credentials, "Bearer secret");
}

TEST_F(OutboundTest, CredentialsDoNotFollowARedirectToAnotherServer) {
  ASSERT_THAT(Get({"127.0.0.1"}, hub_.Url("/to/" + cdn_.Url("/blob"))), IsOk());
  EXPECT_EQ(cdn_.requests, 1);
  EXPECT_EQ(cdn_.credentials, "");
  ASSERT_THAT(Get({"127.0.0.1"}, hub_.Url("/to//here")), IsOk());
  EXPECT_EQ(hub_.credentials, "Bearer secret") << "the same server may have them";
}

TEST_F(OutboundTest, ThisMachineIsNotReachedUnlessItIsTrusted) {
  for (const char* host : {"127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "0x7f.1"}) {
    const auto answer = Get({}, absl::StrCat("https://", host, ":", hub_.server.port(), "/"));
    EXPECT_TRUE(absl::IsPermissionDenied(answer.status()) || absl::IsUnavailable(answer.status()))
        << host << " " << answer.status();
  }
  EXPECT_EQ(hub_.requests, 0);
  EXPECT_TRUE(absl::IsPermissionDenied(Get({}, absl::StrCat("https://127.0.0.1:", hub_.server.port(), "/")).status()));
}

TEST_F(OutboundTest, ARedirectToWhatIsNotTrustedIsNotFollowed) {
  const auto answer = Get({hub_.Authority()}, hub_.Url("/to/" + cdn_.Url("/metadata")));
  EXPECT_TRUE(absl::IsPermissionDenied(answer.status())) << answer.status();
  EXPECT_EQ(cdn_.requests, 0);
}

TEST_F(OutboundTest, WithoutTlsOnlyTrustedHostsAreAsked) {
  const auto answer = Get({}, "http://8.8.8.8/");
  EXPECT_TRUE(absl::IsPermissionDenied(answer.status()));
  EXPECT_THAT(std::string(answer.status().message()), HasSubstr("without TLS"));
}

TEST_F(OutboundTest, AChainOfRedirectsEnds) {
  std::string chain = "/end";
  for (int i = 0; i < 6; ++i) chain = "/to/" + chain;
  const auto long_way = Get({"127.0.0.1"}, hub_.Url(chain));
  EXPECT_TRUE(absl::IsUnavailable(long_way.status())) << long_way.status();
  EXPECT_THAT(std::string(long_way.status().message()), HasSubstr("5 times"));
}

TEST_F(OutboundTest, ABodyIsNotReadBeyondItsLimit) {
  const auto answer = Get({"127.0.0.1"}, hub_.Url("/" + std::string(2000, 'x')));
  EXPECT_TRUE(absl::IsResourceExhausted(answer.status())) << answer.status();
}

}  // namespace
}  // namespace aima::http
