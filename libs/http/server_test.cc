#include "libs/http/server.h"

#include <gmock/gmock.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>
#include <fstream>

#include "libs/http/client.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::http {
namespace {

namespace asio = boost::asio;
using aima::testing::IsOk;
using asio::ip::tcp;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

class ServerTest : public ::testing::Test {
 protected:
  template <class T>
  T Await(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }

  // Answers with what it got: "METHOD target body".
  static Task<void> Echo(Exchange& exchange) {
    Response response;
    response.body = exchange.request().method + " " + exchange.request().target + " " + exchange.request().body;
    (void)co_await exchange.Send(std::move(response));
  }

  void Serve(Handler handler, ServerOptions options = {}) {
    server_ = std::make_unique<Server>(loop_, options, std::move(handler));
    ASSERT_THAT(server_->Start(), IsOk());
  }

  void TearDown() override {
    if (server_) Await(Stopped());
  }
  Task<bool> Stopped() {
    co_await server_->Shutdown(absl::Now());
    co_return true;
  }

  Task<std::string> ReadAll(tcp::socket& socket) {
    std::string all;
    char buffer[4096];
    while (true) {
      auto [error, size] = co_await socket.async_read_some(asio::buffer(buffer), kTuple);
      all.append(buffer, size);
      if (error) co_return all;
    }
  }
  tcp::socket Connect() {
    tcp::socket socket(loop_);
    socket.connect({asio::ip::make_address("127.0.0.1"), static_cast<uint16_t>(server_->port())});
    return socket;
  }
  // Sends bytes and returns all that comes until the server closes.
  std::string Raw(const std::string& bytes) {
    tcp::socket socket = Connect();
    boost::system::error_code ignored;
    asio::write(socket, asio::buffer(bytes), ignored);
    return Await(ReadAll(socket));
  }

  Loop loop_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, AnswersSeveralRequestsOfOneConnectionInOrder) {
  Serve(Echo);
  const std::string answer = Raw(
      "GET /a HTTP/1.1\r\nhost: x\r\n\r\nPOST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
      "POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("GET /a "));
  EXPECT_THAT(answer, HasSubstr("POST /b abcHTTP/1.1 200 OK"));
  EXPECT_THAT(answer, EndsWith("POST /c hi"));
}

TEST_F(ServerTest, AnswersHeadWithTheLengthAndNoBody) {
  Serve(Echo);
  const std::string answer = Raw("HEAD /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("content-length: 8\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
}

TEST_F(ServerTest, StreamsInChunksAndToOldClientsUntilTheEnd) {
  Serve([](Exchange& exchange) -> Task<void> {
    Headers headers = {{"content-type", "text/plain"}};
    (void)co_await exchange.StartStream(200, headers);
    (void)co_await exchange.Write("one");
    (void)co_await exchange.Write("");
    (void)co_await exchange.Write("twotwotwotwotwotwo");
    (void)co_await exchange.Finish();
  });
  EXPECT_THAT(Raw("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
              EndsWith("\r\n\r\n3\r\none\r\n12\r\ntwotwotwotwotwotwo\r\n0\r\n\r\n"));
  EXPECT_THAT(Raw("GET / HTTP/1.0\r\n\r\n"), EndsWith("\r\n\r\nonetwotwotwotwotwotwo"));
}

// An answer of so many bytes, of which others are written.
Handler Lengthy(uint64_t length, std::string written, absl::Status* end) {
  return [=](Exchange& exchange) -> Task<void> {
    (void)co_await exchange.StartStream(206, {{"content-type", "text/plain"}}, length);
    (void)co_await exchange.Write(written.substr(0, 2));
    (void)co_await exchange.Write(written.substr(2));
    *end = co_await exchange.Finish();
  };
}

TEST_F(ServerTest, AStreamWhoseLengthIsToldComesAsItIsAndTheConnectionGoesOn) {
  absl::Status end;
  Serve(Lengthy(6, "onetwo", &end));
  const std::string first = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
  const std::string answer = Raw(first + "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n" + "GET / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(answer, Not(HasSubstr("chunked")));
  EXPECT_THAT(answer, HasSubstr("content-length: 6\r\n\r\nonetwoHTTP/1.1 206"));
  EXPECT_THAT(answer, HasSubstr("content-length: 6\r\n\r\nHTTP/1.0 206"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nonetwo"));
  EXPECT_THAT(end, IsOk());
}

TEST_F(ServerTest, NoMoreIsSentThanTheLengthThatIsTold) {
  absl::Status end;
  Serve(Lengthy(4, "onetwo", &end));
  EXPECT_THAT(Raw("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"), EndsWith("\r\n\r\nonet"));
}

TEST_F(ServerTest, AStreamThatIsShorterThanItsLengthDoesNotLookWhole) {
  absl::Status end;
  Serve(Lengthy(7, "onetwo", &end));
  const std::string request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
  EXPECT_THAT(Raw(request + request), EndsWith("content-length: 7\r\n\r\nonetwo")) << "the connection is closed";
  EXPECT_THAT(end.message(), HasSubstr("lacks 1 bytes"));
}

TEST_F(ServerTest, WhatIsWrittenInOneTurnOfTheLoopIsOnePacket) {
  Serve([](Exchange& exchange) -> Task<void> {
    (void)co_await exchange.StartStream(200, {});
    (void)co_await exchange.Write("one");
    EXPECT_TRUE(exchange.WriteNow("two"));
    (void)co_await exchange.Finish();
  });
  tcp::socket socket = Connect();
  asio::write(socket, asio::buffer(std::string("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")));
  EXPECT_THAT(Await(ReadAll(socket)), EndsWith("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
  // Where linux/tcp.h has tcpi_data_segs_in; glibc's tcp_info ends before it.
  constexpr size_t kDataSegmentsIn = 152 / sizeof(uint32_t);
  uint32_t info[64] = {};
  socklen_t size = sizeof info;
  ASSERT_EQ(getsockopt(socket.native_handle(), IPPROTO_TCP, TCP_INFO, info, &size), 0);
  EXPECT_EQ(info[kDataSegmentsIn], 1u);
}

TEST_F(ServerTest, AClientThatReadsSlowlyGetsAllInOrder) {
  constexpr int kPieces = 600;
  Serve([](Exchange& exchange) -> Task<void> {
    (void)co_await exchange.StartStream(200, {});
    for (int i = 0; i < kPieces; ++i) {
      const std::string piece(50'000, static_cast<char>('a' + i % 26));
      if (!exchange.WriteNow(piece) && !(co_await exchange.Flush()).ok()) co_return;
      if (i % 5 != 0) co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);  // a turn of its own
    }
    (void)co_await exchange.Finish();
  });
  tcp::socket socket = Connect();
  asio::write(socket, asio::buffer(std::string("GET / HTTP/1.0\r\n\r\n")));
  // The server fills the connection, and waits.
  for (int i = 0; i < 200; ++i) loop_.run_one_for(std::chrono::milliseconds(1));
  const std::string answer = Await(ReadAll(socket));
  std::string expected;
  for (int i = 0; i < kPieces; ++i) expected.append(50'000, static_cast<char>('a' + i % 26));
  EXPECT_TRUE(answer.substr(answer.find("\r\n\r\n") + 4) == expected);
}

TEST_F(ServerTest, ARefusalKnowsWhatWasRefused) {
  Serve(Echo, {.max_body_bytes = 10, .error_response = [](int status, std::string_view, const Request& request) {
          Response response;
          response.status = status;
          response.body = request.method + " " + request.target + " " + std::string(request.headers.Get("x"));
          return response;
        }});
  EXPECT_THAT(Raw("POST /a?b HTTP/1.1\r\nhost: a\r\nx: y\r\ncontent-length: 11\r\n\r\n"), EndsWith("\r\n\r\nPOST /a?b y"));
  EXPECT_THAT(Raw("NONSENSE\r\n\r\n"), EndsWith("\r\n\r\nGET / ")) << "of which nothing could be read";
}

TEST_F(ServerTest, RefusesMalformedRequests) {
  Serve(Echo, {.error_response = [](int status, std::string_view message, const Request&) {
          Response response;
          response.status = status;
          response.body = "{\"error\":\"" + std::string(message) + "\"}";
          return response;
        }});
  for (const char* bad : {"NONSENSE\r\n\r\n", "GET / HTTP/9.1\r\nhost: x\r\n\r\n", "GET / HTTP/1.1\r\nhost x\r\n\r\n",
                          "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
                          "GET x HTTP/1.1\r\nhost: a\r\n\r\n",
                          "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                          "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
                          "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"}) {
    const std::string answer = Raw(bad);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 400 ")) << bad;
    EXPECT_THAT(answer, HasSubstr("not well-formed")) << bad;
  }
}

TEST_F(ServerTest, RefusesHeadersThatAreTooLarge) {
  Serve(Echo);
  EXPECT_THAT(Raw("GET / HTTP/1.1\r\nhost: x\r\nlong: " + std::string(20'000, 'x') + "\r\n\r\n"), StartsWith("HTTP/1.1 431 "));
  std::string many = "GET / HTTP/1.1\r\nhost: x\r\n";
  for (int i = 0; i < 64; ++i) many += "n" + std::to_string(i) + ": v\r\n";
  EXPECT_THAT(Raw(many + "\r\n"), StartsWith("HTTP/1.1 431 "));
}

TEST_F(ServerTest, RefusesALargeBodyBeforeItIsRead) {
  int served = 0;
  Serve([&](Exchange& exchange) { return ++served, Echo(exchange); }, {.max_body_bytes = 1000});
  EXPECT_THAT(Raw("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(Raw("POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(Raw("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, 'x')),
              StartsWith("HTTP/1.1 413 "));
  EXPECT_EQ(served, 0);
}

TEST_F(ServerTest, SendsContinueToClientsThatWaitForIt) {
  Serve(Echo);
  tcp::socket socket = Connect();
  asio::write(socket, asio::buffer(std::string(
                          "POST /b HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n")));
  auto talk = [&]() -> Task<std::string> {
    std::string text;
    (void)co_await asio::async_read_until(socket, asio::dynamic_buffer(text), "\r\n\r\n", kTuple);
    co_await asio::async_write(socket, asio::buffer("hi", 2), asio::use_awaitable);
    co_return text + co_await ReadAll(socket);
  };
  const std::string answer = Await(talk());
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"));
  EXPECT_THAT(answer, EndsWith("POST /b hi"));
}

TEST_F(ServerTest, ClosesAConnectionWhoseRequestDoesNotArrive) {
  Serve(Echo, {.header_timeout = absl::Milliseconds(300), .idle_timeout = absl::Milliseconds(300)});
  EXPECT_THAT(Raw("GET / HTTP/1.1\r\nhost:"), StartsWith("HTTP/1.1 408 "));
  EXPECT_EQ(Raw(""), "");
}

TEST_F(ServerTest, WhatAClientSendsBehindARequestInHandIsNotKeptWithoutEnd) {
  asio::steady_timer forever(loop_, std::chrono::hours(1));
  Serve([&](Exchange& exchange) -> Task<void> {
    (void)co_await exchange.StartStream(200, {});
    (void)co_await forever.async_wait(kTuple);
  });
  tcp::socket socket = Connect();
  asio::write(socket, asio::buffer("GET / HTTP/1.1\r\nhost: x\r\n\r\n" + std::string(60'000, 'G')));
  loop_.run_for(std::chrono::seconds(5));  // without an end, all of it is taken in four
  // What the server has not taken waits in its socket: "sl local remote state tx_queue:rx_queue …", in hex.
  std::ifstream table("/proc/self/net/tcp");
  const auto hex = [](int port) {
    char text[8];
    snprintf(text, sizeof(text), ":%04X ", static_cast<uint16_t>(port));
    return std::string(text);
  };
  const std::string from = hex(server_->port()), to = hex(socket.local_endpoint().port());
  long waiting = -1;
  for (std::string line; std::getline(table, line);) {
    const size_t local = line.find(from), remote = line.find(to);
    if (local == std::string::npos || remote == std::string::npos || local > remote) continue;
    waiting = std::stol(line.substr(line.find(':', remote + 6) + 1, 8), nullptr, 16);
  }
  EXPECT_GT(waiting, 30'000);
  Await(Stopped());
  server_.reset();
}

TEST_F(ServerTest, AHandlerThatFailsIsA500) {
  Serve([](Exchange&) -> Task<void> {
    throw std::runtime_error("a defect");
    co_return;
  });
  EXPECT_THAT(Raw("GET / HTTP/1.1\r\nhost: x\r\n\r\n"), StartsWith("HTTP/1.1 500 "));
}

TEST_F(ServerTest, AStreamThatItsHandlerLeavesDoesNotLookWhole) {
  Serve([](Exchange& exchange) -> Task<void> {
    (void)co_await exchange.StartStream(200, {});
    (void)co_await exchange.Write("part");
  });
  EXPECT_THAT(Raw("GET / HTTP/1.1\r\nhost: x\r\n\r\n"), EndsWith("4\r\npart\r\n"));
}

// Notes that it was destroyed.
struct Witness {
  bool& gone;
  ~Witness() { gone = true; }
};

TEST_F(ServerTest, CancelsTheHandlerOfAClientThatGoesAway) {
  for (const bool streaming : {false, true}) {
    bool began = false, gone = false, ran_on = false;
    asio::steady_timer forever(loop_, std::chrono::hours(1));
    auto handler = [&, streaming](Exchange& exchange) -> Task<void> {
      Witness witness{gone};
      if (streaming) (void)co_await exchange.StartStream(200, {});
      began = true;
      (void)co_await forever.async_wait(kTuple);
      if (gone) ran_on = true;
      (void)co_await exchange.Write("more");
      ran_on = true;
    };
    Serve(handler);
    {
      tcp::socket socket = Connect();
      asio::write(socket, asio::buffer(std::string("GET / HTTP/1.1\r\nhost: x\r\n\r\n")));
      while (!began) loop_.run_one();
    }
    const absl::Time left = absl::Now();
    while (!gone && absl::Now() - left < absl::Minutes(1)) loop_.run_one_for(std::chrono::milliseconds(100));
    EXPECT_TRUE(gone);
    EXPECT_FALSE(ran_on);
    Await(Stopped());
    server_.reset();
  }
}

TEST_F(ServerTest, ATakenPortIsNamed) {
  Serve(Echo);
  const std::string address = "127.0.0.1:" + std::to_string(server_->port());
  Server second(loop_, {.address = address}, Echo);
  const absl::Status status = second.Start();
  EXPECT_THAT(std::string(status.message()), HasSubstr(address + ": Address already in use"));
  Server wrong(loop_, {.address = "nonsense"}, Echo);
  EXPECT_FALSE(wrong.Start().ok());
}

TEST_F(ServerTest, DrainsTheRequestInHandAndRefusesNewOnes) {
  asio::steady_timer work(loop_, std::chrono::milliseconds(200));
  bool began = false;
  auto handler = [&](Exchange& exchange) -> Task<void> {
    began = true;
    (void)co_await work.async_wait(kTuple);
    co_await Echo(exchange);
  };
  Serve(handler);
  tcp::socket socket = Connect();
  tcp::socket idle = Connect();
  asio::write(socket, asio::buffer(std::string("GET /last HTTP/1.1\r\nhost: x\r\n\r\n")));
  while (!began) loop_.run_one();
  auto shutdown = [&]() -> Task<bool> {
    co_await server_->Shutdown(absl::Now() + absl::Hours(1));  // which nobody waits for
    co_return true;
  };
  std::string answer;
  auto read = [&]() -> Task<void> { answer = co_await ReadAll(socket); };
  asio::co_spawn(loop_, read(), asio::detached);
  Await(shutdown());
  EXPECT_THAT(answer, HasSubstr("connection: close\r\n"));
  EXPECT_THAT(answer, EndsWith("GET /last "));
  EXPECT_EQ(server_->connections(), 0);
  tcp::socket refused(loop_);
  boost::system::error_code error;
  refused.connect({asio::ip::make_address("127.0.0.1"), static_cast<uint16_t>(server_->port())}, error);
  EXPECT_TRUE(error);
}

TEST_F(ServerTest, DrainingDoesNotWaitForAnswersWithoutAnEnd) {
  asio::steady_timer forever(loop_, std::chrono::hours(1));
  bool began = false, gone = false;
  auto handler = [&](Exchange& exchange) -> Task<void> {
    Witness witness{gone};
    exchange.EndOnDrain();
    (void)co_await exchange.StartStream(200, {});
    (void)co_await exchange.Write("first");
    began = true;
    (void)co_await forever.async_wait(kTuple);
  };
  Serve(handler);
  tcp::socket socket = Connect();
  asio::write(socket, asio::buffer(std::string("GET / HTTP/1.1\r\nhost: x\r\n\r\n")));
  while (!began) loop_.run_one();
  auto shutdown = [&]() -> Task<bool> {
    co_await server_->Shutdown(absl::Now() + absl::Hours(1));  // which nobody waits for
    co_return true;
  };
  Await(shutdown());
  EXPECT_TRUE(gone);
  EXPECT_THAT(Await(ReadAll(socket)), EndsWith("5\r\nfirst\r\n"));
}

TEST_F(ServerTest, RefusesMoreConnectionsThanItAccepts) {
  Serve(Echo, {.max_connections = 1});
  tcp::socket first = Connect();
  EXPECT_THAT(Raw("GET / HTTP/1.1\r\nhost: x\r\n\r\n"), StartsWith("HTTP/1.1 503 "));
}

// Writes a key and a certificate for localhost that it signs itself.
void MakeCertificate(const std::string& key_file, const std::string& cert_file) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* cert = X509_new();
  X509_set_version(cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert), -60);
  X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
  X509_set_pubkey(cert, key);
  X509_NAME* name = X509_get_subject_name(cert);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(cert, name);
  X509_EXTENSION* names = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost");
  X509_add_ext(cert, names, -1);
  X509_EXTENSION_free(names);
  X509_sign(cert, key, EVP_sha256());
  FILE* file = fopen(key_file.c_str(), "w");
  PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  fclose(file);
  file = fopen(cert_file.c_str(), "w");
  PEM_write_X509(file, cert);
  fclose(file);
  X509_free(cert);
  EVP_PKEY_free(key);
}

TEST_F(ServerTest, SpeaksTlsToClientsThatTrustItsCertificate) {
  const std::string key = ::testing::TempDir() + "aima_http_key.pem", cert = ::testing::TempDir() + "aima_http_cert.pem";
  MakeCertificate(key, cert);
  Serve(Echo, {.tls_cert = cert, .tls_key = key});
  Request request;
  request.method = "POST";
  request.target = "/tls";
  request.body = std::string(200'000, 'b');
  Endpoint endpoint = {.host = "localhost", .port = server_->port(), .tls = true};
  {
    Client stranger(loop_);
    auto refused = Await(stranger.Send(endpoint, request, absl::Now() + absl::Seconds(10)));
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr("cannot be reached over TLS"));
  }
  setenv("SSL_CERT_FILE", cert.c_str(), 1);
  Client client(loop_);
  for (int i = 0; i < 3; ++i) {
    auto response = Await(client.Send(endpoint, request, absl::Now() + absl::Seconds(10)));
    ASSERT_THAT(response, IsOk());
    EXPECT_EQ(response->body, "POST /tls " + request.body);
  }
  EXPECT_LE(server_->connections(), 2);  // the stranger's may linger
  unsetenv("SSL_CERT_FILE");
  EXPECT_THAT(Raw("GET / HTTP/1.1\r\nhost: x\r\n\r\n"), ::testing::Not(HasSubstr("200 OK")));
  Server broken(loop_, {.tls_cert = "/nonexistent", .tls_key = key}, Echo);
  EXPECT_THAT(std::string(broken.Start().message()), HasSubstr("/nonexistent"));
}

TEST_F(ServerTest, IsBelievedByWhoKnowsItsCertificateWhateverItsName) {
  const std::string key = ::testing::TempDir() + "aima_http_key2.pem", cert = ::testing::TempDir() + "aima_http_cert2.pem";
  MakeCertificate(key, cert);
  Serve(Echo, {.tls_cert = cert, .tls_key = key});
  Client client(loop_);
  Endpoint endpoint = {.host = "127.0.0.1", .port = server_->port(), .tls = true, .certificate = cert};
  const auto ask = [&] {
    return Await(client.Send(endpoint, {.method = "GET", .target = "/"}, absl::Now() + absl::Minutes(1)));
  };
  EXPECT_THAT(ask(), IsOk());
  const std::string other_key = ::testing::TempDir() + "aima_http_key3.pem";
  endpoint.certificate = ::testing::TempDir() + "aima_http_cert3.pem";
  MakeCertificate(other_key, endpoint.certificate);
  EXPECT_THAT(std::string(ask().status().message()), HasSubstr("cannot be reached over TLS"));
  endpoint.certificate = "/nonexistent";
  EXPECT_THAT(std::string(ask().status().message()), HasSubstr("cannot be reached over TLS"));
  endpoint.certificate = "";
  EXPECT_THAT(std::string(ask().status().message()), HasSubstr("cannot be reached over TLS"));
}

}  // namespace
}  // namespace aima::http
