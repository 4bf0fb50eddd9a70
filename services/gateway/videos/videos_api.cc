#include "services/gateway/videos/videos_api.h"

#include <absl/strings/str_cat.h>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "aima/gateway/v1/operation.pb.h"
#include "aima/inference/v1/inference.pb.h"
#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/http/range.h"
#include "services/gateway/openai_error.h"
#include "services/gateway/videos/answer.h"
#include "services/gateway/videos/content.h"
#include "services/gateway/videos/request.h"
#include "services/gateway/wrong_method.h"

namespace aima::gateway::videos {
namespace {

using nlohmann::json;
using operations::Operation;
using operations::State;

constexpr std::string_view kRoot = "/v1/videos";
constexpr absl::Duration kMoment = absl::Seconds(3);
constexpr absl::Duration kToAnswer = absl::Seconds(30);

absl::Status NoSuchVideo(const std::string& id) {
  const std::string shown = id.substr(0, 100);
  return Error(unit::v1::RESOURCE_NOT_FOUND, absl::StrCat("there is no video '", shown, "'"), {{"id", shown}});
}

// True of what has failed before anybody was told of it: whoever asked for it waits for at least a moment.
bool CannotBeMade(const Operation& operation) {
  return operation.state == State::kFailed && operation.progress.empty() &&
         operation.finished.value_or(absl::InfiniteFuture()) - operation.created < kMoment;
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
  const bool get = method == "GET" || method == "HEAD";
  std::string_view rest = visit.path;
  rest.remove_prefix(kRoot.size());
  if (rest.empty() && method == "POST") co_return co_await Create(visit);
  if (rest.empty() && get) co_return co_await List(visit);
  if (!rest.empty()) rest.remove_prefix(1);
  const size_t slash = rest.find('/');
  const std::string id(rest.substr(0, slash));
  const std::string_view verb = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
  if (!id.empty() && verb.empty() && get) co_return co_await Show(visit, id);
  if (!id.empty() && verb.empty() && method == "DELETE") co_return co_await Delete(visit, id);
  if (!id.empty() && verb == "content" && get) co_return co_await Content(visit, id);
  if (visit.path == kRoot) co_return WrongMethod(visit.request, visit.path, "GET, HEAD, POST");
  // What is posted below is not done here at all, such as edits.
  if (!id.empty() && verb.empty() && method != "POST") co_return WrongMethod(visit.request, visit.path, "GET, HEAD, DELETE");
  if (!id.empty() && verb == "content") co_return WrongMethod(visit.request, visit.path, "GET, HEAD");
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
  for (;;) {
    const absl::StatusOr<Operation> begun = co_await operations_.Record(call, *unit, input, options);
    if (!begun.ok()) co_return InItsWords(begun.status());
    const absl::StatusOr<Operation> operation = co_await FirstSign(call, begun->id);
    // The request that began it has found that it cannot be made, and has forgotten it; so will this one find.
    if (begun->repeated && HasReason(operation.status(), unit::v1::RESOURCE_NOT_FOUND)) continue;
    CO_RETURN_IF_ERROR(operation.status());
    if (!CannotBeMade(*operation)) co_return co_await Answer(visit, VideoOf(*operation, retention_));
    if (!begun->repeated) {  // who began it forgets it: nobody else was told of it
      v1::DeleteRequest forget;
      forget.set_operation_id(operation->id);
      (co_await operations_.Delete(call, forget)).IgnoreError();
    }
    co_return InItsWords(operation->error);
  }
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
  CO_ASSIGN_OR_RETURN(Operation operation, co_await Find(call, id, /*with_result=*/true));
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
  std::string().swap(operation.result);  // else it is there twice for as long as the client reads
  const std::string path = made.path();
  http::Headers headers = {
      {"Content-Type", "video/" + made.format()},
      {"Content-Disposition", absl::StrCat("attachment; filename=\"", id, ".", made.format(), "\"")}};
  const absl::StatusOr<videos::Content> content = videos::Content::Of(std::move(made));
  if (!content.ok()) {
    co_return Error(unit::v1::RESOURCE_NOT_FOUND,
                    absl::StrCat("the video lies in ", path, " on the machine where inference runs, if it is still kept; "
                                 "here it cannot be read: ", content.status().message()),
                    {{"path", path}});
  }
  const std::string etag = absl::StrCat("\"", id, "\"");
  const http::Part part = http::PartOf(visit.request, content->size(), etag);
  if (part.status == 304 || part.status == 416) {
    http::Response response = {.status = part.status};
    if (part.status == 416) {
      visit.outcome = "INVALID_INPUT";
      const absl::Status beyond = InvalidInput("Range", absl::StrCat("begins behind the video's ", part.whole, " bytes"));
      response = ErrorAnswer(beyond, visit.context.request_id, part.status);
    }
    part.Describe(etag, response.headers);
    co_return co_await Send(visit, std::move(response));
  }
  part.Describe(etag, headers);
  co_return co_await SendPart(visit, *content, part, std::move(headers));
}

Task<absl::Status> VideosApi::SendPart(TranslatedVisit& visit, const videos::Content& content, http::Part part,
                                       http::Headers headers) {
  headers.Add(request_id_header(), visit.context.request_id);
  parts().edge.AllowOrigin(visit.request, headers);
  http::Exchange& exchange = visit.exchange;
  CO_RETURN_IF_ERROR(co_await exchange.StartStream(part.status, std::move(headers), part.size));
  while (part.size > 0 && visit.request.method != "HEAD") {
    CO_ASSIGN_OR_RETURN(const std::string piece, content.Read(part.begin, part.size));
    if (piece.empty()) break;  // and Finish says so: the file was longer
    part.begin += piece.size();
    part.size -= piece.size();
    CO_RETURN_IF_ERROR(co_await exchange.Write(piece));
    co_await boost::asio::post(boost::asio::use_awaitable);  // a fast client takes one piece after the other
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
