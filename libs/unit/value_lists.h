// Which query knows the values that a field can take.
#pragma once

#include <string>
#include <vector>

#include "libs/unit/catalogue.h"

namespace aima {

// A query that needs no input, and where in its output the values are: {"items", "instances"} and "instance_id" are the
// member instance_id of the objects in the list `instances` of those in the list `items`.
struct ValueList {
  const UnitInfo* unit = nullptr;  // null if there is none
  std::vector<std::string> lists;
  std::string item_field;
};

// Found by names alone, so that a new unit needs no entry anywhere: the list of the noun that the field is called
// after, so that `model_id` and `model` are ids of `model.list` everywhere; else a list of the unit's own domain whose
// items have a text field of this name, or an `id` for what ends with _id.
ValueList FindValueList(const Catalogue& catalogue, const UnitInfo& unit, const std::string& field);

}  // namespace aima
