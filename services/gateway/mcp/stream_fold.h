// Makes the one output of a unit of the messages of its streaming form, and tells how far it is meanwhile.
#pragma once

#include <google/protobuf/descriptor.h>

#include <nlohmann/json.hpp>
#include <string>

#include "libs/unit/catalogue.h"

namespace aima::gateway::mcp {

// Two shapes of streams are known by their descriptors: one whose messages tell progress and in the end hold the output
// in a field of its type, and one of pieces whose fields are those of the output.
class StreamFold {
 public:
  // True if the stream of this unit can be folded into its output.
  static bool Fits(const UnitInfo& unit);

  explicit StreamFold(const UnitInfo& unit);

  void Add(const nlohmann::json& message);

  // How far it is: a percentage where the unit tells one, else the number of messages.
  double progress() const { return progress_; }
  double total() const { return percent_ ? 100 : 0; }
  // What is new, for people; taken once.
  std::string TakeNews();

  // The output so far; null if it has not come.
  const nlohmann::json& output() const { return output_; }

 private:
  void AddPiece(const nlohmann::json& message);

  const google::protobuf::Descriptor& type_;    // of the messages
  const google::protobuf::Descriptor& output_type_;
  std::string result_field_;                  // empty for a stream of pieces
  bool percent_ = false;
  double progress_ = 0;
  std::string news_;
  nlohmann::json output_;
};

}  // namespace aima::gateway::mcp
