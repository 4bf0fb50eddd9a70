#include "libs/http/range.h"

#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <optional>

#include "libs/http/document.h"

namespace aima::http {
namespace {

std::optional<uint64_t> NumberOf(std::string_view digits) {
  uint64_t number = 0;
  if (digits.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  if (!absl::SimpleAtoi(absl::string_view(digits.data(), digits.size()), &number)) return std::nullopt;
  return number;
}

}  // namespace

void Part::Describe(std::string_view etag, Headers& headers) const {
  headers.Add("Accept-Ranges", "bytes");
  headers.Add("ETag", std::string(etag));
  if (status == 206) headers.Add("Content-Range", absl::StrCat("bytes ", begin, "-", begin + size - 1, "/", whole));
  if (status == 416) headers.Add("Content-Range", absl::StrCat("bytes */", whole));
}

Part PartOf(const Request& request, uint64_t size, std::string_view etag) {
  const Part all = {200, 0, size, size};
  if (HoldsTag(request.headers.Get("If-None-Match"), etag)) return {304, 0, 0, size};
  std::string_view range = request.headers.Get("Range");
  const std::string* if_range = request.headers.Find("If-Range");
  if (request.method != "GET" || (if_range && *if_range != etag)) return all;
  if (!EqualsIgnoringCase(range.substr(0, 6), "bytes=")) return all;
  range.remove_prefix(6);
  const size_t dash = range.find('-');
  if (dash == std::string_view::npos) return all;
  std::optional<uint64_t> first = NumberOf(range.substr(0, dash));
  std::optional<uint64_t> last = NumberOf(range.substr(dash + 1));
  if (dash == 0 && last) {  // so many at the end
    first = size - std::min(*last, size);
    last = size;
  } else if (first && dash + 1 == range.size()) {
    last = size;
  }
  if (!first || !last || *first > *last) return all;
  if (*first >= size) return {416, 0, 0, size};
  return {206, *first, std::min(*last, size - 1) - *first + 1, size};
}

}  // namespace aima::http
