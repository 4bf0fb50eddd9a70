// Documents in the order in which they answer a query.
#pragma once

#include "services/inference/dispatcher.h"

namespace aima::inference {

// By the model itself if it is made to rank, or else by the cosines of its embeddings. Asking a model of another type
// fails.
Task<absl::StatusOr<v1::RerankResponse>> Rank(CallContext call, Router& router, Dispatcher& dispatcher, RequestLog& log,
                                              const v1::RerankRequest& request);

// The cosine of two vectors of the same length; 0 if one of them has no direction.
double Cosine(const google::protobuf::ListValue& one, const google::protobuf::ListValue& other);

}  // namespace aima::inference
