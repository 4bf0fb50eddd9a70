#include "libs/runtime/self_watch.h"

#include <absl/strings/str_cat.h>
#include <spdlog/spdlog.h>

#include <boost/asio/steady_timer.hpp>
#include <cstdlib>

#include "grpc/health/v1/health.pb.h"
#include "libs/base/ids.h"
#include "libs/rpc/client.h"
#include "libs/runtime/notify.h"

namespace aima::runtime {
namespace {

constexpr auto kInterval = std::chrono::seconds(5);
constexpr absl::Duration kPatience = absl::Seconds(5);
constexpr int kExitDeadListener = 70;  // EX_SOFTWARE: start me again

}  // namespace

Task<absl::Status> DialSelf(rpc::Client& rpc, std::string domain) {
  CallContext call;
  call.unit = absl::StrCat(domain, ".self-dial");
  call.request_id = call.trace_id = NewId("bg_");
  call.deadline = absl::Now() + kPatience;
  grpc::health::v1::HealthCheckResponse response;
  co_return co_await rpc.CallDomain(domain, call, grpc::health::v1::HealthCheckRequest(), response);
}

Task<void> WatchSelf(Loop& loop, rpc::Client& rpc, std::string domain, std::function<bool()> ending) {
  for (int failures = 0;;) {
    boost::asio::steady_timer timer(loop, kInterval);
    co_await timer.async_wait(boost::asio::use_awaitable);
    const absl::Status dialled = co_await DialSelf(rpc, domain);
    if (ending()) co_return;  // the listener is closed on purpose
    failures = dialled.ok() ? 0 : failures + 1;
    if (dialled.ok()) Notify("WATCHDOG=1");
    if (failures == 2) {
      spdlog::critical("the listener does not answer: {}", std::string(dialled.message()));
      std::_Exit(kExitDeadListener);
    }
  }
}

}  // namespace aima::runtime
