#include "services/gateway/fuzz/answer_check.h"

#include <absl/strings/match.h>
#include <absl/strings/str_split.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "libs/http/parser.h"
#include "libs/http/sse.h"

namespace aima::gateway {
namespace {

using nlohmann::json;

[[noreturn]] void Fail(const char* what, const std::string& answer) {
  std::fprintf(stderr, "%s:\n%s\n", what, answer.substr(0, 4000).c_str());
  std::abort();
}

std::string TypeOf(const json& event) { return event.is_object() ? event.value("type", "") : ""; }

// Blocks come one after another, each with what it has between its start and its stop, and nothing comes after the end.
void CheckMessages(const std::vector<json>& events, const std::string& answer) {
  int next = 0;
  bool open = false;
  bool ended = false;
  for (size_t i = 0; i < events.size(); ++i) {
    const std::string type = TypeOf(events[i]);
    if (ended) Fail("something after the end of a message", answer);
    if ((type == "message_start") != (i == 0)) Fail("a message does not start with its start", answer);
    if (type == "content_block_start" && (open || events[i]["index"] != next)) Fail("a block in a block", answer);
    const bool inside = type == "content_block_delta" || type == "content_block_stop";
    if (inside && (!open || events[i]["index"] != next)) Fail("a piece of no block", answer);
    if (type == "content_block_start") open = true;
    if (type == "content_block_stop") open = false, ++next;
    if (type == "message_delta" && open) Fail("the end of a message in a block", answer);
    ended = type == "message_stop" || type == "error";
  }
}

// Items come one after another, and all is counted.
void CheckResponse(const std::vector<json>& events, const std::string& answer) {
  int item = 0;
  bool open = false;
  for (size_t i = 0; i < events.size(); ++i) {
    if (events[i]["sequence_number"] != i) Fail("an event of a response is counted wrongly", answer);
    const std::string type = TypeOf(events[i]);
    if (type == "response.output_item.added" && (open || events[i]["output_index"] != item)) Fail("an item in an item", answer);
    if (type == "response.output_item.added") open = true;
    if (events[i].contains("output_index") && (!open || events[i]["output_index"] != item)) Fail("a piece of no item", answer);
    if (type == "response.output_item.done") open = false, ++item;
    if (type == "response.completed" && (open || events[i]["response"]["output"].size() != static_cast<size_t>(item))) {
      Fail("a response without its items", answer);
    }
  }
}

void CheckEvents(const std::string& body, const std::string& answer) {
  http::SseParser parser;
  parser.Push(body);
  std::vector<json> events;
  while (const auto event = parser.Next()) {
    events.push_back(json::parse(event->data, nullptr, false));
    if (events.back().is_discarded()) Fail("an event is no JSON", answer);
    if (TypeOf(events.back()) == "ping") events.pop_back();
  }
  if (events.empty()) return;
  const std::string first = TypeOf(events[0]);
  if (first == "message_start") CheckMessages(events, answer);
  if (first == "response.created") CheckResponse(events, answer);
}

void CheckBody(const http::Response& response, const std::string& answer) {
  const std::string type(response.headers.Get("Content-Type"));
  if (type == "text/event-stream") return CheckEvents(response.body, answer);
  if (type == "application/x-ndjson") {
    std::vector<std::string> lines = absl::StrSplit(response.body, '\n');
    lines.pop_back();
    for (const std::string& line : lines) {
      if (!json::accept(line)) Fail("a line is no JSON", answer);
    }
    return;
  }
  if (type != "application/json" && type != "application/problem+json") return;
  if (response.headers.Find("Content-Encoding")) return;
  const json body = json::parse(response.body, nullptr, false);
  if (body.is_discarded()) Fail("an answer is no JSON", answer);
  if (type == "application/json") return;
  if (!body.is_object() || body.value("status", 0) != response.status) Fail("not a problem", answer);
}

}  // namespace

void CheckAnswer(const std::string& answer, bool ours) {
  if (answer.empty()) return;
  http::Parser<false> parser(64);
  parser.eager(true);
  http::Parser<false>::Error error;
  boost::beast::http::basic_parser<false>& base = parser;
  base.body_limit(boost::none);
  size_t used = 0;
  while (used < answer.size() && !parser.is_done()) {
    const size_t taken = base.put(boost::asio::buffer(answer.data() + used, answer.size() - used), error);
    used += taken;
    if (error == boost::beast::http::error::need_more || taken == 0) break;
    if (error) Fail("not an HTTP answer", answer);
  }
  const http::Response& response = parser.message();
  if (response.status == 500) Fail("a defect", answer);
  // After HEAD there is no body: what looks like one is the next answer.
  if (!ours || !parser.is_done() || absl::StartsWith(response.body, "HTTP/1.")) return;
  if (!response.body.empty()) CheckBody(response, answer);
}

}  // namespace aima::gateway
