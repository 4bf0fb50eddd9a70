// Requests of OpenAI's Videos API, read for inference.generate_video.
#pragma once

#include <absl/status/statusor.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace aima::gateway::videos {

// The unit's input: of a JSON object, or of a form, which is what OpenAI's own clients send.
absl::StatusOr<nlohmann::json> ReadVideo(std::string_view content_type, const std::string& body);

// A page of a list.
struct Page {
  std::string after;
  int limit = 20;
  bool oldest_first = false;
};
absl::StatusOr<Page> ReadPage(std::string_view query);

// What the unit says about its input, in the words of this API.
absl::Status InItsWords(const absl::Status& status);

}  // namespace aima::gateway::videos
