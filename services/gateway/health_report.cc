#include "services/gateway/health_report.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <boost/asio/as_tuple.hpp>
#include <set>

#include "aima/runtime/v1/runtime.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "libs/base/ids.h"

namespace aima::gateway {
namespace {

namespace asio = boost::asio;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

CallContext ShortCall() {
  CallContext call;
  call.request_id = NewId("req_");
  call.trace_id = call.request_id;
  call.deadline = absl::Now() + absl::Seconds(2);
  return call;
}

// `text` with process="<domain>" on each series, and each family's help once: `seen` remembers them.
void AppendSeries(const std::string& domain, const std::string& text, std::set<std::string>& seen, std::string& out) {
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (line[0] == '#') {
      if (seen.insert(std::string(line)).second) absl::StrAppend(&out, line, "\n");
      continue;
    }
    const size_t brace = line.find('{');
    const size_t space = line.rfind(' ');
    if (brace != absl::string_view::npos) {
      absl::StrAppend(&out, line.substr(0, brace + 1), "process=\"", domain, "\",", line.substr(brace + 1), "\n");
    } else {
      absl::StrAppend(&out, line.substr(0, space), "{process=\"", domain, "\"}", line.substr(space), "\n");
    }
  }
}

}  // namespace

HealthReport::HealthReport(Loop& loop, const Catalogue& catalogue, rpc::Client& rpc) : loop_(loop), rpc_(rpc) {
  std::set<std::string> domains;
  for (const UnitInfo& unit : catalogue.units()) domains.insert(unit.domain);
  domains.erase("runtime");  // is in every process and is none
  domains_.assign(domains.begin(), domains.end());
}

Task<void> HealthReport::Each(std::function<Task<void>(const std::string& domain)> ask) {
  // Shared, because a caller that leaves does not end what was started.
  struct Progress {
    explicit Progress(Loop& loop) : all_done(loop, asio::steady_timer::time_point::max()) {}
    asio::steady_timer all_done;
    size_t running = 0;
  };
  auto progress = std::make_shared<Progress>(loop_);
  progress->running = domains_.size();
  for (const std::string& domain : domains_) {
    asio::co_spawn(loop_, ask(domain), [progress](std::exception_ptr) {
      if (--progress->running == 0) progress->all_done.cancel();
    });
  }
  if (progress->running > 0) co_await progress->all_done.async_wait(asio::as_tuple(asio::use_awaitable));
}

Task<HealthReport::State> HealthReport::Ask() {
  auto state = std::make_shared<State>();
  co_await Each([this, state](const std::string& domain) { return AskOne(domain, state); });
  co_return *state;
}

Task<void> HealthReport::AskOne(std::string domain, std::shared_ptr<State> state) {
  HealthCheckResponse response;
  const absl::Status status = co_await rpc_.CallDomain(domain, ShortCall(), HealthCheckRequest(), response);
  if (status.ok() && response.status() == HealthCheckResponse::SERVING) {
    state->services[domain] = "serving";
    co_return;
  }
  state->all_serve = false;
  state->services[domain] = status.ok() ? "not serving" : std::string(status.message());
  if (!status.ok()) co_return;
  HealthCheckRequest database;
  database.set_service("database");
  if (!(co_await rpc_.CallDomain(domain, ShortCall(), database, response)).ok()) co_return;
  if (response.status() == HealthCheckResponse::NOT_SERVING) state->services[domain] = "not serving: its database cannot be reached";
}

Task<std::string> HealthReport::Metrics() {
  auto texts = std::make_shared<Texts>();
  co_await Each([this, texts](const std::string& domain) { return MetricsOf(domain, texts); });
  std::string all;
  std::set<std::string> seen;
  for (const auto& [domain, text] : *texts) AppendSeries(domain, text, seen, all);
  co_return all;
}

Task<void> HealthReport::MetricsOf(std::string domain, std::shared_ptr<Texts> texts) {
  runtime::v1::MetricsResponse response;
  const absl::Status status = co_await rpc_.CallDomain(domain, ShortCall(), runtime::v1::MetricsRequest(), response);
  if (status.ok()) (*texts)[domain] = response.text();
}

}  // namespace aima::gateway
