// From an engine's description to the command that starts it.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "aima/engine/v1/engine_spec.pb.h"
#include "libs/process/process.h"

namespace aima::engine {

// What the placeholders of a launch recipe stand for.
struct LaunchValues {
  std::string model_path;
  std::string model_type;
  std::string served_name;
  std::string host = "127.0.0.1";
  int port = 0;
  int context_length = 0;
  int parallel = 0;
  int threads = 0;
  std::string api_key;
  std::string data_dir;
};

// Reads a variable of this process's own environment.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> ReadEnvironment(const std::string& name);

// `program` with the arguments and the environment of the recipe. INTERNAL names a placeholder that does not exist.
absl::StatusOr<process::Command> MakeCommand(const v1::EngineSpec& spec, const std::vector<std::string>& program,
                                             const LaunchValues& values, const Environment& environment);

// The variables that every program needs: PATH, HOME, LANG and TMPDIR, as they are here.
std::vector<std::string> BasicEnvironment(const Environment& environment);

// What an exit means for this engine: "exited with code 3: the model file is not GGUF".
std::string ExplainExit(const v1::EngineSpec& spec, const process::Exit& exit);

// The exit that says that somebody else had the port.
bool MeansPortTaken(const v1::EngineSpec& spec, const process::Exit& exit);

}  // namespace aima::engine
