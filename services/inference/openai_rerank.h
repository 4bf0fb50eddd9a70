// /v1/rerank as Jina, Cohere, vLLM and llama.cpp have it; OpenAI has none.
#pragma once

#include <absl/status/statusor.h>

#include <string>

#include "aima/inference/v1/inference.pb.h"

namespace aima::inference {

// INVALID_INPUT names what is missing or wrong. Documents are texts, or objects with a text; other fields are left alone.
absl::StatusOr<v1::RerankRequest> ReadRerankRequest(const std::string& body);

std::string RerankAnswer(const v1::RerankResponse& response);

}  // namespace aima::inference
