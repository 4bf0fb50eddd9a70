// The HTTP face of the cluster: paths to units, resources and system endpoints.
#pragma once

#include <absl/container/flat_hash_set.h>
#include <prometheus/registry.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "aima/config/v1/config.pb.h"
#include "libs/http/server.h"
#include "libs/rpc/client.h"
#include "libs/telemetry/call_metrics.h"
#include "services/gateway/access.h"
#include "services/gateway/edge.h"
#include "services/gateway/envelope.h"
#include "services/gateway/health_report.h"
#include "services/gateway/mcp/mcp_face.h"
#include "services/gateway/openapi/document.h"
#include "services/gateway/operation_units.h"
#include "services/gateway/resource_watch.h"
#include "services/gateway/translation.h"
#include "services/gateway/unit_runner.h"
#include "services/gateway/units_json.h"
#include "services/gateway/web_files.h"

namespace aima::gateway {

// What the face is made of. All of it outlives the face.
struct Parts {
  const config::v1::Config& config;
  const Catalogue& catalogue;
  rpc::Client& rpc;
  UnitRunner& runner;
  Access& access;
  const Edge& edge;
  ResourceWatch& watch;
  OperationUnits& operations;
  const UnitsJson& units;
  HealthReport& health;
  prometheus::Registry& registry;
  mcp::McpFace* mcp = nullptr;  // null: there is no /mcp
  openapi::Documents* documents = nullptr;  // null: there is no /openapi.json
  const WebFiles* web = nullptr;            // null: there is no /docs
  std::vector<Translation*> translations = {};  // APIs of other vendors; they come before the paths of this face
};

// Used on the loop.
class HttpFace {
 public:
  explicit HttpFace(Parts parts);

  // Answers one request; a Handler of http::Server.
  Task<void> Handle(http::Exchange& exchange);

  // An error in the form of the API that the path belongs to: a problem, or MCP's, OpenAI's or another vendor's form.
  // `http_status` 0 is the one that fits.
  http::Response ErrorAnswer(const http::Request& request, std::string_view path, const absl::Status& status, const Meta& meta,
                             int http_status = 0) const;

 private:
  // The translation that a request is for; null if it is for none.
  Translation* TranslationOf(const http::Request& request, std::string_view path) const;
  // One request on its way to an answer.
  struct Visit {
    http::Exchange& exchange;
    http::Request& request;
    std::string path;   // decoded, without query
    std::string query;  // as sent
    Meta meta;
    Caller caller;
    std::string unit = "http";  // label of logs and metrics
    std::string outcome = "OK";
  };
  // What /api/v2/execute and /stream take.
  struct Execution {
    std::string type;
    std::string unit;
    nlohmann::json input;
    RunOptions options;
    bool async = false;
  };

  Task<void> Route(Visit& visit);
  Task<void> Api(Visit& visit, std::string_view path);

  Task<void> Execute(Visit& visit);
  Task<void> Stream(Visit& visit);
  Task<void> RunStream(Visit& visit, Execution execution);
  http::Headers HeadersOfStream(const Visit& visit, const char* type) const;
  // /api/v2/operations/…: the units operation.list, get, wait and cancel by addresses of their own.
  Task<void> Operations(Visit& visit, std::string_view rest);
  Task<void> RunNamed(Visit& visit, std::string_view kind, std::string_view unit);
  Task<void> Run(Visit& visit, Execution execution);
  Task<void> Resource(Visit& visit, std::string_view uri);
  Task<void> WatchResource(Visit& visit, std::string_view uri);
  Task<void> Units(Visit& visit, std::string_view name);
  // /openapi.json, /docs and the files beside it, /api/v2/schema/{unit}.
  Task<void> ApiDocument(Visit& visit);
  Task<void> Page(Visit& visit, std::string_view name);
  Task<void> Schema(Visit& visit, std::string_view name);
  Task<void> Health(Visit& visit);
  Task<void> Metrics(Visit& visit);
  Task<void> OpenAi(Visit& visit);
  Task<void> Mcp(Visit& visit);
  Task<void> Translate(Visit& visit, Translation& translation);

  absl::StatusOr<nlohmann::json> Body(Visit& visit) const;
  absl::StatusOr<Execution> ReadExecution(Visit& visit) const;
  absl::StatusOr<nlohmann::json> InputFromQuery(const UnitInfo& unit, std::string_view query) const;
  CallContext CallOf(const Visit& visit) const;
  std::string JsonOf(const google::protobuf::Message& message) const;

  // Answers with what a unit told, `unit` if there is one; what is read has an ETag.
  Task<void> Succeed(Visit& visit, const Output& output, const UnitInfo* unit);
  // Compresses the body if it is worth it, the client wants it and it is safe.
  Task<void> Compress(Visit& visit, http::Response& response);
  Task<void> Answer(Visit& visit, http::Response response);
  Task<void> Fail(Visit& visit, const absl::Status& status);
  void Log(const Visit& visit);

  Parts parts_;
  CallMetrics metrics_;
  absl::flat_hash_set<const UnitInfo*> secret_answers_;  // units whose answers have fields that are secret
};

// True if messages of this type have a field, at any depth, that is declared secret.
bool HoldsSecrets(const google::protobuf::Descriptor& message);

}  // namespace aima::gateway
