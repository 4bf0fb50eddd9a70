// What units there are: computed from descriptors, the same for every face.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "aima/unit/v1/unit.pb.h"

namespace aima {

// An asms:// address, split at its slashes; a segment is a word or a {variable}.
struct ViewInfo {
  std::string uri;
  std::vector<std::string> segments;
  const struct UnitInfo* unit = nullptr;
  unit::v1::View view;
};

// One unit.
struct UnitInfo {
  std::string name;         // model.get
  std::string domain;       // model: the process that serves it
  std::string description;  // leading comment of the rpc
  unit::v1::Unit options;
  const google::protobuf::MethodDescriptor* unary = nullptr;   // null if the unit only streams
  const google::protobuf::MethodDescriptor* stream = nullptr;  // null if the unit never streams

  const google::protobuf::MethodDescriptor& method() const { return unary ? *unary : *stream; }
  bool command() const { return options.kind() == unit::v1::COMMAND; }
  int timeout_ms() const { return options.timeout_ms() ? options.timeout_ms() : 30'000; }
};

// One event type.
struct EventInfo {
  std::string type;
  std::string domain;
  std::string description;
  const google::protobuf::Descriptor* payload = nullptr;
};

// One error reason.
struct ReasonInfo {
  std::string name;
  std::string domain;
  std::string description;
  unit::v1::Reason options;
};

// Immutable once made; safe to read from any thread.
class Catalogue {
 public:
  // From a serialized FileDescriptorSet with source info (share/aima/units.binpb).
  static absl::StatusOr<std::unique_ptr<Catalogue>> Load(const std::string& path);
  static absl::StatusOr<std::unique_ptr<Catalogue>> Parse(std::string_view file_descriptor_set);

  const std::vector<UnitInfo>& units() const { return units_; }  // sorted by name
  const std::vector<ViewInfo>& views() const { return views_; }
  const std::vector<EventInfo>& events() const { return events_; }
  const std::vector<ReasonInfo>& reasons() const { return reasons_; }
  const google::protobuf::DescriptorPool& pool() const { return pool_; }
  std::vector<const google::protobuf::FileDescriptor*> files() const { return files_; }

  // Null if there is none.
  const UnitInfo* Find(std::string_view name) const;
  // Up to three names that look like `name`.
  std::vector<std::string> Nearest(std::string_view name) const;

  // The view whose address fits `uri` (with or without asms://) and its variables; null if there is none.
  struct Match {
    const ViewInfo* view = nullptr;
    std::vector<std::pair<std::string, std::string>> variables;
  };
  Match FindView(std::string_view uri) const;

  // A new, empty message of a type of this catalogue.
  std::unique_ptr<google::protobuf::Message> New(const google::protobuf::Descriptor& type) const;
  google::protobuf::MessageFactory& factory() const { return factory_; }

 private:
  Catalogue() : factory_(&pool_) {}
  void Add(const google::protobuf::ServiceDescriptor& service);
  void Add(const google::protobuf::Descriptor& message);
  void Add(const google::protobuf::EnumDescriptor& type);

  google::protobuf::DescriptorPool pool_;
  mutable google::protobuf::DynamicMessageFactory factory_;
  std::vector<const google::protobuf::FileDescriptor*> files_;
  std::vector<UnitInfo> units_;
  std::vector<ViewInfo> views_;
  std::vector<EventInfo> events_;
  std::vector<ReasonInfo> reasons_;
  absl::flat_hash_map<std::string, size_t> by_name_;
};

// The unit's name: the proto service without "Service" and the method without "Stream", in snake case. The domain's
// own service gives model.get; a second noun of a domain, such as LeaseService, gives lease.acquire.
std::string UnitName(const google::protobuf::MethodDescriptor& method);

// The domain of a file: the segment after "aima" in its package.
std::string DomainOf(const google::protobuf::FileDescriptor& file);

// Options read through the program's own extension, whatever pool the descriptor is from. Names of error groups have become
// the reasons that they stand for.
unit::v1::Unit UnitOptions(const google::protobuf::MethodDescriptor& method);
unit::v1::Rules RulesOf(const google::protobuf::FieldDescriptor& field);
std::string EventType(const google::protobuf::Descriptor& message);

// Leading comment of a descriptor, as one paragraph per blank-line-separated block; empty without source info.
template <class Descriptor>
std::string CommentOf(const Descriptor& descriptor) {
  google::protobuf::SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return "";
  extern std::string CleanComment(const std::string&);
  return CleanComment(location.leading_comments.empty() ? location.trailing_comments : location.leading_comments);
}

}  // namespace aima
