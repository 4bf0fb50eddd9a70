// The HTTP face of a cluster, as a client sees it.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "libs/base/task.h"
#include "libs/http/client.h"
#include "services/cli/command_line.h"

namespace aima::cli {

// How a unit is to be run.
struct CallOptions {
  std::string timeout;  // such as "30s"; empty is the unit's own deadline
  bool async = false;   // answer with an operation at once
};

class GatewayClient {
 public:
  GatewayClient(Loop& loop, http::Endpoint endpoint, std::string key);

  // The server and the key that the flags, the environment or the data directory name.
  // Without `operators_key`, the data directory's key is not used.
  static absl::StatusOr<std::unique_ptr<GatewayClient>> Connect(Loop& loop, const Globals& globals,
                                                                bool operators_key = true);

  // `data` of the answer to GET /api/v2/<path>.
  Task<absl::StatusOr<nlohmann::ordered_json>> Get(std::string path, absl::Duration timeout = absl::Seconds(30));

  // Output of a unit.
  Task<absl::StatusOr<nlohmann::ordered_json>> Execute(std::string unit, nlohmann::ordered_json input,
                                                       CallOptions options = {});

  // Runs a unit and hands each message of its output to `on_message` as it arrives.
  Task<absl::Status> Stream(std::string unit, nlohmann::ordered_json input,
                            std::function<void(const nlohmann::ordered_json&)> on_message,
                            CallOptions options = {});

  // Hands the value of an asms:// address to `on_value`, now and after each change, until the stream breaks off.
  Task<absl::Status> Watch(std::string uri, std::function<void(const nlohmann::ordered_json&)> on_value);

  // Sends any request, with the key if there is one and the request brings none.
  Task<absl::StatusOr<std::unique_ptr<http::ResponseStream>>> Open(http::Request request, absl::Time deadline);

  // http://host:port
  std::string Address() const;

 private:
  http::Request NewRequest(std::string method, std::string path) const;
  Task<absl::Status> ReadEvents(http::Request request, std::function<void(const nlohmann::ordered_json&)> on_message);
  absl::Status Unreachable(const absl::Status& status) const;

  http::Client client_;
  const http::Endpoint endpoint_;
  const std::string key_;
};

// "127.0.0.1:9090", "http://…" or "https://…".
absl::StatusOr<http::Endpoint> ParseServer(const std::string& text);

// True for names and addresses of this machine itself.
bool IsLoopback(const std::string& host);

// An error object {code, message, details{remedy, fields}} as a status; `http_status` 0 if it came in a stream.
absl::Status StatusOfError(const nlohmann::ordered_json& error, int http_status);

// `data` of an envelope, or its error.
absl::StatusOr<nlohmann::ordered_json> OpenEnvelope(const std::string& body, int http_status);

}  // namespace aima::cli
