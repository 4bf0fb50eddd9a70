#include "services/cli/models.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>

#include "libs/base/status_macros.h"
#include "services/cli/command_line.h"
#include "services/cli/unit_description.h"

namespace aima::cli {

constexpr int kPage = 1000;


using nlohmann::ordered_json;

absl::StatusOr<ordered_json> ModelCalled(Session& session, GatewayClient& client, const std::string& name) {
  const absl::StatusOr<ordered_json> by_id = Await(session.loop, client.Execute("model.get", {{"model_id", name}}));
  if (by_id.status().code() != absl::StatusCode::kNotFound) return by_id;
  std::vector<ordered_json> found;
  std::string after;
  do {
    const ordered_json input = {{"limit", kPage}, {"after", after}};
    ASSIGN_OR_RETURN(const ordered_json page, Await(session.loop, client.Execute("model.list", input)));
    for (const ordered_json& model : page.value("items", ordered_json::array())) {
      if (Text(model, "name") == name) found.push_back(model);
    }
    after = Text(page, "next_after");
  } while (!after.empty());
  if (found.empty()) return by_id.status();
  if (found.size() == 1) return found[0];
  std::vector<std::string> ids;
  for (const ordered_json& model : found) ids.push_back(Text(model, "id"));
  return WithRemedy(
      absl::FailedPreconditionError(absl::StrCat("several models are called ", name, ": ", absl::StrJoin(ids, ", "))),
      "Give the id of the one that you mean.");
}

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
