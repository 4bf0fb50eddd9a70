// GET /openapi.json: what there is over HTTP as an OpenAPI 3.1 document, computed from the descriptors of units.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "libs/http/document.h"
#include "libs/unit/catalogue.h"
#include "services/gateway/access.h"

namespace aima::gateway::openapi {

// The document as a caller of this role may know it: only units that they may call. `role` is not kNone.
std::string DocumentText(const Catalogue& catalogue, Role role);

// The documents of all roles, each made when it is first asked for. Used on the loop.
class Documents {
 public:
  explicit Documents(const Catalogue& catalogue) : catalogue_(catalogue) {}

  const http::Document& For(Role role);

 private:
  const Catalogue& catalogue_;
  std::array<std::unique_ptr<const http::Document>, 4> documents_;
};

}  // namespace aima::gateway::openapi
