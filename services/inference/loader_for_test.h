// What tests of loading have around them: models, and a machine whose memory is a number.
#pragma once

#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aima/resource/v1/resource.pb.h"
#include "libs/errors/errors.h"
#include "libs/testing/status_matchers.h"
#include "libs/testing/task.h"
#include "services/inference/fakes.h"
#include "services/inference/loader.h"
#include "services/inference/router.h"

namespace aima::inference {

class LoaderTest : public ::testing::Test {
 protected:
  using Leased = absl::StatusOr<Router::Lease>;

  LoaderTest() {
    for (const char* model : {"a", "b", "c"}) {
      models_.Add(model, v1::MODEL_TYPE_LLM);
      models_.models.back().context_length = 8192;
    }
    settings_.pause = absl::Milliseconds(1);
    settings_.turns.shortest_linger = absl::Milliseconds(20);
    engines_.start = [this](std::string model) -> Task<absl::Status> { return StartModel(std::move(model)); };
    Restart();
  }

  void Restart() { router_ = std::make_unique<Router>(loop_, models_, engines_, /*auto_start=*/true, settings_); }

  // As the engine service does it, with memory for `memory_` engines of 100 bytes each.
  Task<absl::Status> StartModel(std::string model) {
    const int64_t free = memory_ - 100 * static_cast<int64_t>(engines_.endpoints.size());
    if (free < 100) {
      co_return Error(resource::v1::RESOURCE_INSUFFICIENT, "too little",
                      {{"class", "memory_bytes"}, {"needed", "100"}, {"available", absl::StrCat(free)}});
    }
    engines_.endpoints.push_back(EndpointOf(model));
    co_return absl::OkStatus();
  }

  Endpoint EndpointOf(const std::string& model) {
    Endpoint endpoint;
    endpoint.context_length = 2048;
    endpoint.instance_id = endpoint.model_id = endpoint.served_name = model;
    endpoint.max_concurrent = 2;
    endpoint.memory = 100;
    endpoint.generation = ++generation_;
    endpoint.retention.on_demand = true;
    return endpoint;
  }

  Leased Acquire(const std::string& model) {
    return aima::testing::Run(loop_, router_->Acquire(call_, model, Ask::kChat));
  }
  Leased AcquireWithin(absl::Duration time, const std::string& model) {
    CallContext call = call_;
    call.deadline = absl::Now() + time;
    return aima::testing::Run(loop_, router_->Acquire(call, model, Ask::kChat));
  }

  // Asks `count` times, one after the other, each time for a moment.
  Task<void> Client(std::string model, int count) {
    for (int i = 0; i < count; ++i) {
      Leased lease = co_await router_->Acquire(call_, model, Ask::kChat);
      EXPECT_THAT(lease, aima::testing::IsOk());
      if (!lease.ok()) break;
      ++served_[model];
      order_.push_back(model);
      Waiter waiter(loop_);
      co_await waiter.Wait(absl::Now() + absl::Milliseconds(1));
    }
    ++ended_;
  }
  void Spawn(Task<void> task) { boost::asio::co_spawn(loop_, std::move(task), boost::asio::detached); }

  // Asks for room as the engine service does.
  Task<void> MakeRoom(int64_t bytes, std::optional<Loader::Room>* made) {
    const absl::StatusOr<Loader::Room> room =
        co_await router_->loader().MakeIdleRoom(call_, bytes, /*only_look=*/false);
    EXPECT_THAT(room, aima::testing::IsOk());
    *made = room.value_or(Loader::Room());
  }
  static std::vector<std::string> Names(const std::vector<EngineTable::Used>& engines) {
    std::vector<std::string> names;
    for (const EngineTable::Used& engine : engines) names.push_back(engine.instance_id);
    return names;
  }
  void Remove(const std::string& instance) {
    std::erase_if(engines_.endpoints, [&](const Endpoint& endpoint) { return endpoint.instance_id == instance; });
  }

  template <class Condition>
  void RunUntil(Condition condition) {
    loop_.restart();
    while (!condition() && loop_.run_one() > 0) {
    }
  }

  Loop loop_;
  FakeModels models_;
  FakeEngines engines_;
  CallContext call_;
  LoaderSettings settings_;
  int64_t memory_ = 100;
  int64_t generation_ = 0;
  std::map<std::string, int> served_;
  std::vector<std::string> order_;
  int ended_ = 0;
  std::unique_ptr<Router> router_;
};

}  // namespace aima::inference
