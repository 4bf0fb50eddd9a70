// What differs between two values.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace aima::cli {

// One line for each difference: "status: starting -> running", "+ items[smollm2]: …", "- items[smollm2]". Items of a
// list are known by their first text, such as an id, so that one that comes or goes does not change the others.
std::vector<std::string> Changes(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now);

}  // namespace aima::cli
