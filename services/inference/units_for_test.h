// The units of inference in front of an engine that says what a test has written down.
#pragma once

#include <gmock/gmock.h>

#include "services/inference/fakes.h"
#include "services/inference/inference_units.h"
#include "services/inference/scripted_engine.h"

namespace aima::inference {

class UnitsTest : public ::testing::Test {
 protected:
  Loop loop_;
  ScriptedEngine engine_{loop_};
  FakeModels models_;
  FakeEngines engines_;
  FakeOutbox outbox_;
  Router router_{loop_, models_, engines_, /*auto_start=*/true};
  http::Client http_{loop_};
  Dispatcher dispatcher_{loop_, router_, http_};
  InferenceUnits units_{router_, dispatcher_, outbox_};
  CallContext call_;
};

}  // namespace aima::inference
