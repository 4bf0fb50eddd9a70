// Answers that are the same for many: documents, the reference page, what may be compressed (http_face.h).
#include <absl/strings/str_cat.h>

#include <nlohmann/json.hpp>

#include "aima/unit/v1/errors.pb.h"
#include "aima/unit/v1/unit.pb.h"
#include "libs/errors/errors.h"
#include "libs/unit/json_schema.h"
#include "services/gateway/http_face.h"

namespace aima::gateway {
namespace {

// Of zlib: unit answers are compressed on the loop, each time.
constexpr int kFast = 1;

std::string SchemaText(const UnitInfo& unit) {
  nlohmann::ordered_json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                                   {"$id", "/api/v2/schema/" + unit.name},
                                   {"title", unit.name},
                                   {"description", unit.description},
                                   {"$ref", "#/$defs/input"}};
  schema["$defs"]["input"] = SchemaOf(*unit.method().input_type());
  if (unit.unary) schema["$defs"]["output"] = SchemaOf(*unit.unary->output_type(), SchemaUse::kOutput);
  if (unit.stream) schema["$defs"]["stream"] = SchemaOf(*unit.stream->output_type(), SchemaUse::kOutput);
  return schema.dump();
}

bool IsRead(const http::Request& request) { return request.method == "GET" || request.method == "HEAD"; }

// A caller with another key may get something else.
void AddPrivate(http::Headers& headers) {
  headers.Add("Cache-Control", "private, no-cache");
  headers.Add("Vary", "Authorization, X-API-Key");
}

}  // namespace

Task<void> HttpFace::ApiDocument(Visit& visit) {
  visit.unit = "gateway.openapi";
  if (absl::Status denied = Access::Check(visit.caller, unit::v1::READ, visit.unit); !denied.ok()) {
    co_return co_await Fail(visit, denied);
  }
  http::Response response = http::DocumentResponse(visit.request, parts_.documents->For(visit.caller.role));
  AddPrivate(response.headers);
  co_await Answer(visit, std::move(response));
}

// Whoever reaches the listener may read the page: it holds nothing of the cluster, and a browser that opens it has no
// way to show a key.
Task<void> HttpFace::Page(Visit& visit, std::string_view name) {
  visit.unit = "gateway.page";
  const http::Document* document = parts_.web->Find(name);
  if (!document) {
    co_return co_await Fail(visit, Error(unit::v1::RESOURCE_NOT_FOUND, "the reference page has no such file"));
  }
  http::Response response = http::DocumentResponse(visit.request, *document);
  AddPageHeaders(response.headers);
  co_await Answer(visit, std::move(response));
}

Task<void> HttpFace::Schema(Visit& visit, std::string_view name) {
  visit.unit = "gateway.schema";
  const absl::StatusOr<const UnitInfo*> unit = parts_.runner.Find(name, "", visit.caller);
  if (!unit.ok()) co_return co_await Fail(visit, unit.status());
  http::Response response;
  response.headers.Add("Content-Type", "application/schema+json");
  response.body = SchemaText(**unit);
  const std::string tag = http::EntityTag(response.body, /*weak=*/true);
  if (http::HoldsTag(visit.request.headers.Get("If-None-Match"), tag)) response = {.status = 304};
  response.headers.Add("ETag", tag);
  AddPrivate(response.headers);
  co_await Compress(visit, response);
  co_await Answer(visit, std::move(response));
}

Task<void> HttpFace::Succeed(Visit& visit, const Output& output, const UnitInfo* unit) {
  http::Response response;
  std::string tag;
  if (IsRead(visit.request)) {
    // Of what was asked for: request ids and durations differ each time.
    tag = http::EntityTag(output.json, /*weak=*/true);
    if (http::HoldsTag(visit.request.headers.Get("If-None-Match"), tag)) {
      response.status = 304;
      response.headers.Add("X-Request-Id", visit.meta.request_id);
    }
  }
  if (response.status == 200) response = SuccessResponse(output, visit.meta);
  if (!tag.empty()) {
    response.headers.Add("ETag", std::move(tag));
    AddPrivate(response.headers);
  }
  if (!unit || !secret_answers_.contains(unit)) co_await Compress(visit, response);
  co_await Answer(visit, std::move(response));
}

// The length of compressed text tells about it: who can choose a part of an answer, make others ask for it and see how
// long it is, can guess the rest (BREACH). So nothing that a browser asks for on behalf of another site is compressed, nor
// errors, which repeat what was asked, nor answers of units that tell secrets (Succeed).
Task<void> HttpFace::Compress(Visit& visit, http::Response& response) {
  if (response.body.size() < http::kCompressMin) co_return;
  response.headers.Add("Vary", "Accept-Encoding");
  if (!http::WantsGzip(visit.request.headers.Get("Accept-Encoding"))) co_return;
  if (http::EqualsIgnoringCase(visit.request.headers.Get("Sec-Fetch-Site"), "cross-site")) co_return;
  response.body = co_await http::Gzip(response.body, kFast);
  response.headers.Add("Content-Encoding", "gzip");
}

}  // namespace aima::gateway
