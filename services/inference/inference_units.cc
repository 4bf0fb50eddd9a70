#include "services/inference/inference_units.h"

#include <absl/strings/str_cat.h>

#include <utility>
#include <vector>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/inference/exchange.h"
#include "services/inference/generation.h"
#include "services/inference/shorten.h"

namespace aima::inference {
namespace {

GenerationRequest Asked(const v1::ChatRequest& request) {
  GenerationRequest asked;
  asked.model = request.model();
  asked.load = request.load();
  asked.ask = Ask::kChat;
  asked.make = [&request](const Dialect& dialect, const Endpoint& engine) {
    return dialect.Chat(request, engine);
  };
  return asked;
}

GenerationRequest Asked(const v1::CompleteRequest& request) {
  GenerationRequest asked;
  asked.model = request.model();
  asked.load = request.load();
  asked.ask = Ask::kComplete;
  asked.make = [&request](const Dialect& dialect, const Endpoint& engine) {
    return dialect.Complete(request, engine);
  };
  return asked;
}

template <class Message>
void Report(Outcome& outcome, Message& message) {
  message.set_model(outcome.model);
  message.set_finish_reason(outcome.finish);
  *message.mutable_usage() = outcome.usage;
  *message.mutable_metrics() = outcome.metrics;
}

const google::protobuf::Value* Find(const google::protobuf::Struct& object, const char* key) {
  const auto found = object.fields().find(key);
  return found == object.fields().end() ? nullptr : &found->second;
}

// Engines tell what is wrong with a definition in many ways, and some of them as failures of their own.
void CheckTool(const google::protobuf::Struct& tool, const std::string& path, std::vector<FieldViolation>& wrong) {
  const auto* type = Find(tool, "type");
  if (!type || type->string_value() != "function") wrong.push_back({path + ".type", "must be \"function\""});
  const auto* function = Find(tool, "function");
  if (!function || !function->has_struct_value()) {
    wrong.push_back({path + ".function", "must be an object {name, description, parameters}"});
    return;
  }
  const auto* name = Find(function->struct_value(), "name");
  if (!name || name->string_value().empty()) wrong.push_back({path + ".function.name", "is required, as text"});
  const auto* parameters = Find(function->struct_value(), "parameters");
  if (parameters && !parameters->has_struct_value() && !parameters->has_null_value()) {
    wrong.push_back({path + ".function.parameters", "must be a JSON Schema, which is an object"});
  }
}

absl::Status CheckChat(const v1::ChatRequest& request) {
  std::vector<FieldViolation> wrong;
  if (request.messages_size() == 0 && request.message().empty()) {
    wrong.push_back({"messages", "is required: give messages, or one question as message"});
  }
  for (int i = 0; i < request.tools_size(); ++i) CheckTool(request.tools(i), absl::StrCat("tools[", i, "]"), wrong);
  if (request.has_response_format()) {
    const auto* type = Find(request.response_format(), "type");
    if (!type || type->string_value().empty()) {
      wrong.push_back({"response_format.type", "is required, such as \"json_object\" or \"json_schema\""});
    } else if (const auto* schema = Find(request.response_format(), "json_schema");
               type->string_value() == "json_schema" && !(schema && schema->has_struct_value())) {
      wrong.push_back({"response_format.json_schema", "must be an object {name, schema}"});
    }
  }
  return wrong.empty() ? absl::OkStatus() : InvalidInput(std::move(wrong));
}

}  // namespace

Task<absl::StatusOr<v1::ChatResponse>> InferenceUnits::Chat(CallContext& call, const v1::ChatRequest& request) {
  CO_RETURN_IF_ERROR(CheckChat(request));
  v1::ChatResponse response;
  GenerationRequest asked = Asked(request);
  asked.sink = [&response](const Delta& delta) -> Task<absl::Status> {
    response.mutable_content()->append(delta.text);
    if (!delta.reasoning.empty()) response.mutable_reasoning_content()->append(delta.reasoning);
    co_return absl::OkStatus();
  };
  CO_ASSIGN_OR_RETURN(Outcome outcome, co_await Generate(call, dispatcher_, outbox_, std::move(asked)));
  Report(outcome, response);
  if (!outcome.stop_text.empty()) response.set_stop_text(outcome.stop_text);
  for (v1::ToolCall& tool : outcome.tool_calls) *response.add_tool_calls() = std::move(tool);
  co_return response;
}

Task<absl::Status> InferenceUnits::ChatStream(CallContext& call, const v1::ChatRequest& request,
                                              StreamWriter<v1::ChatChunk>& out) {
  CO_RETURN_IF_ERROR(CheckChat(request));
  GenerationRequest asked = Asked(request);
  v1::ChatChunk chunk;
  asked.sink = [&out, &chunk](const Delta& delta) -> Task<absl::Status> {
    chunk.clear_usage();
    if (delta.read) *chunk.mutable_usage() = *delta.read;
    chunk.clear_tool_call_deltas();
    for (const ToolPiece& piece : delta.tools) {
      v1::ToolCallDelta& tool = *chunk.add_tool_call_deltas();
      tool.set_index(piece.index);
      tool.set_id(piece.id);
      tool.set_name(piece.name);
      tool.set_arguments(piece.arguments);
    }
    chunk.set_content(delta.text);
    if (delta.reasoning.empty()) {
      chunk.clear_reasoning_content();
    } else {
      chunk.set_reasoning_content(delta.reasoning);
    }
    co_return co_await out.Write(chunk);
  };
  CO_ASSIGN_OR_RETURN(Outcome outcome, co_await Generate(call, dispatcher_, outbox_, std::move(asked)));
  v1::ChatChunk last;
  Report(outcome, last);
  if (!outcome.stop_text.empty()) last.set_stop_text(outcome.stop_text);
  for (v1::ToolCall& tool : outcome.tool_calls) *last.add_tool_calls() = std::move(tool);
  co_return co_await out.Write(last);
}

Task<absl::StatusOr<v1::CompleteResponse>> InferenceUnits::Complete(CallContext& call,
                                                                    const v1::CompleteRequest& request) {
  v1::CompleteResponse response;
  GenerationRequest asked = Asked(request);
  asked.sink = [&response](const Delta& delta) -> Task<absl::Status> {
    response.mutable_text()->append(delta.text);
    co_return absl::OkStatus();
  };
  CO_ASSIGN_OR_RETURN(Outcome outcome, co_await Generate(call, dispatcher_, outbox_, std::move(asked)));
  Report(outcome, response);
  co_return response;
}

Task<absl::Status> InferenceUnits::CompleteStream(CallContext& call, const v1::CompleteRequest& request,
                                                  StreamWriter<v1::CompleteChunk>& out) {
  GenerationRequest asked = Asked(request);
  v1::CompleteChunk chunk;
  asked.sink = [&out, &chunk](const Delta& delta) -> Task<absl::Status> {
    chunk.set_text(delta.text);
    co_return co_await out.Write(chunk);
  };
  CO_ASSIGN_OR_RETURN(Outcome outcome, co_await Generate(call, dispatcher_, outbox_, std::move(asked)));
  v1::CompleteChunk last;
  Report(outcome, last);
  co_return co_await out.Write(last);
}

Task<absl::StatusOr<v1::EmbedResponse>> InferenceUnits::Embed(CallContext& call, const v1::EmbedRequest& request) {
  RequestLog log(outbox_, call, request.model(), AskName(Ask::kEmbed));
  absl::StatusOr<v1::EmbedResponse> response = co_await AskWhole<v1::EmbedResponse>(
      call, dispatcher_, log, {request.model(), request.load()}, Ask::kEmbed,
      [&](const Dialect& dialect, const Endpoint& engine) { return dialect.Embed(request, engine); });
  if (response.ok() && response->embeddings_size() != request.input_size()) {
    response = Error(v1::INFERENCE_ENGINE_FAILED,
                     absl::StrCat("the engine of '", response->model(), "' made ", response->embeddings_size(),
                                  " embeddings of ", request.input_size(), " texts"));
  }
  if (response.ok() && request.has_dimensions()) {
    if (absl::Status fits = Shorten(*response, request.dimensions()); !fits.ok()) response = std::move(fits);
  }
  if (!response.ok()) co_return log.Failed(response.status());
  log.Completed(response->usage().total_tokens());
  co_return response;
}

Task<absl::StatusOr<v1::ModelsResponse>> InferenceUnits::Models(CallContext& call,
                                                                const v1::ModelsRequest& request) {
  CO_ASSIGN_OR_RETURN(const std::vector<ModelRecord> models, co_await router_.catalog().All(call));
  // Without the engine service, what was last heard of it is told.
  (co_await router_.Refresh(call)).IgnoreError();
  v1::ModelsResponse response;
  for (const ModelRecord& record : models) {
    const Router::Load load = router_.LoadOf(record.id);
    if (!record.ready && load.replicas.empty()) continue;
    if (request.type() != v1::MODEL_TYPE_UNSPECIFIED && request.type() != record.type) continue;
    v1::Model& model = *response.add_models();
    model.set_id(record.id);
    model.set_name(record.name);
    model.set_type(record.type);
    model.set_running(!load.replicas.empty());
    model.set_queued(load.queued);
    model.set_description(record.description);
    for (const auto& replica : load.replicas) {
      model.set_in_flight(model.in_flight() + replica->in_flight);
      v1::Instance& instance = *model.add_instances();
      instance.set_instance_id(replica->endpoint.instance_id);
      instance.set_engine(replica->endpoint.engine);
      instance.set_in_flight(replica->in_flight);
      instance.set_max_concurrent(replica->endpoint.max_concurrent);
    }
  }
  co_return response;
}

Task<absl::StatusOr<v1::MakeRoomResponse>> InferenceUnits::MakeRoom(CallContext& call,
                                                                    const v1::MakeRoomRequest& request) {
  CO_ASSIGN_OR_RETURN(const Loader::Room room, co_await router_.loader().MakeIdleRoom(call, request.memory_bytes(),
                                                                                      request.only_look()));
  v1::MakeRoomResponse response;
  const auto fill = [](const std::vector<EngineTable::Used>& from, auto& to) {
    for (const EngineTable::Used& one : from) {
      v1::IdleEngine& engine = *to.Add();
      engine.set_instance_id(one.instance_id);
      engine.set_memory_bytes(one.memory);
    }
  };
  fill(room.engines, *response.mutable_engines());
  fill(room.unloaded, *response.mutable_unloaded());
  response.set_enough(room.enough);
  co_return response;
}

Task<absl::Status> InferenceUnits::Forward(CallContext& call, const v1::ForwardRequest& request,
                                           StreamWriter<v1::ForwardChunk>& out) {
  return openai_.Serve(call, request, out);
}

}  // namespace aima::inference
