#include "services/inference/openai_body.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "aima/inference/v1/inference.pb.h"
#include "libs/base/status_macros.h"
#include "libs/base/utf8.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"
#include "services/inference/json_cursor.h"
#include "services/inference/openai_dialect.h"

namespace aima::inference {

absl::Status CheckModelName(std::string_view name) {
  static const unit::v1::Rules& rules =
      v1::ChatRequest::descriptor()->FindFieldByName("model")->options().GetExtension(unit::v1::rules);
  if (name.empty()) return InvalidInput("model", "is required");
  if (name.size() > rules.max_len()) {
    return InvalidInput("model", absl::StrCat("has ", name.size(), " bytes, at most ", rules.max_len(), " are allowed"));
  }
  if (ValidUtf8(std::string(name)) != name) return InvalidInput("model", "must be UTF-8");
  return absl::OkStatus();
}

absl::StatusOr<RequestScan> ScanRequest(std::string_view body) {
  RequestScan scan;
  JsonCursor json(body);
  if (!json.EnterObject()) return InvalidInput("body", "must be a JSON object");
  scan.first_member = json.position();
  std::string_view written;
  while (json.NextKey(written)) {
    std::string key;
    if (!AppendUnescaped(written, key)) return InvalidInput("body", "has a key with a malformed escape");
    const char first = json.Peek();
    const size_t begin = json.position();
    const std::string_view value = json.Skip();
    Span* span = key == "model"            ? &scan.model_at
                 : key == "stream"         ? &scan.stream_at
                 : key == "stream_options" ? &scan.stream_options_at
                                           : nullptr;
    if (span == nullptr) continue;
    if (span->there()) return InvalidInput(key, "is given twice");
    *span = {begin, json.position()};
    if (key == "model") {
      if (first != '"' || !AppendUnescaped(Inside(value), scan.model)) {
        return InvalidInput("model", "must be a string");
      }
    } else if (key == "stream") {
      if (value != "true" && value != "false" && value != "null")
        return InvalidInput("stream", "must be true or false");
      scan.stream = value == "true";
    }
  }
  if (json.failed() || json.Peek() != '\0') {
    // Read once more, for the place and in the words of the other interfaces.
    if (absl::Status why = ParseJsonText(body).status(); !why.ok()) return why;
    return InvalidInput("body",
                        absl::StrCat("is not well-formed JSON, or nested deeper than ", JsonCursor::kMaxDepth));
  }
  RETURN_IF_ERROR(CheckModelName(scan.model));
  return scan;
}

std::string EngineBody(std::string body, const RequestScan& scan, const std::string& served_name,
                       bool ask_for_stream) {
  std::vector<std::pair<Span, std::string>> edits;
  if (scan.model != served_name) {
    std::string name;
    AppendJsonString(served_name, name);
    edits.emplace_back(scan.model_at, std::move(name));
  }
  if (ask_for_stream) {
    std::string added;
    if (scan.stream_at.there()) {
      edits.emplace_back(scan.stream_at, "true");
    } else {
      added += R"("stream":true,)";
    }
    if (scan.stream_options_at.there()) {
      edits.emplace_back(scan.stream_options_at, R"({"include_usage":true})");
    } else {
      added += R"("stream_options":{"include_usage":true},)";
    }
    if (!added.empty()) edits.emplace_back(Span{scan.first_member, scan.first_member}, std::move(added));
  }
  if (edits.empty()) return body;
  std::sort(edits.begin(), edits.end(),
            [](const auto& a, const auto& b) { return a.first.begin < b.first.begin; });
  std::string out;
  out.reserve(body.size() + 128);
  size_t copied = 0;
  for (const auto& [span, text] : edits) {
    out.append(body, copied, span.begin - copied);
    out += text;
    copied = span.end;
  }
  out.append(body, copied);
  return out;
}

std::string& AnswerAssembler::At(Members& members, std::string_view key) {
  for (auto& [name, value] : members) {
    if (name == key) return value;
  }
  return members.emplace_back(std::string(key), "").second;
}

absl::Status AnswerAssembler::Add(std::string_view piece, const Endpoint& engine) {
  JsonCursor json(piece);
  std::string_view key;
  bool known = false;
  std::string_view error;
  if (json.EnterObject()) {
    while (json.NextKey(key)) {
      if (key == "choices" && json.EnterList()) {
        known = true;
        while (json.NextItem()) AddChoice(json);
      } else if (key == "usage") {
        const std::string_view usage = json.Skip();
        if (usage != "null") usage_ = usage;
      } else if (key == "error") {
        error = json.Skip();
      } else if (key == "object") {
        json.Skip();
      } else {
        At(fields_, key) = json.Skip();
      }
    }
  }
  if (known && !json.failed() && (error.empty() || error == "null")) return absl::OkStatus();
  return ErrorInPiece(piece, engine);
}

void AnswerAssembler::AddChoice(JsonCursor& json) {
  if (!json.EnterObject()) {
    json.Skip();
    return;
  }
  // The index may come after what it belongs to.
  Choice added;
  int index = 0;
  std::string_view key;
  std::string_view raw;
  Choice* choice = &added;
  JsonCursor look = json;
  while (look.NextKey(key)) {
    raw = look.Skip();
    if (key == "index") index = std::atoi(std::string(raw).c_str());
  }
  choice = &choices_[index];
  while (json.NextKey(key)) {
    if (key == "delta" && json.EnterObject()) {
      AddDelta(json, *choice);
    } else if (key == "text" && json.Peek() == '"') {
      At(choice->texts, "text").append(Inside(json.Skip()));
    } else if (key == "finish_reason") {
      raw = json.Skip();
      if (raw != "null") choice->finish_reason = raw;
    } else if (key == "logprobs" && json.EnterObject()) {
      AddLogprobs(json, *choice);
    } else {
      json.Skip();
    }
  }
}

// Texts are joined as they are written: what is escaped stays escaped.
void AnswerAssembler::AddDelta(JsonCursor& json, Choice& choice) {
  std::string_view key;
  while (json.NextKey(key)) {
    if (key == "tool_calls" && json.EnterList()) {
      while (json.NextItem()) AddTool(json, choice);
      continue;
    }
    const bool is_text = json.Peek() == '"';
    const std::string_view raw = json.Skip();
    if (!is_text || raw.size() < 2) continue;
    std::string& text = At(choice.texts, key);
    if (key == "role") text.clear();
    text.append(Inside(raw));
  }
}

void AnswerAssembler::AddTool(JsonCursor& json, Choice& choice) {
  Tool piece;
  int index = 0;
  std::string_view key;
  if (!json.EnterObject()) {
    json.Skip();
    return;
  }
  while (json.NextKey(key)) {
    if (key == "index") {
      index = std::atoi(std::string(json.Skip()).c_str());
    } else if (key == "function" && json.EnterObject()) {
      while (json.NextKey(key)) {
        const std::string_view raw = json.Skip();
        if (key == "name") piece.name += Inside(raw);
        if (key == "arguments") piece.arguments += Inside(raw);
      }
    } else {
      At(piece.fields, key) = json.Skip();
    }
  }
  Tool& tool = choice.tools[index];
  for (auto& [name, value] : piece.fields) At(tool.fields, name) = std::move(value);
  tool.name += piece.name;
  tool.arguments += piece.arguments;
}

void AnswerAssembler::AddLogprobs(JsonCursor& json, Choice& choice) {
  std::string_view key;
  while (json.NextKey(key)) {
    std::string_view raw = json.Skip();
    if (raw.size() < 2 || raw[0] != '[') continue;
    std::string& list = At(choice.logprobs, key);
    raw = raw.substr(1, raw.size() - 2);
    if (!raw.empty() && !list.empty()) list += ',';
    list += raw;
  }
}

bool AnswerAssembler::complete() const {
  return !choices_.empty() && std::all_of(choices_.begin(), choices_.end(),
                                          [](const auto& choice) { return !choice.second.finish_reason.empty(); });
}

void AnswerAssembler::AppendChoice(int index, const Choice& choice, std::string& out) const {
  absl::StrAppend(&out, "{\"index\":", index, ",");
  if (object_ == "text_completion") {
    std::string text;
    for (const auto& [key, value] : choice.texts) {
      if (key == "text") text = value;
    }
    absl::StrAppend(&out, "\"text\":\"", text, "\"");
  } else {
    std::string role = "assistant";
    bool content = false;
    for (const auto& [key, value] : choice.texts) {
      if (key == "role") role = value;
      if (key == "content") content = true;
    }
    absl::StrAppend(&out, "\"message\":{\"role\":\"", role, "\"");
    if (!content) absl::StrAppend(&out, ",\"content\":", choice.tools.empty() ? "\"\"" : "null");
    for (const auto& [key, value] : choice.texts) {
      if (key != "role") absl::StrAppend(&out, ",\"", key, "\":\"", value, "\"");
    }
    if (!choice.tools.empty()) out += ",\"tool_calls\":[";
    for (auto it = choice.tools.begin(); it != choice.tools.end(); ++it) {
      if (it != choice.tools.begin()) out += ',';
      out += '{';
      for (const auto& [key, value] : it->second.fields) absl::StrAppend(&out, "\"", key, "\":", value, ",");
      absl::StrAppend(&out, "\"function\":{\"name\":\"", it->second.name, "\",\"arguments\":\"",
                      it->second.arguments, "\"}}");
    }
    if (!choice.tools.empty()) out += ']';
    out += '}';
  }
  out += ",\"logprobs\":";
  if (choice.logprobs.empty()) {
    out += "null";
  } else {
    char open = '{';
    for (const auto& [key, value] : choice.logprobs) {
      absl::StrAppend(&out, absl::string_view(&open, 1), "\"", key, "\":[", value, "]");
      open = ',';
    }
    out += '}';
  }
  absl::StrAppend(&out, ",\"finish_reason\":", choice.finish_reason.empty() ? "null" : choice.finish_reason, "}");
}

std::string AnswerAssembler::Finish() const {
  std::string out = absl::StrCat("{\"object\":\"", object_, "\"");
  for (const auto& [key, value] : fields_) absl::StrAppend(&out, ",\"", key, "\":", value);
  out += ",\"choices\":[";
  for (const auto& [index, choice] : choices_) {
    if (out.back() != '[') out += ',';
    AppendChoice(index, choice, out);
  }
  out += ']';
  if (!usage_.empty()) absl::StrAppend(&out, ",\"usage\":", usage_);
  out += '}';
  return out;
}

std::string OpenAiErrorBody(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  const int http_status = HttpStatusOf(status);
  const char* type = http_status == 401   ? "authentication_error"
                     : http_status == 403 ? "permission_error"
                     : http_status == 429 ? "rate_limit_error"
                     : http_status < 500  ? "invalid_request_error"
                                          : "server_error";
  std::string code = absl::AsciiStrToLower(details.reason);
  std::string param;
  if (HasReason(status, v1::INFERENCE_CONTEXT_TOO_LONG)) {
    code = "context_length_exceeded";
    const auto input = details.metadata.find("param");
    param = input == details.metadata.end() ? "messages" : input->second;
  } else if (HasReason(status, v1::INFERENCE_MODEL_NOT_FOUND)) {
    code = "model_not_found";
    param = "model";
  } else if (!details.violations.empty()) {
    param = details.violations[0].field;
  }
  std::string message = details.message;
  if (!details.violations.empty() && !absl::StrContains(message, details.violations[0].description)) {
    absl::StrAppend(&message, ": ", details.violations[0].field, " ", details.violations[0].description);
  }
  std::string out = R"({"error":{"message":)";
  AppendJsonString(message, out);
  absl::StrAppend(&out, ",\"type\":\"", type, "\",\"param\":");
  if (param.empty()) {
    out += "null";
  } else {
    AppendJsonString(param, out);
  }
  out += ",\"code\":";
  AppendJsonString(code, out);
  out += "}}";
  return out;
}

}  // namespace aima::inference
