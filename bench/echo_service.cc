// A service on libs/runtime that does nothing but echo and insert, so that G1 and G8 measure the runtime alone.
#include "aima/bench/v1/echo.pb.h"
#include "libs/base/status_macros.h"
#include "libs/runtime/host.h"

namespace aima::bench {

constexpr pg::Statement kInsert = {"bench_insert", "INSERT INTO rows (text) VALUES ($1)"};

class EchoUnits {
 public:
  explicit EchoUnits(pg::Database& db) : db_(db) {}

  Task<absl::StatusOr<v1::EchoResponse>> Echo(CallContext&, const v1::EchoRequest& request) {
    v1::EchoResponse response;
    response.set_text(request.text());
    response.set_number(request.number());
    co_return response;
  }

  Task<absl::StatusOr<v1::InsertResponse>> Insert(CallContext& call, const v1::InsertRequest& request) {
    std::vector<pg::Operation> operations;
    operations.push_back({kInsert, {request.text()}, {}});
    CO_RETURN_IF_ERROR((co_await db_.Write(call, std::move(operations))).status());
    co_return v1::InsertResponse();
  }

 private:
  pg::Database& db_;
};

}  // namespace aima::bench

int main(int argc, char** argv) {
  using namespace aima;
  return runtime::Main(argc, argv, "bench", [](runtime::Host& host) -> Task<absl::Status> {
    auto& units = host.Own<bench::EchoUnits>(host.Pg());
    host.Serve("aima.bench.v1.EchoService").Bind<&bench::EchoUnits::Echo>(units).Bind<&bench::EchoUnits::Insert>(units);
    co_return absl::OkStatus();
  });
}
