// What a unit is, as the gateway tells it and as the files of this installation do.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "libs/unit/catalogue.h"
#include "services/cli/schema_flags.h"

namespace aima::cli {

// The units of this installation (share/aima/units.binpb), for help, completion and manual pages while no cluster runs.
// Null if the file is not there.
const Catalogue* LocalCatalogue();

// One unit in the form of GET /api/v2/units/<name>, as far as help needs it; null if this installation has none.
nlohmann::ordered_json DescribeLocally(const std::string& unit);

// Help of one unit: what it does, its flags, examples and errors.
std::string UnitHelp(const nlohmann::ordered_json& unit);

// The units whose names begin so: "model" has model.get and others, "operation" too. Those that only services call are
// not among them.
std::vector<const UnitInfo*> UnitsOf(const std::string& noun);

// The message that a unit answers with, or of which its stream is made; null if this installation does not know it.
const google::protobuf::Descriptor* OutputTypeOf(const std::string& unit, bool stream = false);

// What a flag is, in all sentences that are told of it, with its limits and what holds without it.
std::string FlagText(const FlagHelp& flag);

// Flags as rows for TwoColumns.
std::vector<std::vector<std::string>> FlagRows(const std::vector<FlagHelp>& flags);

std::string FirstSentence(const std::string& text);

// A text member; empty if there is none.
std::string Text(const nlohmann::ordered_json& object, const char* key);

}  // namespace aima::cli
