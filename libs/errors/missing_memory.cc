#include "libs/errors/missing_memory.h"

#include <absl/strings/numbers.h>

#include <algorithm>

#include "aima/resource/v1/resource.pb.h"
#include "libs/errors/errors.h"

namespace aima {

std::optional<int64_t> MissingMemory(const absl::Status& status) {
  if (!HasReason(status, resource::v1::RESOURCE_INSUFFICIENT)) return std::nullopt;
  Metadata metadata = DetailsOf(status).metadata;
  int64_t needed = 0;
  int64_t available = 0;
  const bool known = metadata["class"] == "memory_bytes" && absl::SimpleAtoi(metadata["needed"], &needed) &&
                     absl::SimpleAtoi(metadata["available"], &available);
  if (!known) return std::nullopt;
  return std::max<int64_t>(1, needed - available);
}

}  // namespace aima
