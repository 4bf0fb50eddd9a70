// Where models come from.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "aima/model/v1/pull.pb.h"
#include "libs/base/task.h"
#include "libs/http/message.h"

namespace aima::model {

// What somebody wants to have, with all defaults filled in and every part checked.
struct Wish {
  v1::ModelSource source = v1::MODEL_SOURCE_UNSPECIFIED;
  std::string repo;
  std::string tag;
  std::string quantization;  // empty: the source chooses
  std::string mirror;        // empty: the source's own address
};

// One kind of registry. Lives on the loop.
class Source {
 public:
  virtual ~Source() = default;

  // What a pull of this fetches. MODEL_REPO_NOT_FOUND, MODEL_SOURCE_UNREACHABLE, MODEL_SOURCE_DENIED,
  // MODEL_MIRROR_REFUSED, MODEL_FORMAT_UNSUPPORTED or MODEL_FORMAT_UNSAFE says why not.
  virtual Task<absl::StatusOr<v1::PullPlan>> Plan(const Wish& wish) = 0;

  // What there is under these words.
  virtual Task<absl::StatusOr<std::vector<v1::Offer>>> Search(const std::string& words, int limit) = 0;

  // What a request for a file of the plan has to carry.
  virtual Task<absl::StatusOr<http::Headers>> Credentials(const Wish& wish) = 0;
};

}  // namespace aima::model
