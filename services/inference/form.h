// Forms with files, multipart/form-data (RFC 7578).
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "services/inference/openai_body.h"

namespace aima::inference {

// Writes one.
class FormWriter {
 public:
  FormWriter();
  void Field(std::string_view name, std::string_view value);
  // A file of a name that means nothing.
  void File(std::string_view name, std::string_view bytes);

  std::string content_type() const;
  std::string Finish() &&;

 private:
  const std::string boundary_;
  std::string out_;
};

bool IsForm(std::string_view content_type);

// Finds the field `model` of a form without reading more than it must. INVALID_INPUT names what is missing or wrong.
absl::StatusOr<RequestScan> ScanForm(std::string_view body, std::string_view content_type);

// The form for an engine: `model` is written anew where the engine knows it by another name. Everything else stays
// byte for byte.
std::string EngineForm(std::string body, const RequestScan& scan, const std::string& served_name);

}  // namespace aima::inference
