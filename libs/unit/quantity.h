// Byte counts and durations as people write them.
#pragma once

#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "aima/unit/v1/unit.pb.h"

namespace aima {

// BYTES: "512", "64KB" (1 000), "64KiB" (1 024), "10MB", "2GiB", "1TB"; MILLISECONDS: "1500", "1500ms", "30s", "5m",
// "1h". A fraction is allowed before a unit: "1.5GB". The error says what is accepted.
absl::StatusOr<int64_t> ParseQuantity(std::string_view text, unit::v1::Quantity quantity);

// Regular expression, of the kind that JSON Schemas have, which the texts match that ParseQuantity reads.
std::string QuantityPattern(unit::v1::Quantity quantity);

// The shortest text with a unit that ParseQuantity reads back to the same number.
std::string FormatQuantity(int64_t amount, unit::v1::Quantity quantity);

}  // namespace aima
