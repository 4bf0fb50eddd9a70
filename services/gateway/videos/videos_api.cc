#include "services/gateway/videos/videos_api.h"

#include <absl/strings/str_cat.h>

#include "aima/gateway/v1/operation.pb.h"
#include "aima/inference/v1/inference.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "services/gateway/openai_error.h"
#include "services/gateway/videos/answer.h"
#include "services/gateway/videos/request.h"
#include "services/gateway/videos/video_file.h"
#include "services/gateway/wrong_method.h"

namespace aima::gateway::videos {
namespace {

using nlohmann::json;
using operations::Operation;
using operations::State;

constexpr std::string_view kRoot = "/v1/videos";
constexpr char kUnit[] = "inference.generate_video";
constexpr absl::Duration kMoment = absl::Seconds(3);
constexpr absl::Duration kToAnswer = absl::Seconds(30);

absl::Status NoSuchVideo(const std::string& id) {
  const std::string shown = id.substr(0, 100);
  return Error(unit::v1::RESOURCE_NOT_FOUND, absl::StrCat("there is no video '", shown, "'"), {{"id", shown}});
}

}  // namespace

bool VideosApi::Owns(const http::Request&, std::string_view path) const {
  return path.substr(0, kRoot.size()) == kRoot && (path.size() == kRoot.size() || path[kRoot.size()] == '/');
}

http::Response VideosApi::ErrorAnswer(const absl::Status& status, const std::string& request_id,
                                      int http_status) const {
  return OpenAiErrorResponse(status, request_id, http_status);
}

Task<absl::Status> VideosApi::Serve(TranslatedVisit& visit) {
  const std::string& method = visit.request.method;
  std::string_view rest = visit.path;
  rest.remove_prefix(kRoot.size());
  if (rest.empty() && method == "POST") co_return co_await Create(visit);
  if (rest.empty() && method == "GET") co_return co_await List(visit);
  if (!rest.empty()) rest.remove_prefix(1);
  const size_t slash = rest.find('/');
  const std::string id(rest.substr(0, slash));
  const std::string_view verb = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
  if (!id.empty() && verb.empty() && method == "GET") co_return co_await Show(visit, id);
  if (!id.empty() && verb.empty() && method == "DELETE") co_return co_await Delete(visit, id);
  if (!id.empty() && verb == "content" && method == "GET") co_return co_await Content(visit, id);
  if (visit.path == kRoot) co_return WrongMethod(visit.request, visit.path, "GET, POST");
  if (!id.empty() && verb.empty()) co_return WrongMethod(visit.request, visit.path, "GET, DELETE");
  if (!id.empty() && verb == "content") co_return WrongMethod(visit.request, visit.path, "GET");
  co_return Error(unit::v1::RESOURCE_NOT_FOUND,
                  absl::StrCat("there is no ", method, " ", visit.path.substr(0, 200),
                               " here: videos are made, listed, shown, downloaded and deleted"));
}

absl::StatusOr<CallContext> VideosApi::CallFor(TranslatedVisit& visit, std::string_view unit) const {
  ASSIGN_OR_RETURN(const UnitInfo* found, parts().runner.Find(unit, "", visit.caller));
  visit.unit = found->name;
  CallContext call = visit.context;
  call.unit = found->name;
  call.deadline = absl::Now() + kToAnswer;
  return call;
}

Task<absl::StatusOr<Operation>> VideosApi::Find(const CallContext& call, const std::string& id, bool with_result) {
  absl::StatusOr<Operation> found = co_await operations_.FindFor(call, id, with_result);
  if (found.ok() && found->unit == kUnit) co_return found;
  if (!found.ok() && !HasReason(found.status(), v1::OPERATION_NOT_FOUND)) co_return found;
  co_return NoSuchVideo(id);
}

Task<absl::StatusOr<Operation>> VideosApi::FirstSign(const CallContext& call, const std::string& id) {
  const absl::Time until = absl::Now() + kMoment;
  CO_ASSIGN_OR_RETURN(operations::Operations* const library, operations_.Library());
  CO_ASSIGN_OR_RETURN(Operation seen, co_await Find(call, id, /*with_result=*/false));
  while (!seen.ended() && seen.progress.empty() && absl::Now() < until) {
    CO_ASSIGN_OR_RETURN(std::optional<Operation> next, co_await library->Change(call, seen, until));
    if (!next) co_return NoSuchVideo(id);
    seen = *std::move(next);
  }
  co_return seen;
}

Task<absl::Status> VideosApi::Create(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(CallContext call, CallFor(visit, kUnit));
  CO_ASSIGN_OR_RETURN(const json input, ReadVideo(visit.request.headers.Get("Content-Type"), visit.request.body));
  CO_ASSIGN_OR_RETURN(const UnitInfo* unit, parts().runner.Find(kUnit, "", visit.caller));
  RunOptions options;
  options.idempotency_key = std::string(visit.request.headers.Get("Idempotency-Key"));
  const absl::StatusOr<Operation> begun = co_await operations_.Record(call, *unit, input, std::move(options));
  if (!begun.ok()) co_return InItsWords(begun.status());
  CO_ASSIGN_OR_RETURN(const Operation operation, co_await FirstSign(call, begun->id));
  if (operation.state == State::kFailed && !begun->repeated) {
    // Then nothing was begun that anybody could look at; what an earlier request began, somebody looks at.
    v1::DeleteRequest forget;
    forget.set_operation_id(operation.id);
    (co_await operations_.Delete(call, forget)).IgnoreError();
    co_return InItsWords(operation.error);
  }
  co_return co_await Answer(visit, VideoOf(operation, retention_));
}

Task<absl::Status> VideosApi::List(TranslatedVisit& visit) {
  CO_ASSIGN_OR_RETURN(const CallContext call, CallFor(visit, "operation.list"));
  CO_ASSIGN_OR_RETURN(const Page page, ReadPage(visit.query));
  CO_ASSIGN_OR_RETURN(operations::Operations* const library, operations_.Library());
  operations::Filter filter;
  if (visit.caller.role != Role::kAdmin) filter.principal = call.principal;
  filter.unit = kUnit;
  filter.after = page.after;
  filter.oldest_first = page.oldest_first;
  filter.limit = page.limit + 1;  // one more tells whether there are more
  CO_ASSIGN_OR_RETURN(std::vector<Operation> found, co_await library->List(call, filter));
  const bool more = found.size() > static_cast<size_t>(page.limit);
  if (more) found.pop_back();
  json data = json::array();
  for (const Operation& brief : found) {
    // Lists do not have what was asked for.
    const absl::StatusOr<Operation> whole = co_await Find(call, brief.id, /*with_result=*/false);
    if (!whole.ok() && HasReason(whole.status(), unit::v1::RESOURCE_NOT_FOUND)) continue;  // deleted meanwhile
    if (!whole.ok()) co_return whole.status();
    data.push_back(VideoOf(*whole, retention_));
  }
  json list = {{"object", "list"}, {"first_id", nullptr}, {"last_id", nullptr}, {"has_more", more}};
  if (!data.empty()) {
    list["first_id"] = data.front()["id"];
    list["last_id"] = data.back()["id"];
  }
  list["data"] = std::move(data);
  co_return co_await Answer(visit, list);
}

Task<absl::Status> VideosApi::Show(TranslatedVisit& visit, std::string id) {
  CO_ASSIGN_OR_RETURN(const CallContext call, CallFor(visit, "operation.get"));
  CO_ASSIGN_OR_RETURN(const Operation operation, co_await Find(call, id, /*with_result=*/false));
  co_return co_await Answer(visit, VideoOf(operation, retention_));
}

Task<absl::Status> VideosApi::Content(TranslatedVisit& visit, std::string id) {
  CO_ASSIGN_OR_RETURN(const CallContext call, CallFor(visit, "operation.get"));
  std::vector<std::pair<std::string, std::string>> fields;
  if (!http::ParseQuery(visit.query, fields)) co_return InvalidInput("query", "is not properly encoded");
  for (const auto& [name, value] : fields) {
    if (name == "variant" && value != "video") {
      co_return InvalidInput("variant", "must be video: there is nothing else of it");
    }
  }
  CO_ASSIGN_OR_RETURN(const Operation operation, co_await Find(call, id, /*with_result=*/true));
  if (operation.state != State::kSucceeded) {
    const json video = VideoOf(operation, retention_);
    co_return Error(unit::v1::RESOURCE_NOT_FOUND,
                    absl::StrCat("video '", id, "' has no content: it is ", video["status"].get<std::string>(), ", ",
                                 video["progress"].get<int>(), " %"),
                    {{"id", id}});
  }
  inference::v1::GenerateVideoResponse made;
  if (!made.ParseFromString(operation.result)) {
    co_return Error(unit::v1::INTERNAL_ERROR, "the recorded video cannot be read");
  }
  http::Response response;
  response.headers.Add("Content-Type", "video/" + made.format());
  response.headers.Add("Content-Disposition", absl::StrCat("attachment; filename=\"", id, ".", made.format(), "\""));
  if (!made.path().empty()) co_return co_await SendFile(visit, made.path(), std::move(response.headers));
  response.body = std::move(*made.mutable_video());
  co_return co_await Send(visit, std::move(response));
}

Task<absl::Status> VideosApi::SendFile(TranslatedVisit& visit, std::string path, http::Headers headers) {
  const absl::StatusOr<VideoFile> file = VideoFile::Open(path);
  if (!file.ok()) {
    co_return Error(unit::v1::RESOURCE_NOT_FOUND,
                    absl::StrCat("the video lies in ", path, " on the machine where inference runs, if it is still kept; "
                                 "here it cannot be read: ", file.status().message()),
                    {{"path", path}});
  }
  headers.Add(request_id_header(), visit.context.request_id);
  parts().edge.AllowOrigin(visit.request, headers);
  http::Exchange& exchange = visit.exchange;
  CO_RETURN_IF_ERROR(co_await exchange.StartStream(200, std::move(headers)));
  while (true) {
    // Without an end, an answer that breaks off is not taken for a whole one.
    CO_ASSIGN_OR_RETURN(const std::string piece, file->Next());
    if (piece.empty()) break;
    CO_RETURN_IF_ERROR(co_await exchange.Write(piece));
  }
  co_return co_await exchange.Finish();
}

Task<absl::Status> VideosApi::Delete(TranslatedVisit& visit, std::string id) {
  CO_ASSIGN_OR_RETURN(CallContext call, CallFor(visit, "operation.delete"));
  CO_RETURN_IF_ERROR((co_await Find(call, id, /*with_result=*/false)).status());
  v1::DeleteRequest forget;
  forget.set_operation_id(id);
  CO_RETURN_IF_ERROR((co_await operations_.Delete(call, forget)).status());
  const json deleted = {{"id", id}, {"object", "video.deleted"}, {"deleted", true}};
  co_return co_await Answer(visit, deleted);
}

}  // namespace aima::gateway::videos
