#include "services/device/device_provider.h"

#include <absl/strings/str_format.h>

#include "libs/errors/errors.h"

namespace aima::device {

absl::Status CheckPowerRange(const v1::Device& device, double watts) {
  const v1::PowerLimit& limit = device.power_limit();
  const bool low = limit.has_min_watts() && watts < limit.min_watts();
  const bool high = limit.has_max_watts() && watts > limit.max_watts();
  if (!low && !high) return absl::OkStatus();
  Metadata metadata = {{"device_id", device.id()}, {"limit_watts", absl::StrFormat("%g", watts)}};
  if (limit.has_min_watts()) metadata["min_watts"] = absl::StrFormat("%g", limit.min_watts());
  if (limit.has_max_watts()) metadata["max_watts"] = absl::StrFormat("%g", limit.max_watts());
  return Error(v1::POWER_LIMIT_OUT_OF_RANGE,
               low ? absl::StrFormat("device '%s' takes no limit below %g W; %g W was asked for", device.id(),
                                     limit.min_watts(), watts)
                   : absl::StrFormat("device '%s' takes no limit above %g W; %g W was asked for", device.id(),
                                     limit.max_watts(), watts),
               std::move(metadata));
}

}  // namespace aima::device
