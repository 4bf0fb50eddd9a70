// What a unit is, as the gateway tells it and as the files of this installation do.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "libs/unit/catalogue.h"

namespace aima::cli {

// The units of this installation (share/aima/units.binpb), for help, completion and manual pages while no cluster runs.
// Null if the file is not there.
const Catalogue* LocalCatalogue();

// One unit in the form of GET /api/v2/units/<name>, as far as help needs it; null if this installation has none.
nlohmann::ordered_json DescribeLocally(const std::string& unit);

// Help of one unit: what it does, its flags, examples and errors.
std::string UnitHelp(const nlohmann::ordered_json& unit);

// The flags of a unit as rows of a table, without those that are in `without`.
std::vector<std::vector<std::string>> FlagRows(const nlohmann::ordered_json& unit,
                                               const std::vector<std::string>& without = {});

std::string FirstSentence(const std::string& text);

// A text member; empty if there is none.
std::string Text(const nlohmann::ordered_json& object, const char* key);

}  // namespace aima::cli
