// aima events tail: what happens, as it happens.
#include <unistd.h>

#include <iostream>

#include "libs/base/status_macros.h"
#include "services/cli/commands.h"
#include "services/cli/gateway_client.h"
#include "services/cli/output.h"
#include "services/cli/unit_description.h"

namespace aima::cli {
namespace {

using nlohmann::ordered_json;

void PrintEvents(const ordered_json& batch, const std::string& format) {
  if (!batch.is_object()) return;
  for (const ordered_json& event : batch.value("events", ordered_json::array())) {
    if (format == "yaml") {
      std::cout << "---\n" << Format(event, format);
    } else if (format != "table") {
      std::cout << event.dump() << "\n";
    } else {
      const ordered_json payload = event.contains("payload") ? event["payload"] : ordered_json::object();
      std::cout << Text(event, "time") << "  " << event.value("sequence", ordered_json()).dump() << "  "
                << Text(event, "type") << "  " << payload.dump() << "\n";
    }
  }
  std::cout << std::flush;
}

}  // namespace

absl::Status EventsCommand(Session& session) {
  const std::optional<std::string> verb = session.arguments.Next();
  if (verb != "tail") {
    return UsageOf(*session.command, "knows one verb, tail");
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> types, session.arguments.Values("type"));
  ASSIGN_OR_RETURN(const std::optional<std::string> after, session.arguments.Value("after"));
  RETURN_IF_ERROR(session.arguments.Done("events tail"));
  ordered_json input = ordered_json::object();
  if (!types.empty()) input["types"] = types;
  if (after) {
    input["after"] = ordered_json::parse(*after, nullptr, false);
    if (!input["after"].is_number_integer()) return UsageError("--after takes a cursor, a whole number");
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GatewayClient> client, GatewayClient::Connect(session.loop, session.globals));
  for (bool connected = false;;) {
    const absl::Status status =
        Await(session.loop, client->Stream("event.subscribe", input, [&](const ordered_json& batch) {
          connected = true;
          // Where to go on if the stream breaks off.
          if (batch.is_object() && batch.contains("cursor")) input["after"] = batch["cursor"];
          PrintEvents(batch, session.globals.output);
        }));
    const bool resumable = connected && input.contains("after");
    if (!resumable || (!status.ok() && ExitCodeOf(status) != kUnavailable && ExitCodeOf(status) != kDeadline &&
                       status.code() != absl::StatusCode::kResourceExhausted)) {
      return status;
    }
    std::cerr << "the stream broke off (" << status.message() << "); going on after event " << input["after"]
              << std::endl;
    sleep(1);
  }
}

}  // namespace aima::cli
