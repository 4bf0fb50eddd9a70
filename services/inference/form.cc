#include "services/inference/form.h"

#include "libs/base/status_macros.h"
#include "libs/errors/errors.h"
#include "libs/http/form.h"

namespace aima::inference {

absl::StatusOr<RequestScan> ScanForm(std::string_view body, std::string_view content_type) {
  ASSIGN_OR_RETURN(const std::vector<http::FormField> fields, http::ReadForm(body, content_type));
  RequestScan scan;
  for (const http::FormField& field : fields) {
    if (field.name != "model") continue;
    if (scan.model_at.there()) return InvalidInput("model", "is given twice");
    RETURN_IF_ERROR(CheckModelName(field.ValueIn(body)));
    scan.model_at = {field.begin, field.end};
    scan.model = field.ValueIn(body);
  }
  if (scan.model.empty()) return InvalidInput("model", "is required");
  return scan;
}

std::string EngineForm(std::string body, const RequestScan& scan, const std::string& served_name) {
  if (scan.model != served_name) {
    body.replace(scan.model_at.begin, scan.model_at.end - scan.model_at.begin, served_name);
  }
  return body;
}

}  // namespace aima::inference
