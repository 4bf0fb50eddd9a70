// The gateway: HTTP and gRPC for everybody outside, computed from the descriptors of units.
#include <spdlog/spdlog.h>

#include <cstdio>

#include "libs/runtime/flags.h"
#include "libs/runtime/notify.h"
#include "libs/telemetry/log.h"
#include "services/gateway/gateway.h"

int main(int argc, char** argv) {
  using namespace aima;
  absl::StatusOr<runtime::Flags> flags = runtime::ReadFlags(argc, argv);
  absl::StatusOr<config::v1::Config> config = flags.ok() ? config::Load(flags->config) : flags.status();
  absl::Status result = config.status();
  if (config.ok() && flags->print_config) {
    std::fputs(config::ToYaml(*config, /*with_secrets=*/false).c_str(), stdout);
    return 0;
  }
  if (config.ok()) {
    SetUpLogging("gateway", config->logging().level(), config->logging().format());
    result = gateway::Serve(*config, flags->share_dir);
  }
  if (result.ok()) return 0;
  std::fprintf(stderr, "aima-gateway: %s\n", std::string(result.message()).c_str());
  runtime::Notify("STATUS=" + std::string(result.message()));
  return config.ok() ? 1 : 2;
}
