// GET /api/v2/units: what there is, with schemas, computed once.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <string>
#include <string_view>

#include "libs/unit/catalogue.h"

namespace aima::gateway {

class UnitsJson {
 public:
  explicit UnitsJson(const Catalogue& catalogue);

  // {"units": […], "resources": […], "events": […], "errors": […]}
  const std::string& all() const { return all_; }
  // One unit; null if there is none outside.
  const std::string* Find(std::string_view name) const;

 private:
  std::string all_;
  absl::flat_hash_map<std::string, std::string> units_;
};

}  // namespace aima::gateway
