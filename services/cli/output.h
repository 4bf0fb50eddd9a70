// Results on the terminal and for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace aima::cli {

// A value as "table", "json", "yaml" or "ndjson", with a line end.
//
// table: an object becomes lines of names and values, and each list of objects in it a table below them.
// ndjson: an object with one list becomes one line per item of that list; anything else is one line.
std::string Format(const nlohmann::ordered_json& value, const std::string& format);

}  // namespace aima::cli
