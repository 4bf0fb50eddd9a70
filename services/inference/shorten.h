// Embeddings of the length that was asked for.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "aima/inference/v1/inference.pb.h"
#include "services/inference/directory.h"

namespace aima::inference {

// Many engines make vectors of the length that their model has, whatever was asked for. What is too long is cut and
// brought back to length 1, as OpenAI's service does; vectors cannot be made longer, which is INVALID_INPUT: an answer
// of another length than asked is never given.
absl::Status Shorten(v1::EmbedResponse& response, int dimensions);

// The same with an answer in OpenAI's form, whose vectors are numbers, or base64 of little-endian floats.
absl::StatusOr<std::string> ShortenOpenAi(const std::string& answer, int dimensions, const Endpoint& engine);

// The `dimensions` that an embedding request in OpenAI's form asks for; 0 if it asks for none.
absl::StatusOr<int> DimensionsAsked(std::string_view body);

}  // namespace aima::inference
