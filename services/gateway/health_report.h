// Which services of the cluster take calls.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/task.h"
#include "libs/rpc/client.h"
#include "libs/unit/catalogue.h"

namespace aima::gateway {

// Asks every process for its health and its metrics. Used on the loop.
class HealthReport {
 public:
  HealthReport(Loop& loop, const Catalogue& catalogue, rpc::Client& rpc);

  // "serving", or what is wrong, by domain.
  struct State {
    bool all_serve = true;
    std::map<std::string, std::string> services;
  };
  Task<State> Ask();

  // Metrics of every service that answers, in Prometheus' text format.
  Task<std::string> Metrics();

 private:
  // Runs `ask` for every service at once and returns when all are done.
  Task<void> Each(std::function<Task<void>(const std::string& domain)> ask);

  using Texts = std::map<std::string, std::string>;
  Task<void> AskOne(std::string domain, std::shared_ptr<State> state);
  Task<void> MetricsOf(std::string domain, std::shared_ptr<Texts> texts);

  Loop& loop_;
  rpc::Client& rpc_;
  std::vector<std::string> domains_;
};

}  // namespace aima::gateway
