// Which services of the cluster take calls.
#pragma once

#include <map>
#include <string>

#include "libs/base/task.h"
#include "libs/rpc/client.h"
#include "libs/unit/catalogue.h"

namespace aima::gateway {

// Asks every process for its health and its metrics. Used on the loop.
class HealthReport {
 public:
  HealthReport(const Catalogue& catalogue, rpc::Client& rpc);

  // "serving", or what is wrong, by domain.
  struct State {
    bool all_serve = true;
    std::map<std::string, std::string> services;
  };
  Task<State> Ask();

  // Metrics of every service that answers, in Prometheus' text format.
  Task<std::string> Metrics();

 private:
  Task<std::string> AskOne(std::string domain);

  rpc::Client& rpc_;
  std::vector<std::string> domains_;
};

}  // namespace aima::gateway
