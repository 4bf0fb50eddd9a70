// Forms on their way through: only the model is read of them.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "services/inference/openai_body.h"

namespace aima::inference {

// Finds the field `model` of a form. INVALID_INPUT names what is missing or wrong.
absl::StatusOr<RequestScan> ScanForm(std::string_view body, std::string_view content_type);

// The form for an engine: `model` is written anew where the engine knows it by another name. Everything else stays
// byte for byte.
std::string EngineForm(std::string body, const RequestScan& scan, const std::string& served_name);

}  // namespace aima::inference
