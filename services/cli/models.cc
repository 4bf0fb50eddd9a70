#include "services/cli/models.h"

#include "libs/base/status_macros.h"
#include "services/cli/unit_description.h"

namespace aima::cli {

using nlohmann::ordered_json;

absl::StatusOr<std::vector<ordered_json>> Instances(Session& session, GatewayClient& client, ordered_json* whole) {
  ASSIGN_OR_RETURN(ordered_json list, Await(session.loop, client.Execute("engine.list", ordered_json::object())));
  std::vector<ordered_json> instances;
  for (const ordered_json& engine : list.value("items", ordered_json::array())) {
    for (const ordered_json& instance : engine.value("instances", ordered_json::array())) instances.push_back(instance);
  }
  if (whole) *whole = std::move(list);
  return instances;
}

bool IsAlive(const ordered_json& instance) {
  const std::string status = Text(instance, "status");
  return status != "stopped" && (status != "failed" || instance.contains("next_start_at"));
}

std::vector<ordered_json> InstancesOf(const std::vector<ordered_json>& instances, const std::string& name) {
  std::vector<ordered_json> found;
  for (const ordered_json& instance : instances) {
    if (IsAlive(instance) && Text(instance, "instance_id") == name) return {instance};
    if (IsAlive(instance) && Text(instance, "model_id") == name) found.push_back(instance);
  }
  return found;
}

}  // namespace aima::cli
