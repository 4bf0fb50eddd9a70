// What grpc++ costs by itself: EchoService.Echo on a completion queue with one thread, and grpc's own health service.
// usage: bench_peer ADDRESS
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <cstdio>
#include <memory>

#include "aima/bench/v1/echo.grpc.pb.h"

namespace aima::bench {

using Service = v1::EchoService::WithAsyncMethod_Echo<v1::EchoService::Service>;

// One call; waits for the next one after it.
class EchoCall {
 public:
  EchoCall(Service& service, grpc::ServerCompletionQueue& queue) : service_(service), queue_(queue), writer_(&context_) {
    service_.RequestEcho(&context_, &request_, &writer_, &queue_, &queue_, this);
  }

  void Proceed() {
    if (answered_) {
      delete this;
      return;
    }
    answered_ = true;
    new EchoCall(service_, queue_);
    response_.set_text(request_.text());
    response_.set_number(request_.number());
    writer_.Finish(response_, grpc::Status::OK, this);
  }

 private:
  Service& service_;
  grpc::ServerCompletionQueue& queue_;
  grpc::ServerContext context_;
  v1::EchoRequest request_;
  v1::EchoResponse response_;
  grpc::ServerAsyncResponseWriter<v1::EchoResponse> writer_;
  bool answered_ = false;
};

}  // namespace aima::bench

int main(int argc, char** argv) {
  if (argc != 2) return fprintf(stderr, "usage: bench_peer ADDRESS\n"), 2;
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  aima::bench::Service service;
  builder.AddListeningPort(argv[1], grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return fprintf(stderr, "cannot listen on %s\n", argv[1]), 1;
  constexpr int kWaiting = 256;
  for (int i = 0; i < kWaiting; ++i) new aima::bench::EchoCall(service, *queue);
  void* tag = nullptr;
  bool ok = false;
  while (queue->Next(&tag, &ok)) {
    if (ok) static_cast<aima::bench::EchoCall*>(tag)->Proceed();
  }
}
