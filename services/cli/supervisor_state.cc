// What the supervisor tells others through files (supervisor.h).
#include <nlohmann/json.hpp>

#include "services/cli/files.h"
#include "services/cli/supervisor.h"

namespace aima::cli {

std::string StateFile(const std::string& data_dir) { return data_dir + "/run/state.json"; }
std::string EffectiveConfigFile(const std::string& data_dir) { return data_dir + "/run/config.yaml"; }

void Supervisor::WriteState() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& item : processes_) {
    list.push_back({{"name", item->name},
                    {"state", StateText(item->state)},
                    {"pid", item->process ? item->process->identity().pid : 0},
                    {"since_ms", absl::ToUnixMillis(item->since)},
                    {"restarts", item->restarts},
                    {"status", item->status_text},
                    {"last_exit", item->last_exit},
                    {"address", item->address},
                    {"user", item->user},
                    {"log", LogOf(*item)}});
  }
  const nlohmann::ordered_json state = {
      {"data_dir", data_dir_}, {"starting", starting_}, {"processes", std::move(list)}};
  WriteFile(StateFile(data_dir_), state.dump(2, ' ', false, nlohmann::json::error_handler_t::replace), 0600)
      .IgnoreError();
}

}  // namespace aima::cli
