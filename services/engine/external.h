// Engines that run on the machine already, started by somebody else: used, but neither started nor stopped.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "aima/engine/v1/engine.pb.h"
#include "libs/base/call_context.h"
#include "libs/events/outbox.h"
#include "libs/http/client.h"

namespace aima::engine {

// What an Ollama server says of itself.
struct OllamaServer {
  std::string version;
  std::vector<v1::OwnModel> models;  // by name

  bool operator==(const OllamaServer& other) const;
};

// From the answers of /api/version and /api/tags. INVALID_ARGUMENT if they are no such answers.
absl::StatusOr<OllamaServer> ReadOllama(const std::string& version, const std::string& tags);

// Looks every few seconds whether an Ollama server answers at an address, and tells by events when it has come or gone, or
// has other models. Used on its loop only.
class ExternalOllama {
 public:
  static constexpr char kInstance[] = "ollama-external";

  // `address` is host:port; empty is none. `ours` tells whether a port of this machine is that of an instance of ours.
  ExternalOllama(Loop& loop, events::Outbox& outbox, const std::string& address, std::function<bool(int)> ours);

  // Looks for ever. `call` is that of the events.
  Task<void> Watch(CallContext call);
  // Looks once.
  Task<void> Look(const CallContext& call);

  // While it is there.
  const std::optional<OllamaServer>& server() const { return server_; }
  v1::Instance Instance(const v1::EngineSpec& spec) const;
  v1::Endpoint Endpoint(const v1::EngineSpec& spec) const;

 private:
  Task<absl::StatusOr<OllamaServer>> Ask();
  Task<absl::StatusOr<std::string>> Get(std::string path);

  http::Client http_;
  events::Outbox& outbox_;
  http::Endpoint address_;
  const std::function<bool(int)> ours_;
  std::optional<OllamaServer> server_;
  int64_t appearances_ = 0;
  int silences_ = 0;
  absl::Time found_at_ = absl::UnixEpoch();
};

}  // namespace aima::engine
