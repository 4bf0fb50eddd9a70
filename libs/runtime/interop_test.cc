// Our server with gRPC's own C++ client, and our client with gRPC's own server: the wire is the standard one.
#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <future>
#include <thread>

#include "aima/event/v1/event.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "libs/errors/errors.h"
#include "libs/rpc/channels.h"
#include "libs/runtime/server.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"

namespace aima::runtime {
namespace {

namespace asio = boost::asio;
using aima::testing::FailsWith;
using aima::testing::IsOk;
using event::v1::Batch;
using event::v1::CURSOR_OUT_OF_RANGE;
using event::v1::QueryRequest;
using event::v1::QueryResponse;
using event::v1::ReplayRequest;

constexpr char kQuery[] = "/aima.event.v1.EventService/Query";
constexpr char kReplay[] = "/aima.event.v1.EventService/Replay";

class Units {
 public:
  explicit Units(Loop& loop) : loop_(loop) {}

  Task<absl::StatusOr<QueryResponse>> Query(CallContext&, const QueryRequest& request) {
    if (request.domain() == "fail") co_return Error(CURSOR_OUT_OF_RANGE, "100 % gone: naïve\n", {{"latest", "7"}});
    if (request.domain() == "long") {
      std::vector<FieldViolation> many;
      for (int i = 0; i < 3000; ++i) many.push_back({absl::StrCat("field", i), "is wrong in every respect"});
      co_return InvalidInput(std::move(many));
    }
    if (request.domain() == "wait") {
      asio::steady_timer forever(loop_, asio::steady_timer::time_point::max());
      co_await forever.async_wait(asio::use_awaitable);
    }
    QueryResponse response;
    response.set_latest(request.limit());
    if (const auto& rest = request.GetReflection()->GetUnknownFields(request); rest.field_count() > 0) {
      response.add_items()->set_type(rest.field(0).length_delimited());
    }
    co_return response;
  }

  Task<absl::Status> Replay(CallContext&, const ReplayRequest& request, StreamWriter<Batch>& out) {
    for (int64_t i = 1; i <= request.until(); ++i) {
      Batch batch;
      batch.set_cursor(i);
      batch.add_events()->set_id(std::string(1000, 'x'));
      CO_RETURN_IF_ERROR(co_await out.Write(batch));
    }
    co_return absl::OkStatus();
  }

 private:
  Loop& loop_;
};

grpc::ByteBuffer BufferOf(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

bool ParseFrom(const grpc::ByteBuffer& buffer, google::protobuf::Message& message) {
  grpc::Slice slice;
  return buffer.DumpToSingleSlice(&slice).ok() && message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
}

// gRPC's clean-up between tests sometimes takes it 10 s; it need not clean up.
const bool kept = (grpc_init(), true);

// The server's loop has a thread of its own, for gRPC's client blocks.
class GrpcClientTest : public ::testing::Test {
 protected:
  GrpcClientTest() : server_(loop_, {}) {
    char name[] = "/tmp/aima-interop-XXXXXX";
    dir_ = mkdtemp(name);
    ServiceBinder(server_, "aima.event.v1.EventService").Bind<&Units::Query>(units_).Bind<&Units::Replay>(units_);
    EXPECT_THAT(server_.Start("unix:" + dir_ + "/event.sock"), IsOk());
    thread_ = std::thread([this] { loop_.run(); });
    channel_ = grpc::CreateChannel("unix:" + dir_ + "/event.sock", grpc::InsecureChannelCredentials());
  }

  ~GrpcClientTest() override {
    asio::post(loop_, [this] { loop_.stop(); });
    thread_.join();
    std::filesystem::remove_all(dir_);
  }

  grpc::Status Query(const QueryRequest& request, QueryResponse& response, std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    grpc::ByteBuffer sent = BufferOf(request), received;
    std::promise<grpc::Status> ended;
    stub.UnaryCall(&context, kQuery, {}, &sent, &received, [&](grpc::Status status) { ended.set_value(status); });
    grpc::Status status = ended.get_future().get();
    if (status.ok()) EXPECT_TRUE(ParseFrom(received, response));
    return status;
  }

  Loop loop_;
  asio::executor_work_guard<Loop::executor_type> work_{loop_.get_executor()};
  std::string dir_;
  Units units_{loop_};
  Server server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::thread thread_;
};

TEST_F(GrpcClientTest, AUnaryCallIsAnswered) {
  QueryRequest request;
  request.set_limit(7);
  QueryResponse response;
  const grpc::Status status = Query(request, response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.latest(), 7);
}

TEST_F(GrpcClientTest, AMessageThatIsLargerThanEveryWindowArrivesWhole) {
  QueryRequest request;
  const std::string large(3 << 20, 'y');
  request.set_limit(1);
  request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(100, large);
  QueryResponse response;
  const grpc::Status status = Query(request, response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.items(0).type(), large);
}

TEST_F(GrpcClientTest, AnErrorKeepsItsCodeItsTextAndItsDetails) {
  QueryRequest request;
  request.set_domain("fail");
  QueryResponse response;
  const grpc::Status status = Query(request, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_EQ(status.error_message(), "100 % gone: naïve\n");
  const absl::Status ours = StatusFromWire(status.error_code(), status.error_message(), status.error_details());
  EXPECT_EQ(DetailsOf(ours).reason, "CURSOR_OUT_OF_RANGE");
  EXPECT_EQ(DetailsOf(ours).metadata.at("latest"), "7");
}

TEST_F(GrpcClientTest, AnErrorThatIsTooLongToTravelIsShortened) {
  QueryRequest request;
  request.set_domain("long");
  QueryResponse response;
  const grpc::Status status = Query(request, response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("field0"));
  const absl::Status ours = StatusFromWire(status.error_code(), status.error_message(), status.error_details());
  EXPECT_EQ(DetailsOf(ours).reason, "INVALID_INPUT");
}

TEST_F(GrpcClientTest, ADeadlineEndsTheCallAndTheConnectionServesOn) {
  QueryRequest request;
  request.set_domain("wait");
  QueryResponse response;
  EXPECT_EQ(Query(request, response, std::chrono::milliseconds(50)).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  request.clear_domain();
  EXPECT_TRUE(Query(request, response).ok());
}

TEST_F(GrpcClientTest, AnUnknownRpcIsUnimplemented) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::ByteBuffer sent = BufferOf(QueryRequest()), received;
  std::promise<grpc::Status> ended;
  stub.UnaryCall(&context, "/aima.event.v1.EventService/Nope", {}, &sent, &received,
                 [&](grpc::Status status) { ended.set_value(status); });
  EXPECT_EQ(ended.get_future().get().error_code(), grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(GrpcClientTest, ALongStreamArrivesInOrder) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = false;
  auto call = stub.PrepareCall(&context, kReplay, &queue);
  const auto next = [&] { return queue.Next(&tag, &ok) && ok; };
  call->StartCall(nullptr);
  ASSERT_TRUE(next());
  ReplayRequest request;
  request.set_until(2000);  // 2 MB, which is more than the windows hold
  call->WriteLast(BufferOf(request), {}, nullptr);
  ASSERT_TRUE(next());
  int64_t seen = 0;
  for (;;) {
    grpc::ByteBuffer received;
    call->Read(&received, nullptr);
    if (!next()) break;
    Batch batch;
    ASSERT_TRUE(ParseFrom(received, batch));
    ASSERT_EQ(batch.cursor(), ++seen);
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  ASSERT_TRUE(next());
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(seen, 2000);
}

TEST_F(GrpcClientTest, ACompressedMessageIsRefusedByName) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  QueryRequest request;
  request.set_domain(std::string(60, 'a'));
  request.GetReflection()->MutableUnknownFields(&request)->AddLengthDelimited(100, std::string(10'000, 'a'));
  grpc::ByteBuffer sent = BufferOf(request), received;
  std::promise<grpc::Status> ended;
  stub.UnaryCall(&context, kQuery, {}, &sent, &received, [&](grpc::Status status) { ended.set_value(status); });
  const grpc::Status status = ended.get_future().get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("identity"));
}

// gRPC's own server, with its health service, in place of one of our processes.
class GrpcServerTest : public ::testing::Test {
 protected:
  GrpcServerTest() {
    char name[] = "/tmp/aima-interop-XXXXXX";
    dir_ = mkdtemp(name);
    grpc::EnableDefaultHealthCheckService(true);
    Start();
    channels_ = std::make_unique<rpc::Channels>(loop_, dir_);
    client_ = rpc::MakeClient(loop_, *channels_);
  }
  ~GrpcServerTest() override {
    channels_.reset();
    server_->Shutdown(std::chrono::system_clock::now());
    std::filesystem::remove_all(dir_);
  }

  void Start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + dir_ + "/event.sock", grpc::InsecureServerCredentials());
    generic_ = std::make_unique<grpc::CallbackGenericService>();
    builder.RegisterCallbackGenericService(generic_.get());  // gives the server threads, which its health service needs
    server_ = builder.BuildAndStart();
    ASSERT_TRUE(server_);
  }

  absl::StatusOr<grpc::health::v1::HealthCheckResponse> Check(const std::string& service) {
    CallContext call;
    call.deadline = absl::Now() + absl::Seconds(30);
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const absl::Status status = testing::Run(loop_, client_->CallDomain("event", call, request, response));
    if (!status.ok()) return status;
    return response;
  }

  Loop loop_;
  std::string dir_;
  std::unique_ptr<grpc::CallbackGenericService> generic_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<rpc::Channels> channels_;
  std::unique_ptr<rpc::Client> client_;
};

TEST_F(GrpcServerTest, AnswersOurClient) {
  for (int i = 0; i < 100; ++i) {
    const auto response = Check("");
    ASSERT_THAT(response, IsOk());
    EXPECT_EQ(response->status(), grpc::health::v1::HealthCheckResponse::SERVING);
  }
}

TEST_F(GrpcServerTest, ItsErrorsAreUnderstood) {
  EXPECT_EQ(Check("no.such.Service").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(GrpcServerTest, AfterItsRestartCallsReachTheNewOne) {
  ASSERT_THAT(Check(""), IsOk());
  server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
  EXPECT_THAT(Check("").status(), FailsWith(unit::v1::UNAVAILABLE, "the event service cannot be reached"));
  Start();
  EXPECT_THAT(Check(""), IsOk());
}

}  // namespace
}  // namespace aima::runtime
