// When models were last used.
#pragma once

#include <absl/time/time.h>

#include <map>
#include <string>

#include "aima/event/v1/event.pb.h"
#include "libs/base/call_context.h"
#include "libs/base/task.h"
#include "services/model/model_store.h"

namespace aima::model {

// Follows engines and requests, and notes at most once a minute that a model was used.
class UseTimes {
 public:
  UseTimes(ModelStore& models, CallContext call) : models_(models), call_(std::move(call)) {}

  Task<void> Hear(const event::v1::Event& event);

 private:
  ModelStore& models_;
  const CallContext call_;
  std::map<std::string, absl::Time> noted_;
};

}  // namespace aima::model
