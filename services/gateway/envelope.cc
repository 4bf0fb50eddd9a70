#include "services/gateway/envelope.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include "libs/errors/errors.h"
#include "libs/unit/json_codec.h"

namespace aima::gateway {
namespace {

void AppendText(const char* key, std::string_view text, std::string& out) {
  absl::StrAppend(&out, "\"", key, "\":");
  AppendJsonString(text, out);
}

void AppendMeta(const Meta& meta, const Pagination& page, std::string& out) {
  absl::StrAppend(&out, ",\"meta\":{");
  AppendText("request_id", meta.request_id, out);
  absl::StrAppend(&out, ",\"duration_ms\":", absl::ToInt64Milliseconds(absl::Now() - meta.start), ",");
  AppendText("trace_id", meta.trace_id, out);
  if (page.present) {
    absl::StrAppend(&out, ",\"pagination\":{");
    const char* comma = "";
    for (const auto& [key, value] : {std::pair("total", page.total), {"limit", page.limit}, {"offset", page.offset}}) {
      if (value < 0) continue;
      absl::StrAppend(&out, comma, "\"", key, "\":", value);
      comma = ",";
    }
    if (!page.next_page_token.empty()) {
      out += comma;
      AppendText("next_page_token", page.next_page_token, out);
    }
    out += '}';
  }
  out += '}';
}

// MODEL_NOT_FOUND as "Model not found".
std::string InWords(std::string reason) {
  for (size_t i = 0; i < reason.size(); ++i) {
    reason[i] = reason[i] == '_' ? ' ' : i > 0 ? absl::ascii_tolower(reason[i]) : reason[i];
  }
  return reason;
}

}  // namespace

std::string SuccessEnvelope(const Output& output, const Meta& meta) {
  std::string text;
  text.reserve(output.json.size() + 200);
  absl::StrAppend(&text, "{\"success\":true,\"data\":", output.json);
  AppendMeta(meta, output.pagination, text);
  text += '}';
  return text;
}

std::string ErrorJson(const absl::Status& status) {
  const ErrorDetails details = DetailsOf(status);
  std::string text = "{";
  AppendText("code", details.reason, text);
  text += ',';
  AppendText("message", details.message, text);
  text += ",\"details\":{";
  AppendText("remedy", details.remedy, text);
  absl::StrAppend(&text, ",\"retryable\":", details.retryable ? "true" : "false");
  for (const auto& [key, value] : details.metadata) {
    if (key == "remedy" || key == "retryable" || key == "fields") continue;
    text += ',';
    AppendJsonString(key, text);
    text += ':';
    AppendJsonString(value, text);
  }
  if (!details.violations.empty()) {
    text += ",\"fields\":[";
    for (size_t i = 0; i < details.violations.size(); ++i) {
      text += i ? ",{" : "{";
      AppendText("field", details.violations[i].field, text);
      text += ',';
      AppendText("description", details.violations[i].description, text);
      text += '}';
    }
    text += ']';
  }
  text += "}}";
  return text;
}

std::string ErrorEnvelope(const absl::Status& status, const Meta& meta, int http_status) {
  const ErrorDetails details = DetailsOf(status);
  std::string text = "{";
  AppendText("type", "/docs#error-" + details.reason, text);
  text += ',';
  AppendText("title", InWords(details.reason), text);
  absl::StrAppend(&text, ",\"status\":", http_status ? http_status : HttpStatusOf(status), ",");
  AppendText("detail", details.message, text);
  absl::StrAppend(&text, ",\"success\":false,\"error\":", ErrorJson(status));
  AppendMeta(meta, {}, text);
  text += '}';
  return text;
}

http::Response SuccessResponse(const Output& output, const Meta& meta, int status) {
  http::Response response;
  response.status = status;
  response.headers.Add("Content-Type", "application/json");
  response.headers.Add("X-Request-Id", meta.request_id);
  response.body = SuccessEnvelope(output, meta);
  return response;
}

http::Response ErrorResponse(const absl::Status& status, const Meta& meta, int http_status) {
  http::Response response;
  response.status = http_status ? http_status : HttpStatusOf(status);
  response.headers.Add("Content-Type", "application/problem+json");
  response.headers.Add("X-Request-Id", meta.request_id);
  const ErrorDetails details = DetailsOf(status);
  if (const auto wait = details.metadata.find("retry_after_s"); wait != details.metadata.end()) {
    response.headers.Add("Retry-After", wait->second);
  } else if (response.status == 429 || response.status == 503) {
    response.headers.Add("Retry-After", "1");
  }
  if (const auto allow = details.metadata.find("allow"); allow != details.metadata.end()) {
    response.headers.Add("Allow", allow->second);
  }
  if (response.status == 401) response.headers.Add("WWW-Authenticate", "Bearer");
  response.body = ErrorEnvelope(status, meta, response.status);
  return response;
}

}  // namespace aima::gateway
