#include "services/gateway/videos/request.h"

#include <absl/strings/escaping.h>
#include <absl/strings/match.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <cmath>
#include <vector>

#include "aima/unit/v1/errors.pb.h"
#include "libs/base/status_macros.h"
#include "libs/base/utf8.h"
#include "libs/errors/errors.h"
#include "libs/http/form.h"
#include "libs/http/message.h"
#include "libs/unit/json_codec.h"
#include "services/gateway/json_fields.h"

namespace aima::gateway::videos {
namespace {

using nlohmann::json;

constexpr char kReference[] = "input_reference";
// Where ObjectOf puts a file, in base64; nobody can give a member this name.
constexpr char kFile[] = "";

bool IsUtf8(std::string_view text) { return ValidUtf8(std::string(text)) == text; }

// A form as the object that it stands for: `a[b]` is a member of a member.
absl::StatusOr<json> ObjectOf(std::string_view body, std::string_view content_type) {
  ASSIGN_OR_RETURN(const std::vector<http::FormField> fields, http::ReadForm(body, content_type));
  json object = json::object();
  for (const http::FormField& field : fields) {
    const size_t bracket = field.name.find('[');
    const std::string name = field.name.substr(0, bracket);
    std::string member = bracket == std::string::npos ? "" : field.name.substr(bracket + 1);
    if (name.empty()) return InvalidInput("body", "has a field without a name");
    const std::string_view value = field.ValueIn(body);
    if (!IsUtf8(field.name) || (!field.is_file && !IsUtf8(value))) {
      return InvalidInput(ValidUtf8(field.name.substr(0, 200)), "is not in UTF-8");
    }
    if (bracket != std::string::npos) {
      if (member.size() < 2 || member.back() != ']' || absl::StrContains(member, '[')) {
        return InvalidInput(field.name.substr(0, 200), "is no name of a field");
      }
      member.pop_back();
    }
    if (field.is_file && (name != kReference || !member.empty())) {
      return InvalidInput(field.name.substr(0, 200), "is not a file");
    }
    const bool nested = field.is_file || !member.empty();
    json& place = object[name];
    if (!place.is_null() && (!nested || !place.is_object() || place.contains(member))) {
      return InvalidInput(field.name.substr(0, 200), "is given twice");
    }
    (nested ? place[member] : place) =
        field.is_file ? absl::Base64Escape({value.data(), value.size()}) : std::string(value);
  }
  return object;
}

// OpenAI writes numbers as texts, as forms do; others write numbers.
json NumberOf(const JsonFields& fields, const char* key) {
  const json* value = fields.Find(key);
  if (!value || value->is_number()) return value ? *value : json();
  const std::string text = fields.Text(key);
  if (int64_t whole = 0; absl::SimpleAtoi(text, &whole)) return whole;
  if (double number = 0; absl::SimpleAtod(text, &number) && std::isfinite(number)) return number;
  if (!text.empty()) fields.Refuse(key, "must be a number");
  return {};
}

// Base64 of the file to begin from.
std::string ReferenceOf(const JsonFields& fields) {
  const json* value = fields.Object(kReference);
  if (!value) return "";
  if (value->contains(kFile)) return (*value)[kFile].get<std::string>();
  const JsonFields reference(*value, kReference, fields.error());
  reference.AllowOnly({"image_url", "file_id"}, "is an unknown parameter");
  if (reference.Find("file_id")) reference.Refuse("file_id", "is not known here: send the file itself");
  const std::string url = reference.Text("image_url");
  const size_t comma = url.find(',');
  if (!absl::StartsWithIgnoreCase(url, "data:") || comma == std::string::npos ||
      !absl::EndsWithIgnoreCase(url.substr(0, comma), ";base64")) {
    reference.Refuse("image_url", "must be a data: URL in base64, or the file be sent: nothing is fetched from elsewhere");
    return "";
  }
  return url.substr(comma + 1);
}

}  // namespace

absl::StatusOr<json> ReadVideo(std::string_view content_type, const std::string& body) {
  const bool form = http::IsForm(content_type);
  if (body.empty()) return InvalidInput("body", "is required: a JSON object, or a form");
  json object;
  if (form) {
    ASSIGN_OR_RETURN(object, ObjectOf(body, content_type));
  } else {
    ASSIGN_OR_RETURN(object, ParseJsonText(body));
    if (object.is_object() && object.contains(kReference) && object[kReference].contains(kFile)) {
      return InvalidInput(kReference, "has a member without a name");
    }
  }
  absl::Status error;
  const JsonFields fields(object, "", error);
  fields.AllowOnly({"model", "prompt", "seconds", "size", "seed", "engine_options", kReference},
                   "is an unknown parameter");
  json input = {{"model", fields.RequiredText("model")}, {"prompt", fields.RequiredText("prompt")}};
  if (json seconds = NumberOf(fields, "seconds"); !seconds.is_null()) input["duration"] = std::move(seconds);
  if (std::string size = fields.Text("size"); !size.empty()) input["size"] = std::move(size);
  if (json seed = NumberOf(fields, "seed"); !seed.is_null()) input["seed"] = std::move(seed);
  if (const json* options = fields.Object("engine_options")) input["engine_options"] = *options;
  if (std::string reference = ReferenceOf(fields); !reference.empty()) input[kReference] = std::move(reference);
  if (!error.ok()) return error;
  return input;
}

absl::StatusOr<Page> ReadPage(std::string_view query) {
  Page page;
  std::vector<std::pair<std::string, std::string>> fields;
  if (!http::ParseQuery(query, fields)) return InvalidInput("query", "is not properly encoded");
  for (auto& [name, value] : fields) {
    if (name == "after" && value.size() <= 64) {
      page.after = std::move(value);
    } else if (name == "limit") {
      if (!absl::SimpleAtoi(value, &page.limit) || page.limit < 1 || page.limit > 100) {
        return InvalidInput("limit", "must be from 1 to 100");
      }
    } else if (name == "order" && (value == "asc" || value == "desc")) {
      page.oldest_first = value == "asc";
    } else if (name == "order") {
      return InvalidInput("order", "must be asc or desc");
    } else {
      return InvalidInput(name.substr(0, 200), name == "after" ? "is no id of a video" : "is an unknown parameter");
    }
  }
  return page;
}

absl::Status InItsWords(const absl::Status& status) {
  if (!HasReason(status, unit::v1::INVALID_INPUT)) return status;
  std::vector<FieldViolation> violations = DetailsOf(status).violations;
  for (FieldViolation& violation : violations) {
    if (violation.field == "duration") violation.field = "seconds";
  }
  return InvalidInput(std::move(violations));
}

}  // namespace aima::gateway::videos
