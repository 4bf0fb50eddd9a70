// What peers that are hostile, slow or broken do to a connection, and what becomes of the others.
#include "libs/rpc/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <absl/time/clock.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <filesystem>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/net/listener.h"
#include "libs/testing/status_matchers.h"

namespace aima::rpc {
namespace {

namespace asio = boost::asio;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using asio::local::stream_protocol;

// Sends each message back; when told to, it sends without end instead.
class Echo : public Receiver {
 public:
  Echo(std::shared_ptr<Stream> stream, int& alive, size_t& flooded) : stream_(std::move(stream)), alive_(alive), flooded_(flooded) {
    ++alive_;
  }
  ~Echo() override { --alive_; }
  void OnMessage(absl::string_view bytes) override {
    if (bytes == "flood") return Flood();
    stream_->Send(bytes);
  }
  void OnWritable() override { Flood(); }
  void OnHalfClose() override {
    if (flooded_ == 0) stream_->Finish(absl::OkStatus());
  }
  void OnEnd(const Ending&) override {}

 private:
  void Flood() {
    const std::string piece(10'000, 'z');
    do {
      flooded_ += piece.size();
    } while (stream_->Send(piece));
  }

  const std::shared_ptr<Stream> stream_;
  int& alive_;
  size_t& flooded_;
};

// Answers shortly before the deadline, in the turn of the loop in which that passes too.
class Late : public Receiver {
 public:
  Late(Loop& loop, std::shared_ptr<Stream> stream) : loop_(loop), timer_(loop), stream_(std::move(stream)) {}
  void OnMessage(absl::string_view) override {
    timer_.expires_after(std::chrono::milliseconds(15));
    timer_.async_wait([stream = stream_](boost::system::error_code) {
      stream->Finish(Error(unit::v1::UNAVAILABLE, "the database does not answer"));
    });
    stream_->SetDeadline(absl::Now() + absl::Milliseconds(20));
    asio::post(loop_, [] { absl::SleepFor(absl::Milliseconds(40)); });
  }
  void OnHalfClose() override {}
  void OnEnd(const Ending&) override {}

 private:
  Loop& loop_;
  asio::steady_timer timer_;
  const std::shared_ptr<Stream> stream_;
};

class Caller : public Receiver {
 public:
  void OnMessage(absl::string_view bytes) override { messages.emplace_back(bytes); }
  void OnEnd(const Ending& ending) override { ended = ending; }

  std::vector<std::string> messages;
  std::optional<Ending> ended;
};

class ConnectionTest : public ::testing::Test {
 protected:
  ConnectionTest() {
    char name[] = "/tmp/aima-rpc-test-XXXXXX";
    dir_ = mkdtemp(name);
    limits_.message_bytes = 1 << 20;
    limits_.receiving_bytes = 2 << 20;
    listener_ = std::make_unique<net::Listener>(loop_, [this](net::Socket socket) {
      accepted_.push_back(Connection::Accept(
          loop_, std::move(socket), limits_, receiving_, nullptr,
          [this](const std::shared_ptr<Stream>& stream) -> std::shared_ptr<Receiver> {
            if (stream->path() == "/test/Late") return std::make_shared<Late>(loop_, stream);
            return std::make_shared<Echo>(stream, serving_, flooded_);
          },
          [this](const auto&) { ++closed_; }));
    });
    EXPECT_THAT(listener_->Start("unix:" + dir_ + "/s"), IsOk());
  }
  ~ConnectionTest() override {
    for (auto& connection : accepted_) connection->Close();
    Spin(absl::Milliseconds(20));
    std::filesystem::remove_all(dir_);
  }

  void Spin(absl::Duration time) {
    loop_.restart();
    loop_.run_for(absl::ToChronoMilliseconds(time));
  }
  template <class Condition>
  bool Await(Condition condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) Spin(absl::Milliseconds(5));
    return condition();
  }

  std::shared_ptr<Connection> Connect() {
    return Connection::Connect(loop_, stream_protocol::endpoint(dir_ + "/s"));
  }
  // Asks for an echo of `text` and waits for the end of the call.
  Ending Ask(Connection& connection, const std::string& text, std::vector<std::string>* answers = nullptr) {
    auto caller = std::make_shared<Caller>();
    auto stream = connection.Open("/test/Echo", {}, absl::Now() + absl::Seconds(60), caller);
    stream->Send(text);
    stream->EndRequests();
    EXPECT_TRUE(Await([&] { return caller->ended.has_value(); }));
    if (answers) *answers = caller->messages;
    return caller->ended.value_or(Ending{absl::UnknownError("no end")});
  }
  bool Serves() {
    const auto connection = Connect();
    std::vector<std::string> answers;
    const bool ok = Ask(*connection, "hello", &answers).status.ok() && answers == std::vector<std::string>{"hello"};
    connection->Close();
    return ok;
  }
  stream_protocol::socket Raw() {
    stream_protocol::socket socket(loop_);
    socket.connect(stream_protocol::endpoint(dir_ + "/s"));
    return socket;
  }

  Loop loop_;
  std::string dir_;
  ConnectionLimits limits_;
  std::shared_ptr<size_t> receiving_ = std::make_shared<size_t>(0);
  std::unique_ptr<net::Listener> listener_;
  std::vector<std::shared_ptr<Connection>> accepted_;
  int closed_ = 0;
  int serving_ = 0;
  size_t flooded_ = 0;
};

TEST_F(ConnectionTest, WhoSpeaksAnotherProtocolIsCutOff) {
  for (const std::string& text : {std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), std::string(1000, '\0'),
                                 "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string(100, '\xff')}) {
    const int before = closed_;
    auto socket = Raw();
    asio::write(socket, asio::buffer(text));
    EXPECT_TRUE(Await([&] { return closed_ == before + 1; }));
  }
  EXPECT_TRUE(Serves());
}

TEST_F(ConnectionTest, AMessageThatIsTooLargeIsRefusedBeforeItIsKept) {
  const auto connection = Connect();
  const Ending ending = Ask(*connection, std::string((1 << 20) + 1, 'x'));
  EXPECT_THAT(ending.status, testing::FailsWith(unit::v1::TOO_LARGE, "1048577 bytes"));
  EXPECT_TRUE(Await([&] { return serving_ == 0; }));
  EXPECT_EQ(*receiving_, 0u);
  connection->Close();
}

TEST_F(ConnectionTest, MessagesThatNeverEndAreBoundedTogether) {
  std::vector<std::shared_ptr<Connection>> connections;
  std::vector<std::shared_ptr<Caller>> callers;
  // Each sends most of a message and stops; the prefix promises more than comes.
  for (int i = 0; i < 4; ++i) {
    connections.push_back(Connect());
    callers.push_back(std::make_shared<Caller>());
    auto stream = connections.back()->Open("/test/Echo", {}, absl::InfiniteFuture(), callers.back());
    stream->SendUnfinished(std::string(900'000, 'x'), 1'000'000);
  }
  EXPECT_TRUE(Await([&] {
    return std::any_of(callers.begin(), callers.end(), [](const auto& caller) { return caller->ended.has_value(); });
  }));
  EXPECT_LE(*receiving_, limits_.receiving_bytes + 64'000);
  for (const auto& connection : connections) connection->Close();
  EXPECT_TRUE(Await([&] { return *receiving_ == 0; })) << "what broken calls had sent is still counted";
  EXPECT_TRUE(Serves());
}

TEST_F(ConnectionTest, AReaderThatDoesNotReadHoldsItsWriterAndNobodyElse) {
  const auto slow = Connect();
  auto caller = std::make_shared<Caller>();
  auto stream = slow->Open("/test/Echo", {}, absl::InfiniteFuture(), caller);
  stream->Pause(true);
  stream->Send(absl::string_view("flood"));
  size_t last = 1;
  EXPECT_TRUE(Await([&] { return std::exchange(last, flooded_) == flooded_ && flooded_ > 0; }));
  EXPECT_LT(flooded_, size_t{1} << 20) << "the writer went on without a reader";
  flooded_ = 0;
  EXPECT_TRUE(Serves());
  slow->Close();
}

TEST_F(ConnectionTest, CallsThatAreGivenUpLeaveNothingBehind) {
  const auto connection = Connect();
  for (int i = 0; i < 5000; ++i) {
    auto stream = connection->Open("/test/Echo", {}, absl::Now() + absl::Seconds(60), std::make_shared<Caller>());
    stream->Send(absl::string_view("x"));
    if (i % 2) Spin(absl::ZeroDuration());
    stream->Cancel();
    if (!connection->open()) break;  // the server has had enough of it
  }
  EXPECT_TRUE(Await([&] { return serving_ == 0; }));
  connection->Close();
  EXPECT_TRUE(Serves());
}

TEST_F(ConnectionTest, ALostConnectionEndsItsCalls) {
  auto connection = Connect();
  auto caller = std::make_shared<Caller>();
  auto stream = connection->Open("/test/Echo", {}, absl::InfiniteFuture(), caller);
  stream->Send(absl::string_view("x"));
  ASSERT_TRUE(Await([&] { return caller->messages.size() == 1; }));
  accepted_.back()->Close();
  ASSERT_TRUE(Await([&] { return caller->ended.has_value(); }));
  EXPECT_EQ(caller->ended->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(caller->ended->reached);
  EXPECT_FALSE(connection->open());
}

TEST_F(ConnectionTest, AnAnswerIsNotOvertakenByTheDeadlineThatPassesBehindIt) {
  const auto connection = Connect();
  auto caller = std::make_shared<Caller>();
  auto stream = connection->Open("/test/Late", {}, absl::InfiniteFuture(), caller);
  stream->Send(absl::string_view("x"));
  stream->EndRequests();
  ASSERT_TRUE(Await([&] { return caller->ended.has_value(); }));
  EXPECT_THAT(caller->ended->status, FailsWith(unit::v1::UNAVAILABLE, "the database does not answer"));
  connection->Close();
}

TEST_F(ConnectionTest, ACallThatNobodyTookMayBeSentAgain) {
  const auto nowhere = Connection::Connect(loop_, stream_protocol::endpoint(dir_ + "/nobody"));
  const Ending ending = Ask(*nowhere, "x");
  EXPECT_EQ(ending.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(ending.reached);
}

TEST_F(ConnectionTest, AServerThatGoesAwayFinishesWhatItHas) {
  auto connection = Connect();
  auto caller = std::make_shared<Caller>();
  auto stream = connection->Open("/test/Echo", {}, absl::InfiniteFuture(), caller);
  stream->Send(absl::string_view("one"));
  ASSERT_TRUE(Await([&] { return caller->messages.size() == 1; }));
  accepted_.back()->GoAway();
  ASSERT_TRUE(Await([&] { return !connection->open(); }));
  stream->Send(absl::string_view("two"));
  stream->EndRequests();
  ASSERT_TRUE(Await([&] { return caller->ended.has_value(); }));
  EXPECT_THAT(caller->ended->status, IsOk());
  EXPECT_EQ(caller->messages, (std::vector<std::string>{"one", "two"}));
  EXPECT_TRUE(Await([&] { return closed_ == 1; })) << "the connection stays open after its last call";
}

TEST_F(ConnectionTest, WhenDescriptorsRunOutTheListenerRecovers) {
#if defined(__has_feature)
#if __has_feature(undefined_behavior_sanitizer)
  GTEST_SKIP() << "the sanitizer itself needs descriptors to look at memory";
#endif
#endif
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit few = before;
  few.rlim_cur = 40;
  setrlimit(RLIMIT_NOFILE, &few);
  std::vector<stream_protocol::socket> hoard;
  for (;;) {
    stream_protocol::socket socket(loop_);
    boost::system::error_code error;
    socket.connect(stream_protocol::endpoint(dir_ + "/s"), error);
    if (error) break;
    hoard.push_back(std::move(socket));
  }
  Spin(absl::Milliseconds(150));
  EXPECT_LT(accepted_.size(), hoard.size()) << "the limit was not reached";
  hoard.clear();
  EXPECT_TRUE(Await([&] { return closed_ > 0; }));
  EXPECT_TRUE(Serves());
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace aima::rpc
