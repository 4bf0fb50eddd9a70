// What several paths of the document share: schemas of messages, each described once.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "libs/unit/catalogue.h"
#include "libs/unit/json_schema.h"

namespace aima::gateway::openapi {

using nlohmann::ordered_json;

// A message is called by its domain and name: aima.model.v1.GetRequest is model.GetRequest. One that is both given and
// answered has two schemas, since rules bind callers only; what callers give is then model.Name.Input. Names do not
// depend on who reads the document.
class Components {
 public:
  explicit Components(const Catalogue& catalogue);

  // {"$ref": …} to the schema of a message, which is then part of the components. Messages with a JSON form of their own
  // are written out.
  ordered_json Ref(const google::protobuf::Descriptor& message, SchemaUse use);
  // The schema itself, with references inside.
  const ordered_json& Schema(const google::protobuf::Descriptor& message, SchemaUse use);

  // Everything that was referred to, by name.
  const std::map<std::string, ordered_json>& schemas() const { return schemas_; }

 private:
  std::string NameOf(const google::protobuf::Descriptor& message, SchemaUse use) const;

  absl::flat_hash_set<const google::protobuf::Descriptor*> answered_;
  std::map<std::string, ordered_json> schemas_;
};

// The schemas that are no message: the envelope, problems, what /api/v2/execute takes.
void AddFixedSchemas(ordered_json& schemas);

// A component of ours: Ref("schemas", "Problem").
ordered_json RefTo(const char* kind, const std::string& name);

// The envelope around an answer: {success, data, meta}.
ordered_json Enveloped(ordered_json data);

}  // namespace aima::gateway::openapi
