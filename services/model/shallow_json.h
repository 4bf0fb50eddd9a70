// JSON of strangers.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace aima::model {

// The value of a JSON text, or a discarded one if it is malformed or some value of it lies deeper than `depth_max`, which
// is more than its readers and its destructor should be led into.
nlohmann::json ParseShallow(std::string_view text, int depth_max = 32);

}  // namespace aima::model
