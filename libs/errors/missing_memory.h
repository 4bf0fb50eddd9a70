// What the refusal of a reservation says besides its reason, RESOURCE_INSUFFICIENT.
#pragma once

#include <absl/status/status.h>

#include <cstdint>
#include <optional>

namespace aima {

// Bytes that are missing, at least one. Nothing if it is not memory that is missing, or if it is not said how much.
std::optional<int64_t> MissingMemory(const absl::Status& status);

}  // namespace aima
