// Calls one unary rpc in a closed loop and prints what came of it as JSON. The request is a file of serialized bytes;
// each run of sixteen '@' in it is replaced by a number that no other call has.
// usage: bench_load ADDRESS METHOD FILE OUTSTANDING CHANNELS SECONDS
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

class Load {
 public:
  Load(const std::string& address, std::string method, std::string request, int channels)
      : method_(std::move(method)), request_(std::move(request)) {
    for (size_t at = 0; (at = request_.find(std::string(kDigits, '@'), at)) != std::string::npos; at += kDigits) {
      places_.push_back(at);
    }
    seed_ = static_cast<uint32_t>(std::chrono::system_clock::now().time_since_epoch().count() / 1000);
    for (int i = 0; i < channels; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt("bench.channel", i);  // else grpc shares one connection among equal channels
      stubs_.push_back(std::make_unique<grpc::GenericStub>(
          grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments)));
    }
  }

  void Run(int outstanding, double seconds) {
    const auto start = Clock::now();
    const auto end = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    for (int i = 0; i < outstanding; ++i) Send();
    void* tag = nullptr;
    bool ok = false;
    while (in_flight_ > 0 && queue_.Next(&tag, &ok)) {
      const std::unique_ptr<Call> call(static_cast<Call*>(tag));
      --in_flight_;
      if (call->status.ok()) {
        ++done_;
      } else if (failed_++ == 0) {
        error_ = call->status.error_message();
      }
      if (Clock::now() < end) Send();
    }
    const double took = std::chrono::duration<double>(Clock::now() - start).count();
    for (char& c : error_) {
      if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < ' ') c = '\'';
    }
    printf("{\"done\": %ld, \"failed\": %ld, \"seconds\": %.4f, \"error\": \"%s\"}\n", done_, failed_, took, error_.c_str());
  }

 private:
  static constexpr int kDigits = 16;
  struct Call {
    grpc::ClientContext context;
    grpc::ByteBuffer response;
    grpc::Status status;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  };

  void Send() {
    for (const size_t place : places_) {
      char digits[kDigits + 1];
      snprintf(digits, sizeof digits, "%08x%08x", seed_, next_++);
      request_.replace(place, kDigits, digits, kDigits);
    }
    const grpc::Slice slice(request_);
    auto* call = new Call;
    call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    call->reader = stubs_[sent_++ % stubs_.size()]->PrepareUnaryCall(&call->context, method_,
                                                                    grpc::ByteBuffer(&slice, 1), &queue_);
    call->reader->StartCall();
    call->reader->Finish(&call->response, &call->status, call);
    ++in_flight_;
  }

  const std::string method_;
  std::string request_;
  std::vector<size_t> places_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  grpc::CompletionQueue queue_;
  uint32_t seed_ = 0;
  uint32_t next_ = 0;
  size_t sent_ = 0;
  int in_flight_ = 0;
  long done_ = 0;
  long failed_ = 0;
  std::string error_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return fprintf(stderr, "usage: bench_load ADDRESS METHOD FILE OUTSTANDING CHANNELS SECONDS\n"), 2;
  std::ifstream file(argv[3], std::ios::binary);
  if (!file) return fprintf(stderr, "cannot read %s\n", argv[3]), 1;
  const std::string request{std::istreambuf_iterator<char>(file), {}};
  Load(argv[1], argv[2], request, atoi(argv[5])).Run(atoi(argv[4]), atof(argv[6]));
}
