// What models there are and which run, as several commands need it. One function says which model a word means.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "services/cli/gateway_client.h"
#include "services/cli/session.h"

namespace aima::cli {

// The registered model that people mean by `name`: its id, or its name if no other has the same, as model.get tells of it.
// The error is that of model.get, or names the ids of those that have the name.
absl::StatusOr<nlohmann::ordered_json> ModelCalled(Session& session, GatewayClient& client, const std::string& name);

// Every instance of every engine, as engine.list tells of them; `whole` gets its whole answer.
absl::StatusOr<std::vector<nlohmann::ordered_json>> Instances(Session& session, GatewayClient& client,
                                                              nlohmann::ordered_json* whole = nullptr);

// True for one that holds memory: it starts, runs or stops, or will be started again by itself.
bool IsAlive(const nlohmann::ordered_json& instance);

// Live instances that are called `name` or serve the model of this name.
std::vector<nlohmann::ordered_json> InstancesOf(const std::vector<nlohmann::ordered_json>& instances,
                                                const std::string& name);

}  // namespace aima::cli
