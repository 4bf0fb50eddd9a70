#include "services/model/web.h"

#include <absl/strings/str_cat.h>
#include <absl/time/clock.h>

#include "aima/model/v1/model.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/model/shallow_json.h"

namespace aima::model {

namespace {

constexpr absl::Duration kAnswerTime = absl::Seconds(60);

std::string HostOf(const std::string& url) {
  const absl::StatusOr<http::Url> parsed = http::ParseUrl(url);
  return parsed.ok() ? parsed->Authority() : "the source";
}

}  // namespace

absl::Status NoAnswer(const std::string& url, const absl::Status& status) {
  const bool refused = absl::IsPermissionDenied(status) || absl::IsInvalidArgument(status);
  return Error(refused ? v1::MODEL_MIRROR_REFUSED : v1::MODEL_SOURCE_UNREACHABLE, status.message(),
               {{"host", HostOf(url)}});
}

absl::Status BadAnswer(const std::string& url, int status, const std::string& what) {
  const std::string host = HostOf(url);
  const Metadata metadata = {{"host", host}, {"http_status", absl::StrCat(status)}};
  if (status == 404 || status == 410) {
    return Error(v1::MODEL_REPO_NOT_FOUND, absl::StrCat("'", host, "' has no ", what), metadata);
  }
  if (status == 401 || status == 403) {
    return Error(
        v1::MODEL_SOURCE_DENIED,
        absl::StrCat("'", host, "' does not give ", what, " to everybody, or does not have it (HTTP ", status, ")"),
        metadata);
  }
  return Error(v1::MODEL_SOURCE_UNREACHABLE,
               absl::StrCat("'", host, "' answers with HTTP ", status, " instead of ", what), metadata);
}

absl::Status Nonsense(const std::string& url, const std::string& why) {
  return Error(v1::MODEL_SOURCE_UNREACHABLE,
               absl::StrCat("'", HostOf(url), "' does not answer as such a source does: ", why),
               {{"host", HostOf(url)}});
}

absl::StatusOr<nlohmann::json> ParseJson(const std::string& url, const std::string& body) {
  nlohmann::json json = ParseShallow(body);
  if (!json.is_object() && !json.is_array()) return Nonsense(url, "its answer is not JSON");
  return json;
}

Task<absl::StatusOr<nlohmann::json>> GetJson(http::Outbound& web, std::string url, http::Headers headers,
                                             std::string what) {
  absl::StatusOr<http::Url> parsed = http::ParseUrl(url);
  if (!parsed.ok()) co_return NoAnswer(url, parsed.status());
  headers.Set("accept", "application/json");
  const absl::StatusOr<http::Response> answer =
      co_await web.Get(*std::move(parsed), std::move(headers), absl::Now() + kAnswerTime);
  if (!answer.ok()) co_return NoAnswer(url, answer.status());
  if (answer->status != 200) co_return BadAnswer(url, answer->status, what);
  co_return ParseJson(url, answer->body);
}

const nlohmann::json& FieldOf(const nlohmann::json& object, const char* field) {
  static const nlohmann::json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(field);
  return found != object.end() ? *found : kNull;
}

std::string TextIn(const nlohmann::json& object, const char* field) {
  if (!object.is_object()) return "";
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t NumberIn(const nlohmann::json& object, const char* field) {
  if (!object.is_object()) return 0;
  const auto found = object.find(field);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

}  // namespace aima::model
