// Keeps the routing table up with what happens to models and engines.
#pragma once

#include <functional>
#include <utility>

#include "aima/event/v1/event.pb.h"
#include "services/inference/router.h"

namespace aima::inference {

// What the events say is read from the services themselves: events only tell when.
class Changes {
 public:
  // `call` makes the context of reads that no caller waits for.
  Changes(Router& router, std::function<CallContext()> call) : router_(router), call_(std::move(call)) {}

  Task<void> Hear(const event::v1::Event& event) {
    if (event.domain() == "model") {
      router_.catalog().Forget();
      router_.loader().ForgetFailures();
    } else {
      (co_await router_.Refresh(call_())).IgnoreError();
    }
  }

  // Events may have been missed.
  Task<void> ReadAnew() {
    router_.catalog().Forget();
    (co_await router_.Refresh(call_())).IgnoreError();
  }

 private:
  Router& router_;
  std::function<CallContext()> call_;
};

}  // namespace aima::inference
