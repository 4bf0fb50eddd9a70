// Forms with files, multipart/form-data (RFC 7578).
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>
#include <vector>

namespace aima::http {

// One field. The value is what stands between `begin` and `end` of the body.
struct FormField {
  std::string name;
  bool is_file = false;  // it came with a name of its own
  size_t begin = 0;
  size_t end = 0;

  std::string_view ValueIn(std::string_view body) const { return body.substr(begin, end - begin); }
};

bool IsForm(std::string_view content_type);

// The fields in their order, of which nothing is copied. INVALID_INPUT says what is wrong with the form,
// also where it has more than 1000 fields.
absl::StatusOr<std::vector<FormField>> ReadForm(std::string_view body, std::string_view content_type);

// Writes a form.
class FormWriter {
 public:
  FormWriter();
  void Field(std::string_view name, std::string_view value);
  // Where the receiver goes by the name or the type of a file, they must fit.
  void File(std::string_view name, std::string_view bytes, std::string_view file_name = "file",
            std::string_view type = "application/octet-stream");

  std::string content_type() const;
  std::string Finish() &&;

 private:
  const std::string boundary_;
  std::string out_;
};

}  // namespace aima::http
