// Answers of sources, as pulls see them.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "libs/base/task.h"
#include "libs/http/outbound.h"

namespace aima::model {

// No model is larger, nor any of its files.
constexpr int64_t kModelBytesMax = int64_t{1} << 43;

// The declared error for a request that got no answer: MODEL_MIRROR_REFUSED or MODEL_SOURCE_UNREACHABLE.
absl::Status NoAnswer(const std::string& url, const absl::Status& status);

// The declared error for an answer with this status: MODEL_REPO_NOT_FOUND, MODEL_SOURCE_DENIED or
// MODEL_SOURCE_UNREACHABLE. `what` names the thing that was asked for.
absl::Status BadAnswer(const std::string& url, int status, const std::string& what);

// The JSON object or list at an address; nothing in it is nested deeply.
Task<absl::StatusOr<nlohmann::json>> GetJson(http::Outbound& web, std::string url, http::Headers headers,
                                             std::string what);
absl::StatusOr<nlohmann::json> ParseJson(const std::string& url, const std::string& body);

// A field of an object, which must outlive the answer; null if it is not there.
const nlohmann::json& FieldOf(const nlohmann::json& object, const char* field);
// A field of an object; empty or 0 if it is not there or of another type.
std::string TextIn(const nlohmann::json& object, const char* field);
int64_t NumberIn(const nlohmann::json& object, const char* field);

// MODEL_SOURCE_UNREACHABLE: the source answers with what makes no sense.
absl::Status Nonsense(const std::string& url, const std::string& why);

}  // namespace aima::model
