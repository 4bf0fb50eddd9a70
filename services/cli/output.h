// Results on the terminal and for programs.
#pragma once

#include <google/protobuf/descriptor.h>

#include <nlohmann/json.hpp>
#include <string>

namespace aima::cli {

// A value as "table", "json", "yaml", "ndjson" or "name", with a line end.
//
// table: an object becomes lines of names and values, and each list of objects in it a table below them. It is for
// people:
//        byte counts and times are rounded, and what does not fit the terminal is cut. Which numbers are byte counts or
//        durations is told by the rules of `type`, the message that the value is; without it, by their names.
// ndjson: an object with one list becomes one line per item of that list; anything else is one line.
// name: the id, or else the name, of each item of that list, or of the value itself; one a line.
std::string Format(const nlohmann::ordered_json& value, const std::string& format,
                   const google::protobuf::Descriptor* type = nullptr);

}  // namespace aima::cli
