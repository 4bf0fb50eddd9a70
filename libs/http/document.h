// What is sent again and again: its ETag, and its compressed form.
#pragma once

#include <string>
#include <string_view>

#include "libs/base/task.h"
#include "libs/http/message.h"

namespace aima::http {

// A document that stays as it is; compressed and named once.
struct Document {
  Document(std::string type, std::string body);

  std::string type;  // media type
  std::string body;
  std::string gzip;  // empty if compressing gains nothing
  std::string etag;  // strong, of the plain form
};

// Answers GET or HEAD with a document: 304 if the client has it, compressed if the client wants that.
Response DocumentResponse(const Request& request, const Document& document);

// The ETag of `body`; a weak one for answers that tell the same in other bytes.
std::string EntityTag(std::string_view body, bool weak = false);
// True if `if_none_match`, a list of ETags or "*", holds `etag`. Compares weakly, as RFC 9110 wants it there.
bool HoldsTag(std::string_view if_none_match, std::string_view etag);

// True if an Accept-Encoding header wants gzip.
bool WantsGzip(std::string_view accept_encoding);

// Smaller bodies gain less than the header costs.
inline constexpr size_t kCompressMin = 1024;

// `text` compressed. In steps between which the loop runs, since large answers take their time; `level` is zlib's.
Task<std::string> Gzip(std::string_view text, int level);
// The same at once, as small as it gets.
std::string GzipNow(std::string_view text);

}  // namespace aima::http
