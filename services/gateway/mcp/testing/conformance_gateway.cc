// The shipped gateway with the fixtures of MCP's conformance suite beside its units. For tests only.
//
// usage: mcp_conformance_gateway DATA_DIR PORT
#include <cstdio>
#include <string>

#include "libs/config/config.h"
#include "libs/telemetry/log.h"
#include "services/gateway/gateway.h"
#include "services/gateway/mcp/testing/fixtures.h"

int main(int argc, char** argv) {
  using namespace aima;
  if (argc != 3) {
    std::fputs("usage: mcp_conformance_gateway DATA_DIR PORT\n", stderr);
    return 2;
  }
  config::Sources sources;
  sources.sets = {std::string("general.data_dir=") + argv[1], std::string("api.listen_addr=127.0.0.1:") + argv[2],
                  "api.grpc_addr=", "mcp.toolsets=all"};
  const absl::StatusOr<config::v1::Config> config = config::Load(sources);
  absl::Status result = config.status();
  if (config.ok()) {
    SetUpLogging("gateway", "info", "text");
    gateway::mcp::Fixtures fixtures;
    result = gateway::Serve(*config, AIMA_BINARY_DIR "/share/aima", {&fixtures});
  }
  if (result.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(result.message()).c_str());
  return 1;
}
