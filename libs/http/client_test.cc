#include "libs/http/client.h"

#include <gmock/gmock.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>

#include "libs/http/server.h"
#include "libs/http/unsent.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::http {
namespace {

namespace asio = boost::asio;
using aima::testing::IsOk;
using asio::ip::tcp;
using ::testing::HasSubstr;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

// A server that does what it is told, connection by connection: for each request it sends `answer`, and it closes
// after `per_connection` of them.
class Scripted {
 public:
  Scripted(Loop& loop, std::string answer, int per_connection)
      : acceptor_(loop, {asio::ip::make_address("127.0.0.1"), 0}), answer_(std::move(answer)), per_connection_(per_connection) {
    asio::co_spawn(loop, Accept(), asio::detached);
  }

  Endpoint endpoint() const { return {.host = "127.0.0.1", .port = acceptor_.local_endpoint().port()}; }
  int connections = 0;
  int requests = 0;
  int disconnects = 0;
  std::string last_request;

 private:
  Task<void> Accept() {
    while (true) {
      auto [error, socket] = co_await acceptor_.async_accept(kTuple);
      if (error) co_return;
      ++connections;
      asio::co_spawn(acceptor_.get_executor(), Serve(std::move(socket)), asio::detached);
    }
  }
  Task<void> Serve(tcp::socket socket) {
    for (int i = 0; i < per_connection_; ++i) {
      std::string request;
      auto [error, size] = co_await asio::async_read_until(socket, asio::dynamic_buffer(request), "\r\n\r\n", kTuple);
      if (error) {
        ++disconnects;
        co_return;
      }
      ++requests;
      last_request = request;
      co_await asio::async_write(socket, asio::buffer(answer_), kTuple);
    }
  }

  tcp::acceptor acceptor_;
  const std::string answer_;
  const int per_connection_;
};

class ClientTest : public ::testing::Test {
 protected:
  template <class T>
  T Await(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }

  absl::StatusOr<Response> Get(const Endpoint& endpoint, absl::Duration timeout = absl::Seconds(10), size_t max = 1 << 20) {
    return Await(client_.Send(endpoint, Request{}, absl::Now() + timeout, max));
  }

  Loop loop_;
  Client client_{loop_};
};

constexpr char kWhole[] = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nkeep-alive: timeout=5, max=100\r\n\r\nhello";

TEST_F(ClientTest, UsesAConnectionAgain) {
  Scripted server(loop_, kWhole, 100);
  for (int i = 0; i < 10; ++i) {
    auto response = Get(server.endpoint());
    ASSERT_THAT(response, IsOk());
    EXPECT_EQ(response->body, "hello");
  }
  EXPECT_EQ(server.connections, 1);
  EXPECT_EQ(server.requests, 10);
}

// Closes an idle connection only when the next request is already there, so that the client cannot see it coming.
class ClosesOnReuse {
 public:
  explicit ClosesOnReuse(Loop& loop) : acceptor_(loop, {asio::ip::make_address("127.0.0.1"), 0}) {
    asio::co_spawn(loop, Accept(), asio::detached);
  }
  Endpoint endpoint() const { return {.host = "127.0.0.1", .port = acceptor_.local_endpoint().port()}; }
  int closed = 0;

 private:
  Task<void> Accept() {
    while (true) {
      auto [error, socket] = co_await acceptor_.async_accept(kTuple);
      if (error) co_return;
      asio::co_spawn(acceptor_.get_executor(), Serve(std::move(socket)), asio::detached);
    }
  }
  Task<void> Serve(tcp::socket socket) {
    std::string request;
    auto [error, size] = co_await asio::async_read_until(socket, asio::dynamic_buffer(request), "\r\n\r\n", kTuple);
    if (!error) co_await asio::async_write(socket, asio::buffer(std::string_view(kWhole)), kTuple);
    auto [gone, more] = co_await socket.async_read_some(asio::buffer(buffer_), kTuple);
    closed += !gone;
  }
  tcp::acceptor acceptor_;
  char buffer_[4096];
};

TEST_F(ClientTest, SendsAgainWhenAReusedConnectionEndsBeforeTheAnswer) {
  ClosesOnReuse server(loop_);
  for (int i = 0; i < 50; ++i) ASSERT_THAT(Get(server.endpoint()), IsOk()) << i;
  EXPECT_GT(server.closed, 10);
}

TEST_F(ClientTest, WhatAsksForAConnectionOfItsOwnIsSentOnce) {
  ClosesOnReuse server(loop_);
  for (int i = 0; i < 50; ++i) {
    Request once{.method = "POST"};
    once.headers.Add("Connection", "close");
    ASSERT_THAT(Await(client_.Send(server.endpoint(), once, absl::Now() + absl::Seconds(10))), IsOk()) << i;
  }
  EXPECT_EQ(server.closed, 0) << "it came on a connection that could end under it";
}

TEST_F(ClientTest, ItIsKnownWhetherTheServerMayHaveARequest) {
  EXPECT_TRUE(NothingWasSent(Get({.host = "127.0.0.1", .port = 1}).status()));
  Scripted server(loop_, "", 1);
  EXPECT_FALSE(NothingWasSent(Get(server.endpoint()).status()));
}

TEST_F(ClientTest, DoesNotSendAgainWhenAFreshConnectionEnds) {
  Scripted server(loop_, "", 1);
  auto response = Get(server.endpoint());
  EXPECT_EQ(response.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(response.status().message()), HasSubstr("127.0.0.1:" + std::to_string(server.endpoint().port)));
  EXPECT_EQ(server.requests, 1);
}

TEST_F(ClientTest, NamesAnEndpointThatCannotBeReached) {
  Endpoint nobody = {.host = "127.0.0.1", .port = 1};
  auto response = Get(nobody);
  EXPECT_EQ(response.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(response.status().message()), HasSubstr("127.0.0.1:1 cannot be reached"));
}

TEST_F(ClientTest, GivesUpAtTheDeadline) {
  Scripted server(loop_, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", 100);
  auto response = Get(server.endpoint(), absl::Milliseconds(150));
  EXPECT_EQ(response.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ClientTest, RefusesABodyThatIsLargerThanAllowed) {
  Scripted server(loop_, kWhole, 100);
  EXPECT_EQ(Get(server.endpoint(), absl::Seconds(5), 4).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Get(server.endpoint(), absl::Seconds(5), 5), IsOk());
}

TEST_F(ClientTest, SkipsInterimAnswersAndReadsUntilTheEndOfTheConnection) {
  Scripted server(loop_, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 201 Created\r\n\r\nall of it", 1);
  auto response = Get(server.endpoint());
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->status, 201);
  EXPECT_EQ(response->body, "all of it");
}

TEST_F(ClientTest, RefusesAnAnswerThatIsNotHttp) {
  Scripted server(loop_, "220 mail.example ESMTP\r\n\r\n", 1);
  auto response = Get(server.endpoint());
  EXPECT_THAT(std::string(response.status().message()), HasSubstr("does not speak HTTP"));
}

TEST_F(ClientTest, RefusesARequestThatSmugglesAnother) {
  Scripted server(loop_, kWhole, 1);
  Request request;
  request.headers.Add("x", "1\r\nhost: evil");
  EXPECT_EQ(Await(client_.Send(server.endpoint(), request, absl::InfiniteFuture())).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server.connections, 0);
}

TEST_F(ClientTest, SendsHostAndLengthAndTheBody) {
  Server server(loop_, {}, [](Exchange& exchange) -> Task<void> {
    Response response;
    response.body = std::string(exchange.request().headers.Get("host")) + " " + exchange.request().body;
    (void)co_await exchange.Send(std::move(response));
  });
  ASSERT_THAT(server.Start(), IsOk());
  Request request;
  request.method = "POST";
  request.body = std::string(3'000'000, 'b');
  Endpoint endpoint = {.host = "localhost", .port = server.port()};
  auto response = Await(client_.Send(endpoint, request, absl::Now() + absl::Seconds(10)));
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->body, "localhost:" + std::to_string(server.port()) + " " + request.body);
}

TEST_F(ClientTest, StreamsBytesAsTheyArrive) {
  asio::steady_timer second_piece(loop_, std::chrono::hours(1));
  auto handler = [&](Exchange& exchange) -> Task<void> {
    (void)co_await exchange.StartStream(200, {});
    (void)co_await exchange.Write("one");
    (void)co_await second_piece.async_wait(kTuple);
    (void)co_await exchange.Write("two");
    (void)co_await exchange.Finish();
  };
  Server server(loop_, {}, handler);
  ASSERT_THAT(server.Start(), IsOk());
  Endpoint endpoint = {.host = "127.0.0.1", .port = server.port()};
  for (int round = 0; round < 2; ++round) {
    second_piece.expires_after(std::chrono::hours(1));
    auto stream = Await(client_.Open(endpoint, Request{}, absl::InfiniteFuture()));
    ASSERT_THAT(stream, IsOk());
    auto first = Await((*stream)->Next());
    ASSERT_THAT(first, IsOk());
    EXPECT_EQ(**first, "one");
    second_piece.cancel();
    EXPECT_EQ(**Await((*stream)->Next()), "two");
    EXPECT_EQ(*Await((*stream)->Next()), std::nullopt);
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(ClientTest, LeavingAStreamClosesItsConnection) {
  Scripted server(loop_, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n", 100);
  {
    auto stream = Await(client_.Open(server.endpoint(), Request{}, absl::InfiniteFuture()));
    ASSERT_THAT(stream, IsOk());
    EXPECT_EQ(**Await((*stream)->Next()), "one");
  }
  while (server.disconnects == 0) ASSERT_GT(loop_.run_one_for(std::chrono::seconds(5)), 0u);
}

TEST_F(ClientTest, AStreamThatBreaksOffIsAnError) {
  Scripted server(loop_, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n", 1);
  auto stream = Await(client_.Open(server.endpoint(), Request{}, absl::InfiniteFuture()));
  ASSERT_THAT(stream, IsOk());
  EXPECT_EQ(**Await((*stream)->Next()), "one");
  EXPECT_EQ(Await((*stream)->Next()).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace aima::http
