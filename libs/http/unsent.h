// Failed requests that did no harm.
#pragma once

#include <absl/status/status.h>

namespace aima::http {

// True of the failure of a request of which the server got nothing, as no connection was made: it may be sent again
// whatever it asks for.
bool NothingWasSent(const absl::Status& status);

}  // namespace aima::http
