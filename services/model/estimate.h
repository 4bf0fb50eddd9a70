// How much memory a model takes when it is served.
#pragma once

#include <cstdint>
#include <string>

#include "aima/model/v1/model.pb.h"

namespace aima::model {

// How it is to be served.
struct Serving {
  int64_t context_length = 0;  // shared by all requests at once; 0 is UsualContext
  int32_t parallel = 1;
};

// What an engine takes besides weights, as its file in configs/engines tells (engine.v1.MemoryFacts). The defaults are
// assumed of engines that tell nothing.
struct EngineFacts {
  std::string engine;  // empty: assumed
  int64_t process = int64_t{64} << 20;    // a process without a model
  int64_t vocabulary_entry = 400;         // tables for one token of the vocabulary
  int64_t batch = 512;                    // tokens worked on at once
  int64_t embedding_batch = 0;            // the same for embeddings, at most; 0 is as for other models
  int64_t kv_number_millibytes = 2000;    // one number of the keys and values
  int64_t window_step = 0;                // in which windows are kept; 0: they are not, but the whole context
  int64_t width_vectors = 6;              // of the model's width, that a batch has at once
  int64_t feed_forward_vectors = 2;       // of the feed-forward layers' width
  int64_t mask = 2;                       // for one token of a batch and one of the context
  bool embedding_scores = false;          // for embeddings a line of scores is kept for each token of the batch
};

// The model's own context length, at most 4 096.
int64_t UsualContext(const v1::Model& model);

// Computed from size, format, type and details of the model, and the facts of the engine; pure.
v1::EstimateResourcesResponse Estimate(const v1::Model& model, const Serving& serving, const EngineFacts& facts = {});

// Sets the model's requirements, for the usual context. A model without files has none.
void SetRequirements(v1::Model& model, const EngineFacts& facts = {});

}  // namespace aima::model
