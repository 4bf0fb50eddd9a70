// What config.json of a Hugging Face directory means.
#pragma once

#include <absl/status/statusor.h>

#include <string>

#include "aima/model/v1/model.pb.h"
#include "services/model/byte_source.h"

namespace aima::model {

// What config.json tells, and what the names of the files beside it add.
struct ConfigFacts {
  v1::Details details;  // without sums of tensors
  v1::ModelType type = v1::MODEL_TYPE_UNSPECIFIED;
};

// Reads config.json. `sentence_transformer`: there is a modules.json, which makes any model an embedding model.
absl::StatusOr<ConfigFacts> DescribeConfig(const ByteSource& config, bool sentence_transformer);

// Reads model_index.json of a diffusers directory: an image or video model.
absl::StatusOr<ConfigFacts> DescribePipeline(const ByteSource& index);

// `license:` of the front matter of a README.md; empty if there is none.
std::string LicenseOf(std::string_view readme);

}  // namespace aima::model
