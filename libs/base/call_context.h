// What a handler knows about the call that it serves.
#pragma once

#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <string>

namespace aima {

// Travels with a call through every layer and from process to process. A value: copy it for work that
// outlives the call.
struct CallContext {
  // Unit being served, such as model.get.
  std::string unit;
  // Names this call in logs and answers.
  std::string request_id;
  // Names the user's whole request, over all services that it touches.
  std::string trace_id;
  // Who calls: a key's id, or empty for nobody in particular.
  std::string principal;
  // What the caller may do, as the gateway found: "read", "operate" or "admin". Empty in services, which need not ask.
  std::string role;
  // What makes a repeated command the same command; empty if the caller gave none.
  std::string idempotency_key;
  // Hash of the command's request without its key: tells a repeated command from another one under the same key.
  // Given only where there is a key.
  std::string fingerprint;
  // When the caller stops waiting. Work for the call stops then too.
  absl::Time deadline = absl::InfiniteFuture();

  absl::Duration TimeLeft() const { return deadline - absl::Now(); }
};

}  // namespace aima
