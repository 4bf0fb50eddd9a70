// Which families of engines can serve which models.
#pragma once

#include "aima/model/v1/model.pb.h"

namespace aima::model {

// By format and type alone; what is installed here plays no part.
v1::ModelCompatibility CompatibilityOf(const v1::Model& model);

}  // namespace aima::model
