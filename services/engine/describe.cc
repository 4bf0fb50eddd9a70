#include "services/engine/describe.h"

#include <absl/strings/str_cat.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>

namespace aima::engine {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::util::TimeUtil;

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  return TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(time));
}

}  // namespace

v1::Instance ToProto(const Instance& instance) {
  const Record& record = instance.record();
  v1::Instance out;
  out.set_instance_id(record.instance_id);
  out.set_engine(record.engine);
  out.set_model_id(record.model_id);
  out.set_status(record.status);
  out.set_health(instance.health());
  if (record.Live()) out.set_process_id(record.process.pid);
  if (record.status == v1::INSTANCE_STATUS_RUNNING) out.set_endpoint(absl::StrCat("127.0.0.1:", record.port));
  *out.mutable_config() = record.config;
  out.set_slot_id(record.slot_id);
  if (!record.slot_id.empty()) out.set_memory_bytes(record.memory_bytes);
  out.set_generation(record.generation);
  if (record.status == v1::INSTANCE_STATUS_FAILED) {
    out.set_error(record.error);
    out.set_log_tail(record.log_tail);
  }
  out.set_log_path(record.log_path);
  if (record.started_at) *out.mutable_started_at() = ToTimestamp(*record.started_at);
  *out.mutable_updated_at() = ToTimestamp(record.updated_at);
  out.set_crashes(record.crashes);
  out.set_on_demand(record.retention.on_demand);
  out.set_pinned(record.retention.pinned);
  out.set_idle_timeout(record.retention.idle_timeout);
  if (record.status == v1::INSTANCE_STATUS_FAILED && record.wanted && record.next_start_at) {
    *out.mutable_next_start_at() = ToTimestamp(*record.next_start_at);
  }
  return out;
}

v1::Endpoint EndpointOf(const Record& record, const v1::EngineSpec& spec) {
  v1::Endpoint out;
  out.set_instance_id(record.instance_id);
  out.set_engine(record.engine);
  out.set_model_id(record.model_id);
  out.set_served_name(record.served_name);
  out.set_host("127.0.0.1");
  out.set_port(record.port);
  out.set_api_key(record.api_key);
  out.set_dialect(spec.dialect());
  for (const std::string& capability : CapabilitiesOf(spec)) out.add_capabilities(capability);
  const int parallel = std::max(1, record.config.parallel());
  out.set_max_concurrent(parallel);
  out.set_generation(record.generation);
  out.set_on_demand(record.retention.on_demand);
  out.set_pinned(record.retention.pinned);
  out.set_idle_timeout(record.retention.idle_timeout);
  out.set_memory_bytes(record.memory_bytes);
  out.set_context_length(spec.launch().context_shared() ? record.config.context_length() / parallel
                                                        : record.config.context_length());
  *out.mutable_own_models() = spec.models();
  return out;
}

std::vector<std::string> CapabilitiesOf(const v1::EngineSpec& spec) {
  constexpr std::string_view kPrefix = "supports_";
  std::vector<std::string> words;
  const v1::Features& features = spec.features();
  for (int i = 0; i < features.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = features.GetDescriptor()->field(i);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_BOOL || !field->name().starts_with(kPrefix)) continue;
    if (features.GetReflection()->GetBool(features, field)) words.push_back(field->name().substr(kPrefix.size()));
  }
  return words;
}

v1::EngineStatus EngineStatusOf(bool installing, bool installed,
                                const std::vector<std::shared_ptr<Instance>>& instances) {
  const auto any = [&](v1::InstanceStatus status) {
    return std::any_of(instances.begin(), instances.end(),
                       [&](const auto& instance) { return instance->record().status == status; });
  };
  if (any(v1::INSTANCE_STATUS_RUNNING)) return v1::ENGINE_STATUS_RUNNING;
  if (any(v1::INSTANCE_STATUS_STARTING)) return v1::ENGINE_STATUS_STARTING;
  if (installing) return v1::ENGINE_STATUS_INSTALLING;
  if (!installed) return v1::ENGINE_STATUS_NOT_INSTALLED;
  const bool failed = any(v1::INSTANCE_STATUS_FAILED) && !any(v1::INSTANCE_STATUS_STOPPED);
  return failed ? v1::ENGINE_STATUS_ERROR : v1::ENGINE_STATUS_STOPPED;
}

}  // namespace aima::engine
