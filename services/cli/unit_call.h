// A unit, run for somebody who looks on.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "services/cli/gateway_client.h"
#include "services/cli/session.h"

namespace aima::cli {

// Input and manner of one execution.
struct UnitCall {
  std::string unit;
  nlohmann::ordered_json input = nlohmann::ordered_json::object();
  CallOptions options;
  bool stream = false;
  bool progress = false;  // the stream tells how far the unit is, and ends with its output
  bool attaches = false;  // its work outlives the call, and the same call finds it again

  // What is said to somebody who leaves with Ctrl-C while the work goes on; gets the last message of the stream.
  std::function<std::string(const nlohmann::ordered_json& last)> on_leave;
};

// A unit as the gateway describes it or, while none answers, as this installation knows it: what was typed wrong is told
// before that nobody answers.
struct KnownUnit {
  nlohmann::ordered_json description;
  absl::Status reached;  // to be returned once nothing is wrong with the words
};
absl::StatusOr<KnownUnit> Describe(Session& session, GatewayClient& client, const std::string& unit);

// A unit that works for long streams {phase, message, percent} and at last {result}.
bool TellsProgress(const nlohmann::ordered_json& description);

// Runs a unit and prints its output as the flags say; progress goes to standard error.
absl::Status RunUnit(Session& session, GatewayClient& client, const UnitCall& call);

// Runs a unit and returns its output; progress goes to standard error, nothing to standard output.
absl::StatusOr<nlohmann::ordered_json> OutputOf(Session& session, GatewayClient& client, const UnitCall& call);

// Verbs that say in a line what their unit did.
absl::Status CancelCommand(Session& session);
absl::Status ImportCommand(Session& session);

// aima pull without what it prints at the end: the output of model.pull for session.arguments.
absl::StatusOr<nlohmann::ordered_json> Pull(Session& session);

}  // namespace aima::cli
