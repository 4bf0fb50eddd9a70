#include "services/inference/shorten.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "libs/errors/errors.h"
#include "services/inference/engine_error.h"
#include "services/inference/engine_json.h"

namespace aima::inference {
namespace {

using Json = nlohmann::json;

constexpr int kMostDimensions = 65536;

absl::Status TooShort(size_t length, int dimensions) {
  return InvalidInput("dimensions", absl::StrCat("is ", dimensions, ", but the model's vectors have ", length,
                                                 " numbers, which can only be made fewer"));
}

void CutAndNormalize(std::vector<double>& numbers, int dimensions) {
  numbers.resize(dimensions);
  double squares = 0;
  for (const double number : numbers) squares += number * number;
  if (squares <= 0) return;
  for (double& number : numbers) number /= std::sqrt(squares);
}

static_assert(std::endian::native == std::endian::little, "base64 vectors are little-endian floats");

std::vector<double> FloatsOf(const std::string& bytes) {
  std::vector<float> floats(bytes.size() / sizeof(float));
  memcpy(floats.data(), bytes.data(), floats.size() * sizeof(float));
  return {floats.begin(), floats.end()};
}

std::string Base64Of(const std::vector<double>& numbers) {
  const std::vector<float> floats(numbers.begin(), numbers.end());
  return absl::Base64Escape(absl::string_view(reinterpret_cast<const char*>(floats.data()), floats.size() * sizeof(float)));
}

}  // namespace

absl::Status Shorten(v1::EmbedResponse& response, int dimensions) {
  for (auto& vector : *response.mutable_embeddings()) {
    if (vector.values_size() < dimensions) return TooShort(vector.values_size(), dimensions);
    if (vector.values_size() == dimensions) continue;
    std::vector<double> numbers;
    for (const auto& value : vector.values()) numbers.push_back(value.number_value());
    CutAndNormalize(numbers, dimensions);
    vector.clear_values();
    for (const double number : numbers) vector.add_values()->set_number_value(number);
  }
  response.set_dimensions(dimensions);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ShortenOpenAi(const std::string& answer, int dimensions, const Endpoint& engine) {
  Json json = ParseTree(answer);
  if (!json.is_object() || !json.contains("data") || !json["data"].is_array()) {
    return NoAnswer(engine, "list of embeddings", "no data");
  }
  bool changed = false;
  for (Json& item : json["data"]) {
    if (!item.is_object() || !item.contains("embedding")) return NoAnswer(engine, "list of embeddings", "no vector");
    Json& vector = item["embedding"];
    std::vector<double> numbers;
    if (std::string bytes; vector.is_string() && absl::Base64Unescape(vector.get_ref<const std::string&>(), &bytes)) {
      numbers = FloatsOf(bytes);
    } else if (vector.is_array()) {
      for (const Json& number : vector) numbers.push_back(number.is_number() ? number.get<double>() : 0);
    } else {
      return NoAnswer(engine, "list of embeddings", "no vector");
    }
    if (numbers.size() < static_cast<size_t>(dimensions)) return TooShort(numbers.size(), dimensions);
    if (numbers.size() == static_cast<size_t>(dimensions)) continue;
    CutAndNormalize(numbers, dimensions);
    if (vector.is_string()) {
      vector = Base64Of(numbers);
    } else {
      vector = numbers;
    }
    changed = true;
  }
  return changed ? json.dump(-1, ' ', false, Json::error_handler_t::replace) : answer;
}

absl::StatusOr<int> DimensionsAsked(std::string_view body) {
  if (body.find("\"dimensions\"") == std::string_view::npos) return 0;
  const Json json = ParseTree(body);
  if (!json.is_object() || !json.contains("dimensions") || json["dimensions"].is_null()) return 0;
  const Json& asked = json["dimensions"];
  if (!asked.is_number_integer() || asked < 1 || asked > kMostDimensions) {
    return InvalidInput("dimensions", absl::StrCat("must be an integer from 1 to ", kMostDimensions));
  }
  return asked.get<int>();
}

}  // namespace aima::inference
