// What tests of the faces over HTTP have around them: services that answer from a table, and a server on a real socket.
#pragma once

#include <absl/cleanup/cleanup.h>
#include <gmock/gmock.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "aima/inference/v1/inference.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "libs/http/client.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "libs/unit/json_codec.h"
#include "services/gateway/http_face.h"

namespace aima::gateway {

// Answers calls by the type of their request, with messages given as JSON.
class Services : public rpc::Client {
 public:
  using Message = google::protobuf::Message;
  explicit Services(Loop& loop) : loop_(loop) {}

  Task<absl::Status> CallUntyped(const CallContext& call, const Message& request, Message& response) override {
    Note(call, request);
    if (gateway && request.GetDescriptor()->file()->package() == "aima.gateway.v1") {
      co_return co_await gateway(call, request, response);
    }
    ++running;
    absl::Cleanup over = [this] { --running; };
    const auto found = answers.find(request.GetDescriptor()->full_name());
    if (found != answers.end()) co_return ParseJson(nlohmann::json::parse(found->second), response);
    if (silent) {
      boost::asio::steady_timer forever(loop_, boost::asio::steady_timer::time_point::max());
      co_await forever.async_wait(boost::asio::use_awaitable);
    }
    co_return failure;
  }
  Task<absl::Status> CallDomain(const std::string&, const CallContext&, const Message&, Message&) override {
    co_return failure;
  }
  std::unique_ptr<RawReader> StreamUntyped(const CallContext& call, const Message& request) override {
    Note(call, request);
    if (request.GetDescriptor() == forwarded.GetDescriptor()) forwarded.CopyFrom(request);
    return std::make_unique<Reader>(*this);
  }
  // Ends the pauses that streams are in.
  void Resume() {
    for (boost::asio::steady_timer* pause : pauses_) pause->cancel();
  }

  std::map<std::string, std::string> answers;
  absl::Status failure = Error(unit::v1::UNAVAILABLE, "the service cannot be reached");  // of what has no answer
  bool silent = false;  // what has no answer waits until it is cancelled
  std::function<Task<absl::Status>(const CallContext&, const Message&, Message&)> gateway;  // serves its own units
  std::vector<std::string> stream;                                                          // "" is a pause
  absl::Duration pause = absl::Hours(1);
  absl::Status stream_end;
  CallContext last_call;
  nlohmann::json last_request;
  std::vector<std::pair<std::string, nlohmann::json>> calls;  // unit and request of each
  inference::v1::ForwardRequest forwarded;
  int running = 0;
  int open_streams = 0;

 private:
  class Reader : public RawReader {
   public:
    explicit Reader(Services& services) : services_(services) { ++services_.open_streams; }
    ~Reader() override { --services_.open_streams; }
    Task<absl::StatusOr<bool>> Next(Message& message) override {
      while (next_ < services_.stream.size() && services_.stream[next_].empty()) {
        ++next_;
        co_await services_.Pause();
      }
      if (next_ == services_.stream.size()) {
        if (!services_.stream_end.ok()) co_return services_.stream_end;
        co_return false;
      }
      message.Clear();
      const absl::Status parsed = ParseJson(nlohmann::json::parse(services_.stream[next_++]), message);
      if (!parsed.ok()) co_return parsed;
      co_return true;
    }

   private:
    Services& services_;
    size_t next_ = 0;
  };

  Task<void> Pause() {
    boost::asio::steady_timer timer(loop_, absl::ToChronoNanoseconds(pause));
    pauses_.insert(&timer);
    absl::Cleanup over = [&] { pauses_.erase(&timer); };
    co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  }
  void Note(const CallContext& call, const Message& request) {
    last_call = call;
    last_request = nlohmann::json::parse(ToJson(request));
    calls.emplace_back(call.unit, last_request);
  }

  Loop& loop_;
  std::set<boost::asio::steady_timer*> pauses_;
};

class Events : public events::Subscriber {
 public:
  void On(std::vector<std::string>, Handler handler, std::function<Task<void>()>) override {
    on_event = std::move(handler);
  }
  Handler on_event;
};

// A face on a free port, of the parts that a test adds to those that all faces have.
class FaceTest : public ::testing::Test {
 protected:
  FaceTest() {
    config_.mutable_api()->set_listen_addr("127.0.0.1:9090");
    config_.mutable_gateway()->set_request_timeout(30'000);
  }
  Parts PartsWith(OperationUnits& operations) {
    return Parts{config_,    *catalogue_, services_,   runner_, access_,   edge_,
                 watch_,     operations,  units_json_, health_, registry_};
  }
  void Serve(Parts parts) {
    face_ = std::make_unique<HttpFace>(std::move(parts));
    server_ = std::make_unique<http::Server>(loop_, http::ServerOptions{},
                                             [this](http::Exchange& exchange) { return face_->Handle(exchange); });
    EXPECT_THAT(server_->Start(), aima::testing::IsOk());
    endpoint_ = {.host = "127.0.0.1", .port = server_->port()};
  }
  // Nothing that is served outlives what serves it.
  void TearDown() override {
    const auto stop = [this]() -> Task<bool> {
      co_await server_->Shutdown(absl::Now());
      co_return true;
    };
    Await(stop());
  }

  template <class T>
  T Await(Task<T> task) {
    return aima::testing::Run(loop_, std::move(task));
  }
  // Runs the loop until something has come true, or must be given up.
  void Until(const std::function<bool()>& condition) {
    const absl::Time end = absl::Now() + absl::Seconds(30);
    while (!condition()) {
      ASSERT_LT(absl::Now(), end) << "it never comes true";
      loop_.restart();
      loop_.run_one_for(std::chrono::seconds(20));
    }
  }
  // What is sent without a type is JSON.
  http::Response Ask(const std::string& method, const std::string& target, const std::string& body = "",
                     http::Headers headers = {}) {
    http::Request request = {method, target, std::move(headers), body};
    if (!body.empty() && !request.headers.Find("content-type")) request.headers.Add("content-type", "application/json");
    auto response = Await(client_.Send(endpoint_, std::move(request), absl::Now() + absl::Seconds(20)));
    EXPECT_THAT(response, aima::testing::IsOk());
    return response.ok() ? *std::move(response) : http::Response{.status = 0};
  }

  Loop loop_;
  config::v1::Config config_;
  std::unique_ptr<Catalogue> catalogue_ = Catalogue::Load(AIMA_BINARY_DIR "/share/aima/units.binpb").value();
  Services services_{loop_};
  Events events_;
  prometheus::Registry registry_;
  KeyRing keys_{"/nonexistent", "the-admin-key"};
  Access access_{keys_, 0};
  Edge edge_{[] {
    config::v1::Api api;
    api.set_listen_addr("127.0.0.1:9090");
    return api;
  }()};
  UnitRunner runner_{*catalogue_, services_};
  ResourceWatch watch_{loop_, *catalogue_, runner_, events_};
  OperationUnits operations_{{*catalogue_, runner_, keys_, nullptr}, absl::Hours(1)};  // no database
  const UnitsJson units_json_{*catalogue_};
  HealthReport health_{loop_, *catalogue_, services_};
  std::unique_ptr<HttpFace> face_;
  std::unique_ptr<http::Server> server_;
  http::Client client_{loop_};
  http::Endpoint endpoint_;
};

}  // namespace aima::gateway
