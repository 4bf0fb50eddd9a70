#include "services/gateway/health_report.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_split.h>

#include <set>

#include "aima/runtime/v1/runtime.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "libs/base/ids.h"

namespace aima::gateway {
namespace {

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

HealthReport::HealthReport(const Catalogue& catalogue, rpc::Client& rpc) : rpc_(rpc) {
  std::set<std::string> domains;
  for (const UnitInfo& unit : catalogue.units()) domains.insert(unit.domain);
  domains.erase("runtime");  // is in every process and is none
  domains_.assign(domains.begin(), domains.end());
}

Task<std::string> HealthReport::AskOne(std::string domain) {
  HealthCheckResponse response;
  const absl::Status status = co_await rpc_.CallDomain(domain, ShortCall(), HealthCheckRequest(), response);
  if (!status.ok()) co_return std::string(status.message());
  co_return response.status() == HealthCheckResponse::SERVING ? "serving" : "not serving";
}

Task<HealthReport::State> HealthReport::Ask() {
  State state;
  for (const std::string& domain : domains_) {
    const std::string answer = co_await AskOne(domain);
    if (answer != "serving") state.all_serve = false;
    state.services[domain] = answer;
  }
  co_return state;
}

Task<std::string> HealthReport::Metrics() {
  std::string text;
  std::set<std::string> seen;
  for (const std::string& domain : domains_) {
    runtime::v1::MetricsResponse response;
    const absl::Status status = co_await rpc_.CallDomain(domain, ShortCall(), runtime::v1::MetricsRequest(), response);
    if (status.ok()) AppendSeries(domain, response.text(), seen, text);
  }
  co_return text;
}

}  // namespace aima::gateway
