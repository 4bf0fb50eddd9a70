#include "services/inference/engine_error.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "aima/inference/v1/inference.pb.h"
#include "libs/errors/errors.h"
#include "services/inference/engine_json.h"

namespace aima::inference {
namespace {

using Json = nlohmann::json;

std::string TextOf(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return "";
  return it->is_string() ? it->get<std::string>() : it->dump();
}

// The object that tells of an error, in any of the forms that engines use.
Json ErrorObject(std::string_view body) {
  Json json = ParseTree(body);
  if (!json.is_object()) return Json{{"message", body.substr(0, 1000)}};
  const auto it = json.find("error");
  if (it != json.end() && it->is_object()) return *it;
  if (it != json.end() && it->is_string()) return Json{{"message", *it}};
  if (!json.contains("message") && json.contains("detail")) json["message"] = json["detail"];
  return json;
}

std::vector<std::string> NumbersIn(absl::string_view text) {
  std::vector<std::string> numbers;
  bool inside = false;
  for (const char letter : text) {
    const bool digit = absl::ascii_isdigit(letter);
    if (digit && !inside) numbers.emplace_back();
    if (digit) numbers.back() += letter;
    inside = digit;
  }
  return numbers;
}

absl::Status ErrorFrom(int http_status, const Json& error, const Endpoint& engine) {
  const std::string message = TextOf(error, "message");
  const std::string type = TextOf(error, "type");
  const std::string who = absl::StrCat("engine '", engine.instance_id, "'");
  Metadata metadata = {{"instance_id", engine.instance_id}, {"model", engine.model_id}};
  // llama.cpp has no type for an embedding input that is too long; it calls that an error of its own.
  const bool batch = http_status == 500 && message.find("too large to process") != std::string::npos;
  // Ollama has no code for it either.
  const bool ollama = message.find("exceeds the context length") != std::string::npos;
  if (batch || ollama || type == "exceed_context_size_error" || TextOf(error, "code") == "context_length_exceeded") {
    // "input (3000 tokens) is too large to process. increase the physical batch size (current batch size: 512)": to who
    // asks, a batch is nothing.
    std::string why = message;
    if (const std::vector<std::string> counts = NumbersIn(message); batch && counts.size() == 2) {
      metadata["n_prompt_tokens"] = counts[0];
      metadata["n_ctx"] = counts[1];
      why = absl::StrCat(counts[0], " tokens, of which it takes ", counts[1], " at once");
    }
    if (error.contains("n_ctx")) metadata["n_ctx"] = TextOf(error, "n_ctx");
    if (error.contains("n_prompt_tokens")) metadata["n_prompt_tokens"] = TextOf(error, "n_prompt_tokens");
    return Error(v1::INFERENCE_CONTEXT_TOO_LONG,
                 absl::StrCat("the input is longer than the context of model '", engine.model_id, "': ", why),
                 std::move(metadata));
  }
  metadata["http_status"] = absl::StrCat(http_status);
  if (TextOf(error, "code") == "ffmpeg_missing") {
    return Error(v1::INFERENCE_FORMAT_UNAVAILABLE, absl::StrCat(who, ": ", message), std::move(metadata));
  }
  if (http_status == 413) return Error(unit::v1::TOO_LARGE, absl::StrCat(who, ": ", message), std::move(metadata));
  if (http_status == 415) {
    return Error(v1::INFERENCE_MEDIA_UNREADABLE, absl::StrCat(who, ": ", message), std::move(metadata));
  }
  if (http_status == 429) {
    return Error(unit::v1::OVERLOADED, absl::StrCat(who, " is overloaded: ", message), std::move(metadata));
  }
  // llama.cpp counts it as a failure of its own that it cannot read what the request defines.
  const bool unreadable = absl::StartsWith(message, "Failed to parse tools:") || absl::StartsWith(message, "Failed to parse messages:");
  const bool refused =
      unreadable || (http_status >= 400 && http_status < 500 && http_status != 401 && http_status != 403) || http_status == 501;
  if (refused) {
    return Error(v1::INFERENCE_REQUEST_REFUSED, absl::StrCat(who, " does not accept the request: ", message),
                 std::move(metadata));
  }
  return Error(v1::INFERENCE_ENGINE_FAILED, absl::StrCat(who, " failed (HTTP ", http_status, "): ", message),
               std::move(metadata));
}

}  // namespace

absl::Status EngineError(int http_status, std::string_view body, const Endpoint& engine) {
  return ErrorFrom(http_status, ErrorObject(body), engine);
}

absl::Status ErrorInPiece(std::string_view text, const Endpoint& engine) {
  const Json piece = ParseTree(text);
  if (piece.is_object() && piece.contains("error") && !piece["error"].is_null()) {
    const Json error = ErrorObject(text);
    const auto code = error.find("code");
    return ErrorFrom(code != error.end() && code->is_number_integer() ? code->get<int>() : 500, error, engine);
  }
  return NoAnswer(engine, "answer", text);
}

absl::Status NoAnswer(const Endpoint& engine, std::string_view what, std::string_view why) {
  return Error(
      v1::INFERENCE_ENGINE_FAILED,
      absl::StrCat("engine '", engine.instance_id, "' sent what is no ", absl::string_view(what.data(), what.size()),
                   ": ", absl::string_view(why.data(), std::min<size_t>(why.size(), 200))),
      {{"instance_id", engine.instance_id}, {"model", engine.model_id}});
}

}  // namespace aima::inference
