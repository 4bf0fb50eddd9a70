#include "services/inference/token_count.h"

#include <absl/strings/str_cat.h>

#include <nlohmann/json.hpp>

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/inference/engine_json.h"
#include "services/inference/generation.h"

namespace aima::inference {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxAnswerBytes = 8 << 20;  // vLLM lists the tokens

// An address that counts the tokens of a chat request, and where its answer has the number.
struct Counter {
  const char* path;
  const char* field;
  bool takes_chats;  // as far as is known: others may refuse them (SGLang's /tokenize wants a prompt)
};
constexpr Counter kCounters[] = {{"/v1/chat/completions/input_tokens", "input_tokens", true},
                                 {"/tokenize", "count", false}};

v1::ChatRequest AsChat(const v1::CountTokensRequest& request) {
  v1::ChatRequest chat;
  chat.set_model(request.model());
  *chat.mutable_messages() = request.messages();
  *chat.mutable_tools() = request.tools();
  if (request.has_tool_choice()) *chat.mutable_tool_choice() = request.tool_choice();
  if (request.has_response_format()) *chat.mutable_response_format() = request.response_format();
  if (request.has_engine_options()) *chat.mutable_engine_options() = request.engine_options();
  if (request.has_load()) *chat.mutable_load() = request.load();
  return chat;
}

// The number of an engine's answer; -1 if it has none.
int64_t NumberIn(const std::string& body, const char* field) {
  const Json json = ParseTree(body);
  if (!json.is_object()) return -1;
  const auto found = json.find(field);
  return found != json.end() && found->is_number_unsigned() ? found->get<int64_t>() : -1;
}

// True if the engine does not know the address, rather than the request.
bool IsUnknownAddress(int http_status) { return http_status == 404 || http_status == 405 || http_status == 501; }

// Pictures have as many tokens as the model's eyes make of them, which only reading them tells.
bool HasParts(const v1::CountTokensRequest& request) {
  for (const v1::Message& message : request.messages()) {
    if (message.parts_size() > 0) return true;
  }
  return false;
}

// Asks one address. -1: this engine does not count there.
Task<absl::StatusOr<int64_t>> AskCounter(const CallContext& call, Dispatcher& dispatcher, RequestLog& log,
                                         const v1::ChatRequest& chat, const Counter& counter, std::string& model) {
  const Dialect* dialect = nullptr;
  const Dispatcher::Make make = [&](const Endpoint& engine) -> absl::StatusOr<EngineRequest> {
    ASSIGN_OR_RETURN(dialect, DialectOf(engine));
    ASSIGN_OR_RETURN(EngineRequest request, dialect->Chat(chat, engine));
    request.path = counter.path;
    return request;
  };
  CO_ASSIGN_OR_RETURN(Dispatched dispatched, co_await dispatcher.Send(call, {chat.model(), chat.load()}, Ask::kChat, log, make));
  model = dispatched.lease.model().id;
  const absl::StatusOr<std::string> body = co_await ReadAll(*dispatched.answer, kMaxAnswerBytes);
  if (!body.ok()) co_return co_await dispatched.Broken(body.status());
  const int status = dispatched.answer->status();
  if (status == 200) co_return NumberIn(*body, counter.field);
  if (IsUnknownAddress(status) || (!counter.takes_chats && (status == 400 || status == 422))) co_return -1;
  co_return dialect->ErrorOf(status, *body, dispatched.engine());
}

Task<absl::StatusOr<int64_t>> Count(const CallContext& call, Dispatcher& dispatcher, RequestLog& log,
                                    const v1::CountTokensRequest& request, std::string& model) {
  const v1::ChatRequest chat = AsChat(request);
  for (const Counter& counter : kCounters) {
    CO_ASSIGN_OR_RETURN(const int64_t tokens, co_await AskCounter(call, dispatcher, log, chat, counter, model));
    if (tokens >= 0) co_return tokens;
  }
  co_return -1;
}

}  // namespace

Task<absl::StatusOr<v1::CountTokensResponse>> TokenCount::CountTokens(CallContext& call,
                                                                      const v1::CountTokensRequest& request) {
  v1::CountTokensResponse response;
  response.set_tokens(-1);
  if (!HasParts(request)) {
    RequestLog log(outbox_, call, request.model(), "count_tokens");
    const absl::StatusOr<int64_t> tokens =
        co_await Count(call, dispatcher_, log, request, *response.mutable_model());
    if (!tokens.ok()) co_return log.Failed(tokens.status());
    log.Completed(0);
    response.set_tokens(*tokens);
  }
  if (response.tokens() >= 0) co_return response;
  v1::ChatRequest chat = AsChat(request);
  chat.set_max_tokens(1);
  GenerationRequest asked;
  asked.model = chat.model();
  asked.load = chat.load();
  asked.make = [&chat](const Dialect& dialect, const Endpoint& engine) { return dialect.Chat(chat, engine); };
  asked.sink = [](const Delta&) -> Task<absl::Status> { co_return absl::OkStatus(); };
  CO_ASSIGN_OR_RETURN(const Outcome outcome, co_await Generate(call, dispatcher_, outbox_, std::move(asked)));
  if (outcome.usage.prompt_tokens() == 0) {
    co_return Error(v1::INFERENCE_REQUEST_REFUSED,
                    absl::StrCat("the engine of '", outcome.model, "' does not tell how many tokens it reads"));
  }
  response.set_tokens(outcome.usage.prompt_tokens());
  response.set_model(outcome.model);
  co_return response;
}

}  // namespace aima::inference
