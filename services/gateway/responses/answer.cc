#include "services/gateway/responses/answer.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include "libs/base/ids.h"
#include "libs/errors/errors.h"
#include "libs/http/sse.h"
#include "services/gateway/json_fields.h"
#include "services/gateway/openai_error.h"

namespace aima::gateway::responses {
namespace {

using Json = nlohmann::json;

std::string TextOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t NumberOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<int64_t>() : 0;
}

Json ListOf(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_array() ? *found : Json::array();
}

Json UsageOf(const Json& answer) {
  const Json usage = answer.value("usage", Json::object());
  return {{"input_tokens", NumberOf(usage, "prompt_tokens")},
          {"input_tokens_details", {{"cached_tokens", NumberOf(usage, "cached_tokens")}}},
          {"output_tokens", NumberOf(usage, "completion_tokens")},
          {"output_tokens_details", {{"reasoning_tokens", 0}}},
          {"total_tokens", NumberOf(usage, "total_tokens")}};
}

// Why an answer is not whole; null if it is.
Json IncompleteDetails(const Json& answer) {
  const std::string reason = TextOf(answer, "finish_reason");
  if (reason == "length") return {{"reason", "max_output_tokens"}};
  if (reason == "content_filter") return {{"reason", "content_filter"}};
  return nullptr;
}

Json TextPart(const std::string& text) {
  return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
}

Json ThoughtsPart(const std::string& text) { return {{"type", "reasoning_text"}, {"text", text}}; }

Json MessageItem() {
  return {{"id", NewId("msg_")}, {"type", "message"}, {"role", "assistant"}, {"content", Json::array()}};
}

Json ThoughtsItem() {
  return {{"id", NewId("rs_")}, {"type", "reasoning"}, {"summary", Json::array()}, {"content", Json::array()}};
}

Json CallItem(const Json& call) {
  const std::string id = TextOf(call, "id");
  return {{"id", NewId("fc_")},
          {"type", "function_call"},
          {"call_id", id.empty() ? NewId("call_") : id},
          {"name", TextOf(call, "name")},
          {"arguments", ""}};
}

// A response without its output.
Json Frame(const std::string& id, const Json& request, int64_t created_at, const char* status) {
  Json response = {{"id", id},
                   {"object", "response"},
                   {"created_at", created_at},
                   {"status", status},
                   {"background", false},
                   {"error", nullptr},
                   {"incomplete_details", nullptr},
                   {"previous_response_id", nullptr},
                   {"service_tier", "default"},
                   {"store", false},
                   {"truncation", "disabled"},
                   {"usage", nullptr},
                   {"output", Json::array()}};
  response.update(request);
  return response;
}

}  // namespace

Json ResponseOf(const Json& answer, const std::string& id, const Json& request) {
  const Json incomplete = IncompleteDetails(answer);
  const char* status = incomplete.is_null() ? "completed" : "incomplete";
  Json response = Frame(id, request, absl::ToUnixSeconds(absl::Now()), status);
  response["incomplete_details"] = incomplete;
  response["usage"] = UsageOf(answer);
  Json& output = response["output"];
  const auto add = [&output, status](Json item) {
    item["status"] = status;
    output.push_back(std::move(item));
  };
  if (const std::string thoughts = TextOf(answer, "reasoning_content"); !thoughts.empty()) {
    Json item = ThoughtsItem();
    item["content"].push_back(ThoughtsPart(thoughts));
    add(std::move(item));
  }
  if (const std::string text = TextOf(answer, "content"); !text.empty()) {
    Json item = MessageItem();
    item["content"].push_back(TextPart(text));
    add(std::move(item));
  }
  for (const Json& call : ListOf(answer, "tool_calls")) {
    Json item = CallItem(call);
    item["arguments"] = TextOf(call, "arguments");
    add(std::move(item));
  }
  return response;
}

ResponseStream::ResponseStream(std::string id, Json request)
    : id_(std::move(id)), request_(std::move(request)), created_at_(absl::ToUnixSeconds(absl::Now())) {}

void ResponseStream::Event(const char* type, Json event, std::string& out) {
  event["type"] = type;
  event["sequence_number"] = number_++;
  out += http::FormatSse(type, DumpJson(event));
}

Json ResponseStream::Now(const char* status) const {
  Json response = Frame(id_, request_, created_at_, status);
  response["output"] = output_;
  return response;
}

void ResponseStream::Begin(std::string& out) {
  Event("response.created", {{"response", Now("in_progress")}}, out);
  Event("response.in_progress", {{"response", Now("in_progress")}}, out);
}

void ResponseStream::Open(Item kind, Json item, std::string& out) {
  Close("completed", out);
  open_ = kind;
  item_ = std::move(item);
  item_["status"] = "in_progress";
  text_.clear();
  Event("response.output_item.added", {{"output_index", output_.size()}, {"item", item_}}, out);
  if (kind == Item::kCall) return;
  const Json part = kind == Item::kText ? TextPart("") : ThoughtsPart("");
  Event("response.content_part.added",
        {{"item_id", item_["id"]}, {"output_index", output_.size()}, {"content_index", 0}, {"part", part}}, out);
}

void ResponseStream::Close(const char* status, std::string& out) {
  if (open_ == Item::kNone) return;
  const Json at = {{"item_id", item_["id"]}, {"output_index", output_.size()}};
  if (open_ == Item::kCall) {
    Json done = at;
    done["arguments"] = text_;
    done["name"] = item_["name"];
    Event("response.function_call_arguments.done", std::move(done), out);
    item_["arguments"] = text_;
  } else {
    const bool text = open_ == Item::kText;
    const Json part = text ? TextPart(text_) : ThoughtsPart(text_);
    Json done = at;
    done["content_index"] = 0;
    done["text"] = text_;
    if (text) done["logprobs"] = Json::array();
    Event(text ? "response.output_text.done" : "response.reasoning_text.done", std::move(done), out);
    Json ended = at;
    ended["content_index"] = 0;
    ended["part"] = part;
    Event("response.content_part.done", std::move(ended), out);
    item_["content"].push_back(part);
  }
  item_["status"] = status;
  Event("response.output_item.done", {{"output_index", output_.size()}, {"item", item_}}, out);
  output_.push_back(std::move(item_));
  open_ = Item::kNone;
}

void ResponseStream::AddText(Item kind, const std::string& text, std::string& out) {
  if (text.empty()) return;
  if (open_ != kind) Open(kind, kind == Item::kText ? MessageItem() : ThoughtsItem(), out);
  text_ += text;
  Json delta = {{"item_id", item_["id"]}, {"output_index", output_.size()}, {"content_index", 0}, {"delta", text}};
  if (kind == Item::kText) delta["logprobs"] = Json::array();
  Event(kind == Item::kText ? "response.output_text.delta" : "response.reasoning_text.delta", std::move(delta), out);
}

void ResponseStream::AddArguments(const std::string& arguments, std::string& out) {
  if (arguments.empty()) return;
  text_ += arguments;
  Event("response.function_call_arguments.delta",
        {{"item_id", item_["id"]}, {"output_index", output_.size()}, {"delta", arguments}}, out);
}

void ResponseStream::AddCallPart(const Json& part, std::string& out) {
  const int index = static_cast<int>(NumberOf(part, "index"));
  std::string arguments = TextOf(part, "arguments");
  if (index != call_ || open_ != Item::kCall) {
    if (index < call_) return;  // of an item that has ended: engines make one call after the other
    if (TextOf(part, "name").empty()) {
      nameless_ += arguments;
      return;
    }
    Open(Item::kCall, CallItem(part), out);
    call_ = index;
    arguments.insert(0, std::exchange(nameless_, ""));
  }
  AddArguments(arguments, out);
}

// Engines that tell calls only as a whole.
void ResponseStream::AddMissingCalls(const Json& calls, std::string& out) {
  for (int i = 0; i < static_cast<int>(calls.size()); ++i) {
    const std::string arguments = TextOf(calls[i], "arguments");
    if (i > call_) {
      nameless_.clear();
      Json whole = calls[i];
      whole["index"] = i;
      AddCallPart(whole, out);
    } else if (i == call_ && open_ == Item::kCall && arguments.size() > text_.size()) {
      AddArguments(arguments.substr(text_.size()), out);
    }
  }
}

void ResponseStream::Add(const Json& chunk, std::string& out) {
  AddText(Item::kThoughts, TextOf(chunk, "reasoning_content"), out);
  AddText(Item::kText, TextOf(chunk, "content"), out);
  for (const Json& part : ListOf(chunk, "tool_call_deltas")) AddCallPart(part, out);
  if (!chunk.contains("finish_reason")) return;
  AddMissingCalls(ListOf(chunk, "tool_calls"), out);
  end_ = chunk;
}

void ResponseStream::End(std::string& out) {
  if (!end_.is_object()) return Fail(absl::InternalError("the answer ended without saying why"), out);
  const Json incomplete = IncompleteDetails(end_);
  const char* status = incomplete.is_null() ? "completed" : "incomplete";
  Close(status, out);
  Json response = Now(status);
  response["incomplete_details"] = incomplete;
  response["usage"] = UsageOf(end_);
  Event(incomplete.is_null() ? "response.completed" : "response.incomplete", {{"response", std::move(response)}}, out);
}

void ResponseStream::Fail(const absl::Status& status, std::string& out) {
  Json error = OpenAiErrorBody(status, HttpStatusOf(status))["error"];
  Json event = {{"error", error}, {"code", error["code"]}, {"message", error["message"]}, {"param", error["param"]}};
  Event("error", std::move(event), out);
  Json response = Now("failed");
  response["error"] = {{"code", "server_error"}, {"message", error["message"]}};
  Event("response.failed", {{"response", std::move(response)}}, out);
}

}  // namespace aima::gateway::responses
