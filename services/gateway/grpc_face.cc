#include "services/gateway/grpc_face.h"

#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/strip.h>
#include <google/protobuf/descriptor.pb.h>

#include <nlohmann/json.hpp>
#include <set>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/rpc/wire.h"
#include "libs/unit/json_codec.h"
#include "services/gateway/envelope.h"

namespace aima::gateway {
namespace {

using nlohmann::json;

Role RoleOf(const CallContext& call) {
  if (call.role == "admin") return Role::kAdmin;
  if (call.role == "operate") return Role::kOperate;
  if (call.role == "read") return Role::kRead;
  return Role::kNone;
}

const char* NameOf(Role role) {
  switch (role) {
    case Role::kAdmin: return "admin";
    case Role::kOperate: return "operate";
    case Role::kRead: return "read";
    default: return "";
  }
}

// The file without rpcs that only services of the cluster may call: callers would be told that there are none.
google::protobuf::FileDescriptorProto Offered(const google::protobuf::FileDescriptor& file) {
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  for (int i = 0; i < file.service_count(); ++i) {
    for (int j = file.service(i)->method_count() - 1; j >= 0; --j) {
      if (UnitOptions(*file.service(i)->method(j)).access() != unit::v1::INTERNAL) continue;
      proto.mutable_service(i)->mutable_method()->DeleteSubrange(j, 1);
    }
  }
  return proto;
}

json ToFreeJson(const google::protobuf::Struct& object) {
  return json::parse(ToJson(object), nullptr, /*allow_exceptions=*/false);
}

absl::Status FromJsonText(const std::string& text, google::protobuf::Struct& object) {
  return ParseJson(json::parse(text, nullptr, /*allow_exceptions=*/false), object);
}

RunOptions OptionsOf(const v1::RequestOptions& options, CallContext& call) {
  if (!options.trace_id().empty()) call.trace_id = options.trace_id();
  return {.timeout = absl::Milliseconds(options.timeout_ms()), .idempotency_key = options.idempotency_key()};
}

Credentials CredentialsOf(const rpc::Stream& stream) {
  Credentials credentials;
  credentials.loopback = stream.peer().loopback;
  credentials.address = stream.peer().address;
  if (const std::string* authorization = rpc::Find(stream.headers(), "authorization")) {
    credentials.key = absl::StartsWithIgnoreCase(*authorization, "Bearer ") ? authorization->substr(7) : "?";
  } else if (const std::string* key = rpc::Find(stream.headers(), "x-api-key")) {
    credentials.key = *key;
  }
  return credentials;
}

}  // namespace

Task<absl::StatusOr<Output>> GenericUnits::Run(CallContext& call, const v1::Request& request) {
  const Caller caller{call.principal, RoleOf(call)};
  if (request.type() == "resource") {
    CO_ASSIGN_OR_RETURN(const auto resolved, runner_.Resolve(request.unit()));
    const UnitInfo& unit = *resolved.first->unit;
    CO_RETURN_IF_ERROR(Access::Check(caller, unit.options.access(), unit.name));
    co_return co_await runner_.Run(call, unit, resolved.second, {});
  }
  CO_ASSIGN_OR_RETURN(const UnitInfo* unit, runner_.Find(request.unit(), request.type(), caller));
  const RunOptions options = OptionsOf(request.options(), call);
  co_return co_await runner_.Run(call, *unit, ToFreeJson(request.input()), options);
}

Task<absl::StatusOr<v1::Response>> GenericUnits::Execute(CallContext& call, const v1::Request& request) {
  const absl::Time start = absl::Now();
  v1::Response response;
  absl::StatusOr<Output> output = co_await Run(call, request);
  // A failed unit is an answer of this rpc, in the same form as over HTTP.
  response.set_success(output.ok());
  if (output.ok()) {
    CO_RETURN_IF_ERROR(FromJsonText(output->json, *response.mutable_data()));
  } else {
    const ErrorDetails details = DetailsOf(output.status());
    response.mutable_error()->set_code(details.reason);
    response.mutable_error()->set_message(details.message);
    const json error = json::parse(ErrorJson(output.status()), nullptr, /*allow_exceptions=*/false);
    CO_RETURN_IF_ERROR(ParseJson(error["details"], *response.mutable_error()->mutable_details()));
  }
  response.mutable_meta()->set_request_id(call.request_id);
  response.mutable_meta()->set_trace_id(call.trace_id);
  response.mutable_meta()->set_duration_ms(absl::ToInt64Milliseconds(absl::Now() - start));
  co_return response;
}

Task<absl::Status> GenericUnits::ExecuteStream(CallContext& call, const v1::StreamRequest& request,
                                               StreamWriter<v1::StreamChunk>& out) {
  CO_ASSIGN_OR_RETURN(const UnitInfo* unit, runner_.Find(request.unit(), "", Caller{call.principal, RoleOf(call)}));
  const RunOptions options = OptionsOf(request.options(), call);
  const UnitRunner::Sink sink = [&](const std::string& text) -> Task<absl::Status> {
    v1::StreamChunk chunk;
    absl::Status read = FromJsonText(text, *chunk.mutable_data());
    if (!read.ok()) co_return read;
    co_return co_await out.Write(chunk);
  };
  CO_RETURN_IF_ERROR(co_await runner_.Stream(call, *unit, ToFreeJson(request.input()), options, sink));
  v1::StreamChunk last;
  last.set_done(true);
  co_return co_await out.Write(last);
}

Task<absl::Status> GenericUnits::WatchResource(CallContext& call, const v1::WatchRequest& request,
                                               StreamWriter<v1::ResourceUpdate>& out) {
  CO_ASSIGN_OR_RETURN(const auto resolved, runner_.Resolve(request.uri()));
  const UnitInfo& unit = *resolved.first->unit;
  CO_RETURN_IF_ERROR(Access::Check(Caller{call.principal, RoleOf(call)}, unit.options.access(), unit.name));
  const ResourceWatch::Sink sink = [&](const std::string& text, int64_t) -> Task<absl::Status> {
    v1::ResourceUpdate update;
    update.set_uri(request.uri());
    absl::Status read = FromJsonText(text, *update.mutable_data());
    if (!read.ok()) co_return read;
    update.mutable_time()->set_seconds(absl::ToUnixSeconds(absl::Now()));
    co_return co_await out.Write(update);
  };
  co_return co_await watch_.Watch(call, *resolved.first, resolved.second, sink);
}

Task<absl::StatusOr<v1::HealthResponse>> GenericUnits::HealthCheck(CallContext&, const v1::HealthRequest&) {
  const HealthReport::State state = co_await health_.Ask();
  v1::HealthResponse response;
  response.set_status(state.all_serve ? "healthy" : "degraded");
  for (const auto& [name, text] : state.services) (*response.mutable_services())[name] = text;
  co_return response;
}

GrpcFace::GrpcFace(Loop& loop, const Catalogue& catalogue, rpc::Channels& channels, Access& access, GenericUnits& units)
    : catalogue_(catalogue),
      access_(access),
      health_(loop),
      server_(loop, runtime::Limits{}),
      pass_through_(channels, [this](const rpc::Stream& stream, CallContext& call) { return Admit(stream, call); }) {
  runtime::ServiceBinder(server_, "aima.gateway.v1.AIMAService")
      .Bind<&GenericUnits::Execute>(units)
      .Bind<&GenericUnits::ExecuteStream>(units)
      .Bind<&GenericUnits::WatchResource>(units)
      .Bind<&GenericUnits::HealthCheck>(units);
  runtime::ServiceBinder(server_, "grpc.health.v1.Health")
      .Bind<&runtime::Health::Check>(health_)
      .Bind<&runtime::Health::Watch>(health_);
  const std::vector<std::string> own = server_.Services();
  std::set<std::string> services(own.begin(), own.end());
  for (const UnitInfo& unit : catalogue_.units()) {
    if (unit.options.access() == unit::v1::INTERNAL) continue;
    for (const auto* method : {unit.unary, unit.stream}) {
      if (!method) continue;
      units_[rpc::PathOf(*method)] = &unit;
      pass_through_.Offer(*method, unit.domain);
      services.insert(method->service()->full_name());
    }
  }
  health_.SetServices({services.begin(), services.end()});
  for (const auto* file : catalogue_.files()) offered_.BuildFile(Offered(*file));  // each after what it imports
  server_.SetReflection(offered_, {services.begin(), services.end()});
  server_.SetAdmission([this](const rpc::Stream& stream, CallContext& call) { return Admit(stream, call); });
  server_.SetFallback([this](const auto& stream) { return pass_through_.Serve(stream); });
}

absl::Status GrpcFace::Admit(const rpc::Stream& stream, CallContext& call) {
  if (absl::StartsWith(stream.path(), "/grpc.health.v1.")) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Caller caller, access_.Admit(CredentialsOf(stream)));
  call.principal = caller.principal;
  call.role = NameOf(caller.role);
  const auto unit = units_.find(stream.path());
  if (unit == units_.end()) return absl::OkStatus();  // AIMAService asks again, about the unit inside
  return Access::Check(caller, unit->second->options.access(), unit->second->name);
}

absl::Status GrpcFace::Start(const std::string& address, std::shared_ptr<boost::asio::ssl::context> tls) {
  RETURN_IF_ERROR(server_.Start(address, std::move(tls)));
  health_.SetServing(true);
  return absl::OkStatus();
}

Task<void> GrpcFace::Shutdown(absl::Time deadline) {
  server_.EndQueryStreams();
  return server_.Shutdown(deadline);
}

}  // namespace aima::gateway
