// The addresses of operations (http_face.h).
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "libs/errors/errors.h"
#include "services/gateway/http_face.h"
#include "services/gateway/wrong_method.h"

namespace aima::gateway {
namespace {

using nlohmann::json;

constexpr absl::Duration kLongestFollow = absl::Minutes(10);

absl::Status NoSuchPath(std::string_view path) {
  return Error(unit::v1::RESOURCE_NOT_FOUND,
               absl::StrCat("there is nothing at ", absl::string_view(path.data(), std::min<size_t>(path.size(), 200))));
}

// The methods that an address of operations takes; null if it is none.
const char* MethodsOf(std::string_view id, std::string_view verb) {
  if (id.empty()) return verb.empty() ? "GET, HEAD" : nullptr;
  if (verb.empty()) return "GET, HEAD, DELETE";
  if (verb == "wait" || verb == "events") return "GET, HEAD";
  return verb == "cancel" ? "POST" : nullptr;
}

}  // namespace

// GET operations, GET operations/{id}, GET operations/{id}/wait, GET operations/{id}/events (a stream), POST
// operations/{id}/cancel, and DELETE operations/{id}.
Task<void> HttpFace::Operations(Visit& visit, std::string_view rest) {
  const size_t slash = rest.find('/');
  const std::string_view id = rest.substr(0, slash);
  const std::string_view verb = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
  const bool get = visit.request.method == "GET" || visit.request.method == "HEAD";
  const char* const allow = MethodsOf(id, verb);
  if (!allow) co_return co_await Fail(visit, NoSuchPath(visit.path));
  const char* unit = nullptr;
  if (get && verb.empty()) unit = id.empty() ? "operation.list" : "operation.get";
  if (get && (verb == "wait" || verb == "events")) unit = "operation.wait";
  if (visit.request.method == "POST" && verb == "cancel") unit = "operation.cancel";
  if (visit.request.method == "DELETE" && !id.empty() && verb.empty()) unit = "operation.delete";
  if (!unit) co_return co_await Fail(visit, WrongMethod(visit.request, visit.path, allow));
  absl::StatusOr<const UnitInfo*> found = parts_.runner.Find(unit, "", visit.caller);
  if (!found.ok()) co_return co_await Fail(visit, found.status());
  absl::StatusOr<json> input = get ? InputFromQuery(**found, visit.query) : Body(visit);
  if (!input.ok()) co_return co_await Fail(visit, input.status());
  if (!input->is_object()) co_return co_await Fail(visit, InvalidInput("", "the body must be an object"));
  if (!id.empty()) (*input)["operation_id"] = std::string(id);
  // Who follows events follows them to the end.
  if (verb == "events" && !input->contains("timeout")) (*input)["timeout"] = absl::ToInt64Milliseconds(kLongestFollow);
  Execution execution;
  execution.unit = unit;
  execution.input = *std::move(input);
  if (verb == "events") co_return co_await RunStream(visit, std::move(execution));
  co_await Run(visit, std::move(execution));
}

}  // namespace aima::gateway
