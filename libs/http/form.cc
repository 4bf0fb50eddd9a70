#include "libs/http/form.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "libs/base/ids.h"
#include "libs/errors/errors.h"
#include "libs/http/message.h"

namespace aima::http {
namespace {

constexpr std::string_view kType = "multipart/form-data";
// What is noted of a field is larger than the least that a client sends for one.
constexpr size_t kMostFields = 1000;

absl::string_view Abseil(std::string_view text) { return {text.data(), text.size()}; }

std::string_view Stripped(std::string_view text) {
  const absl::string_view stripped = absl::StripAsciiWhitespace(Abseil(text));
  return {stripped.data(), stripped.size()};
}

// The parameter `name` of a header value such as: form-data; name="model"; filename="a.wav". None if it is not there.
std::optional<std::string> Parameter(std::string_view value, std::string_view name) {
  size_t at = value.find(';');
  while (at != std::string_view::npos) {
    ++at;
    const size_t equals = value.find('=', at);
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view key = Stripped(value.substr(at, equals - at));
    std::string text;
    at = equals + 1;
    if (at < value.size() && value[at] == '"') {
      for (++at; at < value.size() && value[at] != '"'; ++at) {
        if (value[at] == '\\' && at + 1 < value.size()) ++at;
        text += value[at];
      }
      at = value.find(';', at);
    } else {
      const size_t end = value.find(';', at);
      text = Stripped(value.substr(at, end == std::string_view::npos ? end : end - at));
      at = end;
    }
    if (EqualsIgnoringCase(key, name)) return text;
  }
  return std::nullopt;
}

// The value of the header `name` in the head of a part.
std::string_view HeaderIn(std::string_view head, std::string_view name) {
  while (!head.empty()) {
    const size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    head = end == std::string_view::npos ? std::string_view() : head.substr(end + 2);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    if (EqualsIgnoringCase(Stripped(line.substr(0, colon)), name)) return Stripped(line.substr(colon + 1));
  }
  return {};
}

// Where the next line is that divides parts, from `at` on; what only begins like one does not count.
size_t NextDelimiter(std::string_view body, const std::string& delimiter, size_t at) {
  for (at = body.find(delimiter, at); at != std::string_view::npos; at = body.find(delimiter, at + 1)) {
    std::string_view rest = body.substr(at + delimiter.size());
    if (rest.substr(0, 2) == "--") return at;
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    if (rest.substr(0, 2) == "\r\n") return at;
  }
  return at;
}

}  // namespace

bool IsForm(std::string_view content_type) {
  return EqualsIgnoringCase(Stripped(content_type.substr(0, content_type.find(';'))), kType);
}

absl::StatusOr<std::vector<FormField>> ReadForm(std::string_view body, std::string_view content_type) {
  const std::string boundary = Parameter(content_type, "boundary").value_or("");
  if (boundary.empty()) return InvalidInput("Content-Type", "must be multipart/form-data with a boundary");
  const std::string delimiter = absl::StrCat("\r\n--", boundary);
  const auto malformed = [] { return InvalidInput("body", "is not a whole multipart form"); };
  // The first one may stand at the very beginning, without the end of a line before it.
  const bool at_once = body.substr(0, delimiter.size() - 2) == std::string_view(delimiter).substr(2);
  size_t at = at_once ? delimiter.size() - 2 : NextDelimiter(body, delimiter, 0);
  if (at == std::string_view::npos) return malformed();
  if (!at_once) at += delimiter.size();
  std::vector<FormField> fields;
  while (body.substr(at, 2) != "--") {
    const size_t line = body.find("\r\n", at);  // blanks may follow a delimiter
    const size_t head_end = line == std::string_view::npos ? line : body.find("\r\n\r\n", line);
    const size_t end = head_end == std::string_view::npos ? head_end : NextDelimiter(body, delimiter, head_end + 2);
    if (end == std::string_view::npos) return malformed();
    if (fields.size() == kMostFields) {
      return InvalidInput("body", absl::StrCat("has more than ", kMostFields, " fields"));
    }
    FormField field;
    field.begin = head_end + 4;
    field.end = end;
    const std::string_view head = body.substr(line + 2, head_end > line ? head_end - line - 2 : 0);
    const std::string_view disposition = HeaderIn(head, "content-disposition");
    field.name = Parameter(disposition, "name").value_or("");
    field.is_file = Parameter(disposition, "filename").has_value();
    // An empty line and the next delimiter may share their ends: a field without a head, or without a value.
    if (field.begin > field.end && !field.name.empty()) return malformed();
    field.end = std::max(field.begin, field.end);
    at = end + delimiter.size();
    fields.push_back(std::move(field));
  }
  return fields;
}

FormWriter::FormWriter() : boundary_(NewId("aima-form-")) {}

void FormWriter::Field(std::string_view name, std::string_view value) {
  absl::StrAppend(&out_, "--", boundary_, "\r\nContent-Disposition: form-data; name=\"", Abseil(name), "\"\r\n\r\n",
                  Abseil(value), "\r\n");
}

void FormWriter::File(std::string_view name, std::string_view bytes, std::string_view file_name,
                      std::string_view type) {
  absl::StrAppend(&out_, "--", boundary_, "\r\nContent-Disposition: form-data; name=\"", Abseil(name),
                  "\"; filename=\"", Abseil(file_name), "\"\r\nContent-Type: ", Abseil(type), "\r\n\r\n");
  absl::StrAppend(&out_, Abseil(bytes), "\r\n");
}

std::string FormWriter::content_type() const { return absl::StrCat(Abseil(kType), "; boundary=", boundary_); }

std::string FormWriter::Finish() && {
  absl::StrAppend(&out_, "--", boundary_, "--\r\n");
  return std::move(out_);
}

}  // namespace aima::http
