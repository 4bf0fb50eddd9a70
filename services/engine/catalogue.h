// The engines that configs/engines describes.
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <string>
#include <string_view>

#include "aima/engine/v1/engine_spec.pb.h"

namespace aima::engine {

// One engine from the text of its file, checked against the rules of EngineSpec. INVALID_INPUT names every unknown key
// and wrong value. Aliases, anchors and tags are refused.
absl::StatusOr<v1::EngineSpec> ParseEngineSpec(std::string_view yaml);

// Immutable once made.
class EngineCatalogue {
 public:
  // Every *.yaml in `directory`. One wrong file is an error that names it: half a catalogue would hide engines.
  static absl::StatusOr<EngineCatalogue> Load(const std::string& directory);

  // The same with files of the user's own, which come first; nothing if there is no such directory. Launchers are
  // looked for among the shipped ones only, so these engines are programs of the machine.
  absl::Status Add(const std::string& directory);

  // Null if there is none of this name.
  const v1::EngineSpec* Find(const std::string& name) const;

  // By name.
  const std::map<std::string, v1::EngineSpec>& engines() const { return engines_; }

  // Where launchers lie.
  const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
  std::map<std::string, v1::EngineSpec> engines_;
};

}  // namespace aima::engine
