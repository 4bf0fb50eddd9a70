// How much memory a model takes when it is served.
#pragma once

#include <cstdint>

#include "aima/model/v1/model.pb.h"

namespace aima::model {

// How it is to be served.
struct Serving {
  int64_t context_length = 0;  // shared by all requests at once; 0 is UsualContext
  int32_t parallel = 1;
};

// The model's own context length, at most 4 096.
int64_t UsualContext(const v1::Model& model);

// Computed from size, format, type and details of the model; pure.
v1::EstimateResourcesResponse Estimate(const v1::Model& model, const Serving& serving);

// Sets the model's requirements, for the usual context. A model without files has none.
void SetRequirements(v1::Model& model);

}  // namespace aima::model
