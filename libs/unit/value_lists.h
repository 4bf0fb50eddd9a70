// Which query knows the values that a field can take.
#pragma once

#include <cstddef>
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

// Calls `take` with each value that is not empty in an answer of the list's unit, as nlohmann's json or ordered_json.
template <class Json, class Take>
void ForEachValue(const ValueList& list, const Json& answer, const Take& take, size_t depth = 0) {
  const auto found = answer.is_object() ? answer.find(depth < list.lists.size() ? list.lists[depth] : list.item_field)
                                        : answer.end();
  if (found == answer.end()) return;
  if (depth < list.lists.size()) {
    for (const Json& item : *found) ForEachValue(list, item, take, depth + 1);
  } else if (found->is_string() && *found != "") {
    take(found->template get<std::string>());
  }
}

}  // namespace aima
