// YAML trees and key=value texts into messages, by reflection.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "libs/config/yaml_tree.h"
#include "libs/errors/errors.h"

namespace aima::config {

// Reads settings in the order of their rank and collects everything that is wrong with them.
class MessageReader {
 public:
  // Merges a tree into `message`: what it names is replaced, the rest stays.
  void Read(const YamlNode& tree, google::protobuf::Message& message);

  // Merges "section.key=value". A list is written [a, b] or a,b.
  void Set(std::string_view assignment, google::protobuf::Message& message);

  // `description` of what is wrong with the field at `path`, preceded by where that field was set.
  std::string Locate(const std::string& path, const std::string& description) const;

  std::vector<FieldViolation> violations;

 private:
  void Map(const YamlNode& node, google::protobuf::Message& message, const std::string& prefix);
  void Field(const YamlNode& node, const google::protobuf::FieldDescriptor& field,
             google::protobuf::Message& message, const std::string& path);
  void Scalar(const YamlNode& node, const google::protobuf::FieldDescriptor& field,
              google::protobuf::Message& message, const std::string& path);
  void Number(const YamlNode& node, const google::protobuf::FieldDescriptor& field,
              google::protobuf::Message& message, const std::string& path);
  void Add(const std::string& path, const YamlNode& node, std::string_view description);

  std::map<std::string, int> lines_;  // of the fields that a file set
};

}  // namespace aima::config
