// Command-line flags of a unit, computed from the JSON Schema of its input.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace aima::cli {

// Adds what the flags say to `input`, an object.
//
//   --model-id x, --model_id=x     a field
//   --force, --no-force            booleans
//   --stop a --stop b              lists, one item per flag; or a whole list as JSON: --stop '["a", "b"]'
//   --config.parallel 2            a field of an object; or the object as JSON: --config '{"parallel": 2}'
//
//   --audio @speech.wav            bytes are those of a file, or base64 as it is
//
// A value is read as the schema says: text stays text, even if it looks like a number. The error names an unknown
// flag and what was probably meant.
absl::Status ApplyFlags(const nlohmann::ordered_json& schema, const std::vector<std::string>& words,
                        nlohmann::ordered_json& input);

// Takes the words out of `words` that are neither flags nor their values. What stands behind "--" is no flag.
std::vector<std::string> TakePlainWords(const nlohmann::ordered_json& schema, std::vector<std::string>& words);

// True if the schema has this field, - and _ being the same.
bool HasField(const nlohmann::ordered_json& schema, const std::string& flag);

// One flag with what it takes, for help and completion.
struct FlagHelp {
  std::string flag;  // --model-id
  std::string type;  // string, integer, "llm|vlm", [string] …
  std::string description;
  bool required = false;
  std::vector<std::string> choices;  // the words that an enum has
  std::string value;                 // what it takes, for people: TEXT, INTEGER, TIME …; empty for a switch
  std::string limits;                // "1 to 1000; default 100", as far as the schema tells
};
std::vector<FlagHelp> FlagsOf(const nlohmann::ordered_json& schema);

}  // namespace aima::cli
